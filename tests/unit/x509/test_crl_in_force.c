// SPDX-License-Identifier: ISC
/* Which lists of a CA count (puppetserver, after its database was lost, issues list 3 after list 1000: the device that
 * list 3 revokes must be out), and that only lists in force take memory. */
#include "tests/unit/x509/make_cert.h"
#include "x509/ca_set.h"
#include "x509/chain.h"

#include <check.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTS_MAX 6
#define DEVICE    100 /* the serial number that the lists revoke, or not */

#define POINT_A "issuingDistributionPoint=critical,fullname:URI:http://ca.example/a.crl"
#define POINT_B "issuingDistributionPoint=critical,fullname:URI:http://ca.example/b.crl"
#define USERS   "issuingDistributionPoint=critical,onlyuser:TRUE"
#define CAS     "issuingDistributionPoint=critical,onlyCA:TRUE"

/* One list; days are relative to MC_NOW, `revokes` 0 ends the row's lists. */
enum { END, LISTED, ABSENT, HELD, REMOVED };
struct list_row {
    int revokes;
    int64_t number;
    int from, to;    /* thisUpdate; nextUpdate, 0: in 30 days, -9999: none */
    const char *ext; /* NULL: a complete list */
    bool other_row;  /* added to the same-key CA */
};

static const struct {
    const char *label;
    struct list_row lists[LISTS_MAX];
    bool revoked;
    const char *problem; /* part of it; NULL: none at all */
} rows[] = {
    {"one list", {{LISTED, 1, -1, 0, NULL, false}}, true, NULL},
    {"one list without the device", {{ABSENT, 1, -1, 0, NULL, false}}, false, NULL},
    {"a newer list lifts a hold", {{HELD, 1, -2, 0, NULL, false}, {ABSENT, 2, -1, 0, NULL, false}}, false, NULL},
    {"added in the other order", {{ABSENT, 2, -1, 0, NULL, false}, {HELD, 1, -2, 0, NULL, false}}, false, NULL},
    {"a newer list revokes", {{ABSENT, 1, -2, 0, NULL, false}, {LISTED, 2, -1, 0, NULL, false}}, true, NULL},
    {"list 3 of today after list 1000 revokes",
     {{ABSENT, 1000, -2, 0, NULL, false}, {LISTED, 3, -1, 0, NULL, false}},
     true,
     "number 3 of"},
    {"list 3 of today after list 1000 lifts",
     {{LISTED, 1000, -2, 0, NULL, false}, {ABSENT, 3, -1, 0, NULL, false}},
     false,
     "older list has number 1000"},
    {"and added in the other order",
     {{ABSENT, 3, -1, 0, NULL, false}, {LISTED, 1000, -2, 0, NULL, false}},
     false,
     "number 1000"},
    {"equal dates: the higher number", {{LISTED, 1, -1, 0, NULL, false}, {ABSENT, 2, -1, 0, NULL, false}}, false, NULL},
    {"equal dates and numbers: revoked wins",
     {{LISTED, 2, -1, 0, NULL, false}, {ABSENT, 2, -1, 0, NULL, false}},
     true,
     NULL},
    {"the same in the other order", {{ABSENT, 2, -1, 0, NULL, false}, {LISTED, 2, -1, 0, NULL, false}}, true, NULL},
    {"equal dates, no numbers: revoked wins",
     {{LISTED, 0, -1, 0, NULL, false}, {ABSENT, 0, -1, 0, NULL, false}},
     true,
     NULL},
    {"equal dates, one number: revoked wins",
     {{LISTED, 0, -1, 0, NULL, false}, {ABSENT, 9, -1, 0, NULL, false}},
     true,
     NULL},
    {"no numbers: the newer date", {{LISTED, 0, -2, 0, NULL, false}, {ABSENT, 0, -1, 0, NULL, false}}, false, NULL},
    {"removeFromCRL lifts", {{HELD, 1, -2, 0, NULL, false}, {REMOVED, 2, -1, 0, NULL, false}}, false, NULL},
    /* distribution points */
    {"two points: the union", {{LISTED, 1, -3, 0, POINT_A, false}, {ABSENT, 2, -1, 0, POINT_B, false}}, true, NULL},
    {"the newest of each point", {{LISTED, 1, -3, 0, POINT_A, false}, {ABSENT, 2, -1, 0, POINT_A, false}}, false, NULL},
    {"users and CAs: the union", {{LISTED, 1, -3, 0, USERS, false}, {ABSENT, 2, -1, 0, CAS, false}}, true, NULL},
    {"a complete list supersedes older parts",
     {{LISTED, 1, -3, 0, POINT_A, false}, {ABSENT, 2, -1, 0, NULL, false}},
     false,
     NULL},
    {"a part newer than the complete list counts",
     {{ABSENT, 1, -3, 0, NULL, false}, {LISTED, 2, -1, 0, POINT_A, false}},
     true,
     NULL},
    {"the complete list counts beside it",
     {{LISTED, 1, -3, 0, NULL, false}, {ABSENT, 2, -1, 0, POINT_A, false}},
     true,
     NULL},
    {"a complete list revokes after parts",
     {{ABSENT, 1, -3, 0, POINT_A, false}, {LISTED, 2, -1, 0, NULL, false}},
     true,
     NULL},
    {"the point moved: the old part counts until its end",
     {{LISTED, 1, -9, 1, POINT_A, false}, {ABSENT, 2, -1, 0, POINT_B, false}},
     true,
     NULL},
    {"the point moved: then it lapses",
     {{LISTED, 1, -9, -2, POINT_A, false}, {ABSENT, 2, -1, 0, POINT_B, false}},
     false,
     "no longer counts since"},
    {"a lapsed part of a point that has a newer one is not reported",
     {{LISTED, 1, -9, -5, POINT_A, false}, {ABSENT, 2, -3, 0, POINT_A, false}, {ABSENT, 3, -1, 0, POINT_B, false}},
     false,
     NULL},
    {"all parts past their time: all count", {{LISTED, 1, -9, -2, POINT_A, false}}, true, "past its nextUpdate"},
    {"a complete list past its time counts beside parts",
     {{LISTED, 1, -9, -2, NULL, false}, {ABSENT, 2, -1, 0, POINT_A, false}},
     true,
     "past its nextUpdate"},
    /* times */
    {"past its nextUpdate", {{LISTED, 1, -9, -2, NULL, false}}, true, "past its nextUpdate"},
    {"a stale list that is superseded is not reported",
     {{LISTED, 1, -9, -2, NULL, false}, {ABSENT, 2, -1, 0, NULL, false}},
     false,
     NULL},
    {"without nextUpdate", {{LISTED, 1, -9, -9999, NULL, false}}, true, NULL},
    {"of the future", {{LISTED, 1, 2, 0, NULL, false}}, true, "in the future"},
    {"of the future lifts nothing before its time",
     {{LISTED, 1, -1, 0, NULL, false}, {ABSENT, 2, 2, 0, NULL, false}},
     true,
     "in the future"},
    {"of the future does not hide what comes after it",
     {{ABSENT, 1, 3000, 0, NULL, false}, {LISTED, 2, -1, 0, NULL, false}},
     true,
     "in the future"},
    {"nor keeps a hold that was lifted since",
     {{HELD, 1, -2, 0, NULL, false}, {ABSENT, 9, 3000, 0, NULL, false}, {ABSENT, 2, -1, 0, NULL, false}},
     false,
     "in the future"},
    /* same-key CAs */
    {"a list added to the renewed CA", {{LISTED, 1, -1, 0, NULL, true}}, true, NULL},
    {"the newer one lifts, whichever CA it was added to",
     {{HELD, 1, -2, 0, NULL, false}, {ABSENT, 2, -1, 0, NULL, true}},
     false,
     NULL},
    {"the other way round", {{HELD, 1, -2, 0, NULL, true}, {ABSENT, 2, -1, 0, NULL, false}}, false, NULL},
    {"the older one does not lift", {{ABSENT, 1, -2, 0, NULL, true}, {LISTED, 2, -1, 0, NULL, false}}, true, NULL},
    {"the same list for both", {{LISTED, 1, -1, 0, NULL, false}, {LISTED, 1, -1, 0, NULL, true}}, true, NULL},
};

static X509 *root, *renewed, *device;
static char problems[1024];

static void make_certificates(void)
{
    root = mc_cert(&(struct mc_cert){.subject = "/CN=Root", .key = "p256:root", .ext = MC_ROOT, .serial = 1});
    renewed = mc_cert(&(struct mc_cert){.subject = "/CN=Root", .key = "p256:root", .ext = MC_ROOT, .serial = 2});
    device = mc_cert(&(struct mc_cert){.subject = "/CN=d",
                                       .key = "p256:leaf",
                                       .issuer = root,
                                       .issuer_key = "p256:root",
                                       .ext = MC_DEVICE,
                                       .serial = DEVICE});
}

static void free_certificates(void)
{
    X509_free(root);
    X509_free(renewed);
    X509_free(device);
}

static struct ia_cert *parse_certificate(X509 *x509)
{
    struct ia_cert *cert = NULL;
    char *pem = mc_pem(x509);
    ck_assert(ia_cert_parse_pem(pem, &cert, NULL) == IA_OK);
    free(pem);
    return cert;
}

static struct ia_crl_spec parse_list(X509_CRL *crl)
{
    struct ia_crl_spec spec = {.pem = mc_crl_pem(crl)};
    ck_assert(ia_crl_parse_pem(spec.pem, &spec.crl, NULL) == IA_OK);
    X509_CRL_free(crl);
    return spec;
}

static struct ia_crl_spec make_list(const struct list_row *row)
{
    static const int64_t listed[] = {7, DEVICE, 50, 0}, absent[] = {7, 50, 0};
    struct mc_crl spec = {.issuer = root, .issuer_key = "p256:root", .number = row->number, .ext = row->ext};
    spec.from = MC_NOW + (int64_t)row->from * MC_DAY;
    spec.to = MC_NOW + (int64_t)row->to * MC_DAY;
    if (row->to == 0)
        spec.to = MC_NOW + 30 * MC_DAY;
    else if (row->to == -9999)
        spec.to = -1;
    spec.revoked = row->revokes == ABSENT ? absent : listed;
    spec.reason = row->revokes == HELD ? 6 : row->revokes == REMOVED ? 8 : 0;
    return parse_list(mc_crl(&spec));
}

static void collect_problem(void *ctx, int64_t ca_id, const char *text)
{
    (void)ctx, (void)ca_id;
    size_t used = strlen(problems);
    (void)snprintf(problems + used, sizeof problems - used, "%s\n", text);
}

/* Build a set of the two CAs with these lists, the first n of which belong to the first CA. */
static struct ia_ca_set *build_set(const struct ia_crl_spec *lists, size_t first, size_t second)
{
    struct ia_ca_spec cas[2] = {{.ca_id = 1, .active = true, .cert = parse_certificate(root)},
                                {.ca_id = 2, .active = true, .cert = parse_certificate(renewed)}};
    const struct ia_problem_callback callback = {.report = collect_problem};
    const struct ia_ca_set_input input = {.cas = cas, .n = 2, .now = MC_NOW, .problems = &callback};
    struct ia_ca_set *set = NULL;
    cas[0].crls = lists;
    cas[0].n_crls = first;
    cas[1].crls = lists + first;
    cas[1].n_crls = second;
    problems[0] = '\0';
    ck_assert(ia_ca_set_build(&input, &set, NULL) == IA_OK);
    ia_cert_free(cas[0].cert);
    ia_cert_free(cas[1].cert);
    return set;
}

static enum ia_reason verify_device(const struct ia_ca_set *set)
{
    struct ia_chain chain;
    ia_chain_verify(set, device, NULL, MC_NOW, &chain);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    return chain.reason;
}

static void free_lists(struct ia_crl_spec *lists, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ia_crl_free(lists[i].crl);
        free((char *)lists[i].pem);
    }
}

START_TEST(crl_rows_are_in_force_as_listed)
{
    struct ia_crl_spec lists[LISTS_MAX];
    size_t n = 0, first;
    make_certificates();
    for (size_t i = 0; i < LISTS_MAX && rows[_i].lists[i].revokes; i++)
        if (!rows[_i].lists[i].other_row)
            lists[n++] = make_list(&rows[_i].lists[i]);
    first = n;
    for (size_t i = 0; i < LISTS_MAX && rows[_i].lists[i].revokes; i++)
        if (rows[_i].lists[i].other_row)
            lists[n++] = make_list(&rows[_i].lists[i]);
    struct ia_ca_set *set = build_set(lists, first, n - first);
    enum ia_reason reason = verify_device(set);
    ck_assert_msg(reason == (rows[_i].revoked ? IA_R_CERTIFICATE_REVOKED : IA_R_NONE), "%s: '%s'", rows[_i].label,
                  ia_reason_name(reason));
    if (rows[_i].problem)
        ck_assert_msg(strstr(problems, rows[_i].problem) != NULL, "%s: '%s'", rows[_i].label, problems);
    else
        ck_assert_msg(problems[0] == '\0', "%s: '%s'", rows[_i].label, problems);
    ia_ca_set_free(set);
    free_lists(lists, n);
    free_certificates();
}
END_TEST

START_TEST(superseded_list_takes_no_memory_and_comes_back_when_its_successor_is_deleted)
{
    make_certificates();
    struct ia_crl_spec lists[2] = {make_list(&(struct list_row){.revokes = LISTED, .number = 1, .from = -2}),
                                   make_list(&(struct list_row){.revokes = ABSENT, .number = 2, .from = -1})};
    struct ia_ca_set *before = build_set(lists, 1, 0);
    ck_assert_uint_gt(ia_crl_entries_size(lists[0].crl), 0);
    struct ia_ca_set *both = build_set(lists, 2, 0);
    ck_assert_uint_eq(ia_crl_entries_size(lists[0].crl), 0);
    ck_assert_uint_gt(ia_crl_entries_size(lists[1].crl), 0);
    ck_assert_int_eq(verify_device(before), IA_R_CERTIFICATE_REVOKED); /* the older set has its own reference */
    ck_assert_int_eq(verify_device(both), IA_R_NONE);
    struct ia_ca_set *after = build_set(lists, 1, 0);
    ck_assert_int_eq(verify_device(after), IA_R_CERTIFICATE_REVOKED);
    ia_ca_set_free(before);
    ia_ca_set_free(both);
    ia_ca_set_free(after);
    free_lists(lists, 2);
    free_certificates();
}
END_TEST

/* 20,000 entries in random order, among them the device. */
static X509_CRL *make_long_list(size_t n)
{
    int64_t *revoked = calloc(n + 1, sizeof *revoked);
    ck_assert_ptr_nonnull(revoked);
    for (size_t i = 0; i < n; i++)
        revoked[i] = i == n / 2 ? DEVICE : (int64_t)((i * 2654435761U) % 1000000007U) + 1000;
    X509_CRL *crl = mc_crl(
        &(struct mc_crl){.issuer = root, .issuer_key = "p256:root", .number = 1, .revoked = revoked, .reason = 1});
    free(revoked);
    return crl;
}

START_TEST(long_list_takes_as_many_octets_as_its_serial_numbers)
{
    const size_t n = 20000;
    make_certificates();
    struct ia_crl_spec list = parse_list(make_long_list(n));
    struct ia_ca_set *set = build_set(&list, 1, 0);
    ck_assert_uint_le(ia_crl_entries_size(list.crl), n * 4 + 64);
    ck_assert_int_eq(verify_device(set), IA_R_CERTIFICATE_REVOKED);
    ia_ca_set_free(set);
    free_lists(&list, 1);
    free_certificates();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("crl_in_force");
    TCase *c = tcase_create("crl_in_force");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, crl_rows_are_in_force_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, superseded_list_takes_no_memory_and_comes_back_when_its_successor_is_deleted);
    tcase_add_test(c, long_list_takes_as_many_octets_as_its_serial_numbers);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
