// SPDX-License-Identifier: ISC
#include "jitr/device_check.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static char problem[256];

static void note(void *ctx, int64_t ca_id, const char *text)
{
    (void)ctx, (void)ca_id;
    strncpy(problem, text, sizeof problem - 1);
}

static const struct ia_problem_callback noting = {.report = note};

static const char *const roles[] = {"device"};

/* The set of one CA with that device id template and client id templates. */
static struct ia_ca_settings_set *ca_settings(const char *device_id, const char *const *client_ids, size_t n)
{
    struct ia_ca_row row = {.ca_id = 1,
                            .name = "acme",
                            .tenant = "north",
                            .status = IA_CA_ACTIVE,
                            .auto_registration = true,
                            .device_id_template = device_id,
                            .client_id_templates = {.items = client_ids, .n = n},
                            .roles = {.items = roles, .n = 1}};
    struct ia_ca_settings_set *set = NULL;
    problem[0] = '\0';
    ck_assert_int_eq(ia_ca_settings_set_build(&row, 1, &noting, &set, NULL), IA_OK);
    return set;
}

static const char *const plain_client_ids[] = {"${device_id}"};

static void add_cn(X509 *leaf, const char *cn)
{
    X509_NAME *name = X509_get_subject_name(leaf);
    ck_assert(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1);
}

/* A certificate with that common name; with two for "". */
static struct ia_identity identity(const char *cn)
{
    struct ia_identity id;
    X509 *leaf = X509_new();
    add_cn(leaf, *cn ? cn : "pump-1");
    if (!*cn)
        add_cn(leaf, "pump-2");
    ia_identity_read(leaf, &id);
    return id;
}

static const struct {
    const char *template, *cn, *device_id; /* NULL: refused */
} device_ids[] = {
    {"${cert.cn}", "pump-1", "pump-1"},
    {"${ca}.${tenant}.${cert.cn}", "pump-1", "acme.north.pump-1"},
    {"${cert.cn}", "", NULL},              /* two common names: which one? */
    {"${cert.subject.O}", "pump-1", NULL}, /* unset */
    {"app:${cert.cn}", "pump-1", NULL},    /* would mint an app */
    {"${cert.cn}", "app:issuer:x", NULL},  /* likewise */
    {"${cert.cn}", "${ca}", "${ca}"},      /* never expanded again; begins with '$', so refused below */
};

START_TEST(device_id_is_as_listed)
{
    struct ia_ca_settings_set *set = ca_settings(device_ids[_i].template, plain_client_ids, 1);
    struct ia_identity id = identity(device_ids[_i].cn);
    char out[IA_VALUE_MAX + 1] = "";
    struct ia_err err = {0};
    bool fine = ia_device_id_derive(ia_ca_settings_find(set, 1), &id, out, &err) == IA_R_NONE;
    bool wanted = device_ids[_i].device_id && device_ids[_i].device_id[0] != '$';
    ck_assert_msg(fine == wanted, "%s of %s", device_ids[_i].template, device_ids[_i].cn);
    if (wanted)
        ck_assert_str_eq(out, device_ids[_i].device_id);
    else
        ck_assert_msg(err.msg[0], "a refusal says why");
    X509_free(id.leaf);
    ia_ca_settings_set_free(set);
}
END_TEST

static const struct {
    const char *template, *client_id;
    bool fits;
} client_ids[] = {
    {"${device_id}", "pump-1", true},
    {"${device_id}", "pump-2", false},
    {"${device_id}", "pump-1x", false},
    {"${device_id}/*", "pump-1/web", true},
    {"${device_id}/*", "pump-1", false},
    {"*", "anything", true},
    {"*", "a+b", false},
    {"*", "a#", false},
    {"*", "\xFF", false},
    {"${ca}-${tenant}", "acme-north", true},
};

START_TEST(client_id_fits_as_listed)
{
    const char *const templates[] = {client_ids[_i].template};
    struct ia_ca_settings_set *set = ca_settings("${cert.cn}", templates, 1);
    ck_assert_msg(ia_client_id_check(ia_ca_settings_find(set, 1), "pump-1", client_ids[_i].client_id) ==
                      client_ids[_i].fits,
                  "%s against %s", client_ids[_i].template, client_ids[_i].client_id);
    ia_ca_settings_set_free(set);
}
END_TEST

START_TEST(ca_with_a_bad_template_is_not_there_and_says_why)
{
    const char *const bad_client_ids[] = {"${no_such}"};
    struct ia_ca_settings_set *set = ca_settings("${cert.nonsense}", plain_client_ids, 1);
    ck_assert_ptr_null(ia_ca_settings_find(set, 1));
    ck_assert_msg(strstr(problem, "cert.nonsense"), "%s", problem);
    ia_ca_settings_set_free(set);
    set = ca_settings("${cert.cn}", bad_client_ids, 1);
    ck_assert_ptr_null(ia_ca_settings_find(set, 1));
    ia_ca_settings_set_free(set);
}
END_TEST

static const struct {
    const char *label;
    enum ia_device_status device;
    enum ia_cert_status certificate;
    int64_t ca_id, not_after;
    const char *device_id;
    enum ia_reason reason;
} records[] = {
    {"active", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1, 2000, "pump-1", IA_R_NONE},
    {"no end known", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1, 0, "pump-1", IA_R_NONE},
    {"pending", IA_DEVICE_PENDING, IA_CERT_ACTIVE, 1, 2000, "pump-1", IA_R_DEVICE_PENDING},
    {"inactive", IA_DEVICE_INACTIVE, IA_CERT_ACTIVE, 1, 2000, "pump-1", IA_R_DEVICE_INACTIVE},
    {"revoked", IA_DEVICE_REVOKED, IA_CERT_ACTIVE, 1, 2000, "pump-1", IA_R_DEVICE_REVOKED},
    {"certificate inactive", IA_DEVICE_ACTIVE, IA_CERT_INACTIVE, 1, 2000, "pump-1", IA_R_CERTIFICATE_INACTIVE},
    {"certificate revoked", IA_DEVICE_ACTIVE, IA_CERT_REVOKED, 1, 2000, "pump-1", IA_R_CERTIFICATE_REVOKED},
    {"expired", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1, 999, "pump-1", IA_R_CERTIFICATE_EXPIRED},
    {"of a CA above, or the CA renewed", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 7, 2000, "pump-1", IA_R_NONE},
    {"of the one that it replaces", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 3, 2000, "pump-1", IA_R_NONE},
    {"of one that replaces it", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 8, 2000, "pump-1", IA_R_NONE},
    {"of one that replaces the same", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 9, 2000, "pump-1", IA_R_DEVICE_CONFLICT},
    {"another CA's certificate", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 2, 2000, "pump-1", IA_R_DEVICE_CONFLICT},
    {"another device's certificate", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1, 2000, "pump-2", IA_R_DEVICE_CONFLICT},
};

START_TEST(record_decides_as_listed)
{
    struct ia_device_row row = {.device_id = records[_i].device_id,
                                .device_status = records[_i].device,
                                .certificate_status = records[_i].certificate,
                                .certificate_ca_id = records[_i].ca_id,
                                .not_after = records[_i].not_after};
    static const struct ia_ca_row line[] = {
        {.ca_id = 1, .name = "acme", .device_id_template = "${cert.cn}", .replaces = 3},
        {.ca_id = 8, .name = "acme-next", .device_id_template = "${cert.cn}", .replaces = 1},
        {.ca_id = 9, .name = "acme-other", .device_id_template = "${cert.cn}", .replaces = 3},
    };
    static const int64_t cas[] = {1, 7};
    struct ia_ca_settings_set *set = NULL;
    ck_assert_int_eq(ia_ca_settings_set_build(line, 3, &noting, &set, NULL), IA_OK);
    struct ia_device *d = ia_device_new(&row);
    ck_assert_msg(ia_device_check(d, set, cas, 2, "pump-1", 1000) == records[_i].reason, "%s", records[_i].label);
    ck_assert_int_eq(ia_device_check(d, set, cas, 0, "pump-1", 1000), IA_R_DEVICE_CONFLICT);
    ia_device_free(d);
    ia_ca_settings_set_free(set);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof(table)[0])

int main(void)
{
    Suite *s = suite_create("decide");
    TCase *c = tcase_create("decide");
    tcase_add_loop_test(c, device_id_is_as_listed, 0, ROWS(device_ids));
    tcase_add_loop_test(c, client_id_fits_as_listed, 0, ROWS(client_ids));
    tcase_add_test(c, ca_with_a_bad_template_is_not_there_and_says_why);
    tcase_add_loop_test(c, record_decides_as_listed, 0, ROWS(records));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
