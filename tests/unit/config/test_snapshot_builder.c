// SPDX-License-Identifier: ISC
/* Snapshots from rows: a bad row is reported and leaves the others alone; what did not change is neither built nor parsed
 * again. */
#include "config/snapshot_builder.h"

#include "tests/unit/suite.h"
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"
#include "x509/chain.h"

#include <stdio.h>
#include <string.h>

static struct ia_builder *builder;

/* --- rows
 * ----------------------------------------------------------------------------------------------------------- */

static const char *const client_ids[] = {"${device_id}"}, *const device_role[] = {"device"};
static const char *const role_names[] = {"device", "reader"};
static const char *const audience[] = {"mqtt"}, *const algorithms[] = {"ES256"}, *const types[] = {"JWT"};

static struct ia_ca_row cas[8];
static struct ia_crl_row crls[4];
static struct ia_rule rules[4];
static const char *rule_problems[4];
static struct ia_ip_rule ips[4];
static struct ia_issuer_row issuers[4];
static struct ia_rows rows;
static char *pems[16];
static size_t n_pems;

static const char *keep(char *pem)
{
    ck_assert_uint_lt(n_pems, 16);
    return pems[n_pems++] = pem;
}

static struct ia_ca_row *add_ca(int64_t ca_id, const char *cert)
{
    struct ia_ca_row *row = &cas[rows.n_cas++];
    *row = (struct ia_ca_row){.ca_id = ca_id,
                              .name = cert,
                              .pem = keep(mc_pem(pki_cert(cert))),
                              .status = IA_CA_ACTIVE,
                              .device_id_template = "${cert.cn}",
                              .client_id_templates = {client_ids, 1},
                              .roles = {device_role, 1}};
    return row;
}

static void add_crl(int64_t crl_id, int64_t ca_id, const char *crl)
{
    crls[rows.n_crls++] = (struct ia_crl_row){.crl_id = crl_id, .ca_id = ca_id, .pem = keep(mc_crl_pem(pki_crl(crl)))};
}

static struct ia_rule *add_rule(int64_t rule_id, const char *role, const char *filter)
{
    struct ia_rule *rule = &rules[rows.n_rules++];
    *rule = (struct ia_rule){.rule_id = rule_id,
                             .role = role,
                             .allow = true,
                             .actions = IA_PUBLISH,
                             .topic_filter = filter,
                             .max_qos = 2,
                             .allow_retain = true};
    return rule;
}

static struct ia_issuer_row *add_issuer(const char *name, const char *url)
{
    struct ia_issuer_row *row = &issuers[rows.n_issuers++];
    *row = (struct ia_issuer_row){.name = name,
                                  .issuer = url,
                                  .audience = {audience, 1},
                                  .algorithms = {algorithms, 1},
                                  .jwks = "{\"keys\":[]}",
                                  .client_id_templates = {client_ids, 0},
                                  .token_types = {types, 1},
                                  .active = true};
    return row;
}

/* ---- reported problems */

static char reported[4096]; /* "ca 1: text\n" …, '-' for no problem (any longer) */

static void note_report(const char *kind, const char *row, const char *problem)
{
    size_t n = strlen(reported);
    (void)snprintf(reported + n, sizeof reported - n, "%s %s: %s\n", kind, row, problem ? problem : "-");
}

static const char *as_text(int64_t id)
{
    static char number[24];
    (void)snprintf(number, sizeof number, "%lld", (long long)id);
    return number;
}

static void report_ca(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem)
{
    (void)ctx;
    note_report(info ? "ca" : "ca without columns", as_text(row->ca_id), problem);
}

static void report_by_id(void *ctx, int64_t id, const char *problem)
{
    note_report(ctx, as_text(id), problem);
}

static void report_issuer(void *ctx, int64_t index, const char *problem)
{
    note_report(ctx, issuers[index].name, problem);
}

static const struct ia_row_problems problems = {.ca = {report_ca, NULL},
                                                .rule = {report_by_id, "rule"},
                                                .issuer = {report_issuer, "issuer"},
                                                .ip_rule = {report_by_id, "ip_rule"}};

/* --- parsing is counted
 * --------------------------------------------------------------------------------------------- */

static size_t n_parsed;

enum ia_rc __real_ia_cert_parse_pem(const char *pem, struct ia_cert **out, struct ia_err *err);
enum ia_rc __wrap_ia_cert_parse_pem(const char *pem, struct ia_cert **out, struct ia_err *err);
enum ia_rc __real_ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err);
enum ia_rc __wrap_ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err);

enum ia_rc __wrap_ia_cert_parse_pem(const char *pem, struct ia_cert **out, struct ia_err *err)
{
    n_parsed++;
    return __real_ia_cert_parse_pem(pem, out, err);
}

enum ia_rc __wrap_ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err)
{
    n_parsed++;
    return __real_ia_crl_parse_pem(pem, out, err);
}

/*
-------------------------------------------------------------------------------------------------------------------- */

static void set_up(void)
{
    builder = ia_builder_new();
    ck_assert_ptr_nonnull(builder);
    rows = (struct ia_rows){.cas = cas,
                            .crls = crls,
                            .roles = role_names,
                            .n_roles = 2,
                            .rules = rules,
                            .rule_problems = rule_problems,
                            .ips = ips,
                            .issuers = issuers};
}

static void tear_down(void)
{
    ia_builder_free(builder);
    while (n_pems > 0)
        free(pems[--n_pems]);
}

static struct ia_snapshot *build_part(unsigned what)
{
    struct ia_snapshot *snapshot = NULL;
    struct ia_err err = {0};
    reported[0] = '\0';
    n_parsed = 0;
    ck_assert_msg(
        ia_builder_build(builder,
                         &(struct ia_build_input){.parts = what, .rows = &rows, .now = MC_NOW, .problems = &problems},
                         &snapshot, &err) == IA_OK,
        "%s", err.msg);
    return snapshot;
}

static struct ia_snapshot *build(void)
{
    return build_part(IA_LOAD_ALL);
}

/* What the snapshot makes of that leaf. */
static enum ia_reason verdict(const struct ia_snapshot *snapshot, const char *leaf)
{
    struct ia_chain chain;
    ia_chain_verify(snapshot->cas, pki_cert(leaf), NULL, MC_NOW, &chain);
    return chain.reason;
}

START_TEST(snapshot_of_no_rows_is_complete_and_admits_no_device)
{
    struct ia_snapshot *s = build();
    ck_assert(s->cas && s->ca_settings && s->policy && s->ips && s->issuers);
    ck_assert_uint_eq(s->generation, 1);
    ck_assert_int_eq(verdict(s, "plain_leaf"), IA_R_CA_UNKNOWN);
    ck_assert_str_eq(reported, "");
    ia_snapshot_free(s);
    ia_snapshot_free(NULL);
}
END_TEST

START_TEST(good_rows_are_reported_once_for_their_columns)
{
    add_ca(1, "root");
    add_rule(1, "device", "devices/${device_id}/#");
    struct ia_snapshot *s = build();
    ck_assert_str_eq(reported, "ca 1: -\n"); /* its parsed columns are to be written */
    ck_assert_int_eq(verdict(s, "plain_leaf"), IA_R_NONE);
    ia_snapshot_free(s);
    s = build();
    ck_assert_str_eq(reported, "");
    ia_snapshot_free(s);
}
END_TEST

static void no_certificate(struct ia_ca_row *row)
{
    row->pem = "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n";
}

static void no_text(struct ia_ca_row *row)
{
    row->pem = "";
}

static void no_ca(struct ia_ca_row *row)
{
    row->pem = keep(mc_pem(pki_cert("no_ca")));
}

static void expired(struct ia_ca_row *row)
{
    row->pem = keep(mc_pem(pki_cert("old_root")));
}

static void bad_template(struct ia_ca_row *row)
{
    row->device_id_template = "${cert.nothing}";
}

static const struct {
    const char *label;
    void (*spoil)(struct ia_ca_row *row);
    const char *reported;
} bad_cas[] = {
    {"not PEM", no_certificate, "ca without columns 2: "},
    {"empty", no_text, "ca without columns 2: "},
    {"not a CA", no_ca, "ca 2: "},
    {"expired", expired, "ca 2: "},
    {"bad template", bad_template, "ca 2: "},
};

START_TEST(bad_ca_is_reported_until_its_row_says_so_and_spares_the_others)
{
    add_ca(1, "root");
    struct ia_ca_row *bad = add_ca(2, "root2");
    add_ca(3, "ed_root");
    bad_cas[_i].spoil(bad);
    struct ia_snapshot *s = build();
    ck_assert_msg(strstr(reported, bad_cas[_i].reported) != NULL, "%s: %s", bad_cas[_i].label, reported);
    ck_assert_msg(strstr(reported, "2: -\n") == NULL, "%s: %s", bad_cas[_i].label, reported);
    ck_assert_int_eq(verdict(s, "plain_leaf"), IA_R_NONE);
    ck_assert_int_eq(verdict(s, "ed_leaf"), IA_R_NONE);
    bool admits = verdict(s, "leaf_of_root2") == IA_R_NONE && ia_ca_settings_find(s->ca_settings, 2);
    ck_assert_msg(!admits, "%s", bad_cas[_i].label);
    ia_snapshot_free(s);
    char problem[256];
    const char *text = strstr(reported, " 2: ") + 4;
    (void)snprintf(problem, sizeof problem, "%.*s", (int)strcspn(text, "\n"), text);
    bad->problem = problem; /* written meanwhile */
    s = build();
    ck_assert_str_eq(reported, "");
    ia_snapshot_free(s);
    bad->problem = "something else"; /* somebody wrote to it */
    s = build();
    ck_assert_msg(strstr(reported, bad_cas[_i].reported) != NULL, "%s: %s", bad_cas[_i].label, reported);
    ia_snapshot_free(s);
}
END_TEST

START_TEST(corrected_ca_has_its_problem_cleared)
{
    struct ia_ca_row *row = add_ca(1, "root");
    row->problem = "it was not a certificate";
    struct ia_snapshot *s = build();
    ck_assert_str_eq(reported, "ca 1: -\n");
    ia_snapshot_free(s);
}
END_TEST

/* --- CRLs
 * ----------------------------------------------------------------------------------------------------------- */

START_TEST(crls_belong_to_their_ca_whatever_the_order_of_rows)
{
    add_ca(9, "root");
    add_ca(4, "inter");
    add_crl(1, 9, "root_empty");
    add_crl(2, 4, "revokes_leaf");
    struct ia_snapshot *s = build();
    ck_assert_int_eq(verdict(s, "leaf"), IA_R_CERTIFICATE_REVOKED);
    ck_assert_int_eq(verdict(s, "plain_leaf"), IA_R_NONE);
    ia_snapshot_free(s);
    rows.n_crls = 1; /* the list was taken back */
    s = build();
    ck_assert_int_eq(verdict(s, "leaf"), IA_R_NONE);
    ia_snapshot_free(s);
}
END_TEST

START_TEST(bad_crl_is_reported_and_loses_neither_its_ca_nor_the_good_one)
{
    add_ca(1, "inter");
    add_crl(1, 1, "revokes_leaf");
    crls[rows.n_crls++] = (struct ia_crl_row){.crl_id = 2, .ca_id = 1, .pem = "rubbish"};
    crls[rows.n_crls++] = (struct ia_crl_row){.crl_id = 3, .ca_id = 77, .pem = "of no CA"};
    struct ia_snapshot *s = build();
    ck_assert_msg(strncmp(reported, "ca 1: ", 6) == 0 && reported[6] != '-', "%s", reported);
    ck_assert_int_eq(verdict(s, "leaf"), IA_R_CERTIFICATE_REVOKED);
    ia_snapshot_free(s);
}
END_TEST

/* --- rules, addresses, issuers
 * -------------------------------------------------------------------------------------- */

static enum ia_verdict may_publish(const struct ia_snapshot *s, const char *role, const char *topic)
{
    const struct ia_role *roles[] = {ia_policy_role(s->policy, role)};
    const char *const no_values[16] = {0};
    const struct ia_subject who = {.roles = roles, .n_roles = 1, .values = no_values};
    const struct ia_access access = {.action = IA_PUBLISH, .topic = topic};
    return ia_policy_check(s->policy, &who, &access, NULL);
}

START_TEST(bad_rule_silences_its_role_alone_and_is_reported_once)
{
    add_rule(1, "device", "a/#");
    add_rule(2, "device", "a/#/b");
    add_rule(3, "reader", "a/#");
    struct ia_snapshot *s = build();
    ck_assert_msg(strncmp(reported, "rule 2: ", 8) == 0 && strchr(reported, '\n')[1] == '\0', "%s", reported);
    ck_assert_int_eq(may_publish(s, "device", "a/b"), IA_DENY);
    ck_assert_int_eq(may_publish(s, "reader", "a/b"), IA_ALLOW);
    ia_snapshot_free(s);
    char problem[256];
    (void)snprintf(problem, sizeof problem, "%.*s", (int)strcspn(reported + 8, "\n"), reported + 8);
    rule_problems[1] = problem;
    s = build();
    ck_assert_str_eq(reported, "");
    ia_snapshot_free(s);
    rules[1].topic_filter = "b/#";
    s = build();
    ck_assert_str_eq(reported, "rule 2: -\n");
    ck_assert_int_eq(may_publish(s, "device", "a/b"), IA_ALLOW);
    ia_snapshot_free(s);
    rule_problems[1] = NULL;
}
END_TEST

START_TEST(bad_network_denies_its_scope_and_is_noted)
{
    ips[rows.n_ips++] = (struct ia_ip_rule){.rule_id = 5, .network = "", .scope = IA_IP_CA, .scope_key = "acme"};
    struct ia_snapshot *s = build();
    ck_assert_msg(strncmp(reported, "ip_rule 5: ", 11) == 0, "%s", reported);
    struct ia_ip ip = ia_ip_parse("192.0.2.1");
    ck_assert_int_eq(ia_ip_check(s->ips, IA_IP_CA, "acme", &ip, MC_NOW, NULL), IA_DENY);
    ck_assert_int_eq(ia_ip_check(s->ips, IA_IP_CA, "other", &ip, MC_NOW, NULL), IA_ALLOW);
    ia_snapshot_free(s);
}
END_TEST

START_TEST(bad_issuer_is_reported_and_spares_the_others)
{
    static const char *const unknown[] = {"HS256"};
    add_issuer("good", "https://a.example/")->problem = "it had one";
    add_issuer("bad", "https://b.example/")->algorithms.items = unknown;
    struct ia_snapshot *s = build();
    const char *of_bad = strstr(reported, "issuer bad: ");
    ck_assert_msg(of_bad && strstr(of_bad, "algorithms"), "%s", reported);
    ck_assert_msg(strstr(reported, "it had one") == NULL, "%s", reported);
    ck_assert_msg(strstr(reported, "issuer good: ") != NULL, "%s", reported);
    ia_snapshot_free(s);
}
END_TEST

/* --- building again
 * ------------------------------------------------------------------------------------------------- */

START_TEST(part_that_was_not_read_is_the_one_before)
{
    add_ca(1, "root");
    add_rule(1, "device", "a/#");
    struct ia_snapshot *one = build();
    struct ia_rows whole = rows;
    rows = (struct ia_rows){.rules = rules, .rule_problems = rule_problems, .roles = role_names, .n_roles = 2};
    struct ia_snapshot *two = build_part(IA_LOAD_POLICY);
    ck_assert_ptr_ne(one->policy, two->policy);
    ck_assert_ptr_eq(one->cas, two->cas);
    ck_assert_ptr_eq(one->ca_settings, two->ca_settings);
    ck_assert_ptr_eq(one->ips, two->ips);
    ck_assert_ptr_eq(one->issuers, two->issuers);
    ck_assert_uint_eq(two->generation, one->generation + 1);
    ck_assert_uint_eq(two->ca_generation, one->ca_generation); /* remembered chains stay good */
    ia_snapshot_free(one);
    ck_assert_int_eq(verdict(two, "plain_leaf"), IA_R_NONE); /* also when the first was freed */
    ck_assert_int_eq(may_publish(two, "device", "a/b"), IA_NO_MATCH);
    rows = whole;
    struct ia_snapshot *three = build_part(IA_LOAD_CAS | IA_LOAD_CRLS);
    ck_assert_ptr_eq(three->policy, two->policy);
    ck_assert_uint_gt(three->ca_generation, two->ca_generation);
    ia_snapshot_free(two);
    ia_snapshot_free(three);
}
END_TEST

/* Devices name it until their rows are read again, and must not lose their other rights until then. */
START_TEST(dropped_role_is_there_without_rules)
{
    add_rule(1, "device", "a/#");
    size_t n = rows.n_roles;
    ia_snapshot_free(build());
    for (int i = 0; i < 2; i++) { /* dropped, and still dropped */
        rows.n_roles = 0;
        rows.n_rules = 0;
        struct ia_snapshot *dropped = build();
        ck_assert_ptr_nonnull(ia_policy_role(dropped->policy, "device"));
        ck_assert_int_eq(may_publish(dropped, "device", "a/b"), IA_NO_MATCH);
        ck_assert_ptr_null(ia_policy_role(dropped->policy, "never known before"));
        ia_snapshot_free(dropped);
    }
    rows.n_roles = n;
    rows.n_rules = 1;
    struct ia_snapshot *back = build();
    ck_assert_int_eq(may_publish(back, "device", "a/b"), IA_ALLOW);
    ia_snapshot_free(back);
}
END_TEST

/* The oldest are forgotten, so that they do not add up for ever. */
START_TEST(dropped_roles_are_bounded)
{
    enum { ROLES = 5000 };
    static char names[ROLES][8];
    static const char *list[ROLES];
    for (size_t i = 0; i < ROLES; i++) {
        (void)snprintf(names[i], sizeof names[i], "r%05zu", i);
        list[i] = names[i];
    }
    rows.roles = list;
    rows.n_roles = ROLES;
    ia_snapshot_free(build());
    rows.n_roles = 0;
    struct ia_snapshot *dropped = build();
    ck_assert_ptr_null(ia_policy_role(dropped->policy, names[0]));
    ck_assert_ptr_nonnull(ia_policy_role(dropped->policy, names[ROLES - 1]));
    ia_snapshot_free(dropped);
}
END_TEST

START_TEST(certificates_and_lists_are_parsed_once)
{
    add_ca(1, "root");
    add_ca(2, "inter");
    add_crl(1, 2, "revokes_leaf");
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 3);
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 0);
    add_ca(3, "root2");
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 1);
    cas[1].pem = keep(mc_pem(pki_cert("inter_renewed"))); /* another text under the same id */
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 1);
    rows.n_cas = 1; /* deleted … */
    ia_snapshot_free(build());
    rows.n_cas = 3; /* … and there again: an unused entry was forgotten */
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 2);
}
END_TEST

START_TEST(bad_certificate_is_not_parsed_again_either)
{
    add_ca(1, "root")->pem = "rubbish";
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 1);
    ia_snapshot_free(build());
    ck_assert_uint_eq(n_parsed, 0);
    ck_assert_msg(strstr(reported, "1: ") && !strstr(reported, ": -"), "%s", reported);
}
END_TEST

/* --- memory
 * --------------------------------------------------------------------------------------------------------- */

static long countdown = -1; /* the allocation that fails, counted from now; below 0: none */

void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
void *__real_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_malloc(size_t size);

static bool runs_out(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return runs_out() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return runs_out() ? NULL : __real_malloc(size);
}

char *__wrap_strdup(const char *text)
{
    return runs_out() ? NULL : __real_strdup(text);
}

/* Whole or not at all: a CRL, a rule or an address rule lost for want of memory would open what it closed. */
START_TEST(snapshot_without_memory_is_complete_or_not_built)
{
    add_ca(1, "inter");
    add_crl(1, 1, "revokes_leaf");
    add_rule(1, "device", "a/#");
    add_rule(2, "device", "a/b")->allow = false;
    ips[rows.n_ips++] = (struct ia_ip_rule){.rule_id = 5, .network = "192.0.2.0/24", .scope = IA_IP_GLOBAL};
    add_issuer("idp", "https://a.example/");
    struct ia_ip ip = ia_ip_parse("192.0.2.1");
    long n = 0;
    bool done = false;
    for (; n < 2000 && !done; n++) {
        struct ia_builder *fresh = ia_builder_new();
        struct ia_snapshot *s = NULL;
        struct ia_err err = {0};
        countdown = n;
        enum ia_rc rc = ia_builder_build(
            fresh, &(struct ia_build_input){.parts = IA_LOAD_ALL, .rows = &rows, .now = MC_NOW, .problems = &problems},
            &s, &err);
        done = countdown >= 0; /* it did not ask so often */
        countdown = -1;
        reported[0] = '\0';
        ck_assert_msg(rc == IA_OK || (rc == IA_NOMEM && !s), "after %ld allocations: %d %s", n, rc, err.msg);
        if (s) {
            ck_assert_msg(verdict(s, "leaf") != IA_R_NONE, "after %ld allocations: the CRL is lost", n);
            ck_assert_msg(may_publish(s, "device", "a/b") == IA_DENY, "after %ld allocations: the DENY is lost", n);
            ck_assert_msg(ia_ip_check(s->ips, IA_IP_GLOBAL, NULL, &ip, MC_NOW, NULL) == IA_DENY,
                          "after %ld allocations: the address rule is lost", n);
        }
        ia_snapshot_free(s);
        ia_builder_free(fresh);
    }
    ck_assert_int_gt(n, 20);
    ck_assert(done);
}
END_TEST

/* A certificate of the CA `inter`, another each time. */
static const char *keep_second(long n)
{
    static const char *texts[2];
    for (int i = 0; i < 2; i++)
        if (!texts[i])
            texts[i] = keep(mc_pem(pki_cert(i ? "inter" : "inter_renewed")));
    return texts[n % 2];
}

/* A certificate that was not parsed because an allocation failed was remembered as a bad certificate, and its CA
 * admitted no device from then on. */
START_TEST(builder_recovers_from_an_allocation_failure)
{
    add_ca(1, "root");
    add_rule(1, "device", "a/#");
    struct ia_snapshot *good = build(), *s = NULL;
    add_ca(2, "inter");
    for (long n = 0; n < 40; n++) {
        struct ia_err err = {0};
        countdown = n;
        enum ia_rc rc = ia_builder_build(
            builder,
            &(struct ia_build_input){.parts = IA_LOAD_ALL, .rows = &rows, .now = MC_NOW, .problems = &problems}, &s,
            &err);
        countdown = -1;
        ck_assert(rc == IA_OK || !s);
        ia_snapshot_free(s);
        s = build();
        ck_assert_msg(verdict(s, "plain_leaf") == IA_R_NONE && verdict(s, "leaf") == IA_R_NONE, "after %ld: %s", n,
                      reported);
        ck_assert_uint_gt(s->ca_generation, good->ca_generation);
        ia_snapshot_free(s);
        s = NULL;
        cas[1].pem = keep_second(n); /* parsed again in the next round */
    }
    ia_snapshot_free(good);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, snapshot_of_no_rows_is_complete_and_admits_no_device);
    tcase_add_test(c, good_rows_are_reported_once_for_their_columns);
    tcase_add_loop_test(c, bad_ca_is_reported_until_its_row_says_so_and_spares_the_others, 0,
                        (int)(sizeof bad_cas / sizeof bad_cas[0]));
    tcase_add_test(c, corrected_ca_has_its_problem_cleared);
    tcase_add_test(c, crls_belong_to_their_ca_whatever_the_order_of_rows);
    tcase_add_test(c, bad_crl_is_reported_and_loses_neither_its_ca_nor_the_good_one);
    tcase_add_test(c, bad_rule_silences_its_role_alone_and_is_reported_once);
    tcase_add_test(c, bad_network_denies_its_scope_and_is_noted);
    tcase_add_test(c, bad_issuer_is_reported_and_spares_the_others);
    tcase_add_test(c, part_that_was_not_read_is_the_one_before);
    tcase_add_test(c, dropped_role_is_there_without_rules);
    tcase_add_test(c, dropped_roles_are_bounded);
    tcase_add_test(c, certificates_and_lists_are_parsed_once);
    tcase_add_test(c, bad_certificate_is_not_parsed_again_either);
    tcase_add_test(c, snapshot_without_memory_is_complete_or_not_built);
    tcase_add_test(c, builder_recovers_from_an_allocation_failure);
}

int main(void)
{
    return run_suite("snapshot", cases);
}
