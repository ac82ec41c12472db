// SPDX-License-Identifier: ISC
/* CAs that were renewed, cross-certified or renamed in their key identifiers: one subject and key in many certificates.
 * cert-manager renews a CA by registering its successor again and again; Easy-RSA writes the issuer's own issuer and serial
 * number into the authority key identifier, which a renewal changes; Go 1.25 computes another subject key identifier. */
#include "tests/unit/x509/make_cert.h"
#include "x509/ca_set.h"
#include "x509/chain.h"

#include <check.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 256
#define CA_BASIC "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign"

/* The registry of one test: rows are appended, then the set is built. */
static struct {
    struct ia_ca_spec rows[ROWS_MAX];
    struct ia_crl_spec crls[ROWS_MAX]; /* at most one of each row */
    size_t n;
    char problems[4096];
} registry;

static X509 *root, *inter, *device; /* of the running test */

static void reset_registry(void)
{
    for (size_t i = 0; i < registry.n; i++) {
        ia_cert_free(registry.rows[i].cert);
        ia_crl_free(registry.crls[i].crl);
        free((char *)registry.crls[i].pem);
    }
    memset(&registry, 0, sizeof registry);
    X509_free(root);
    X509_free(inter);
    X509_free(device);
    root = inter = device = NULL;
}

static struct ia_ca_spec *register_row(X509 *x509)
{
    char *pem = mc_pem(x509);
    struct ia_ca_spec *row = &registry.rows[registry.n];
    ck_assert(ia_cert_parse_pem(pem, &row->cert, NULL) == IA_OK);
    free(pem);
    row->ca_id = (int64_t)++registry.n;
    row->active = true;
    return row;
}

static void add_list(struct ia_ca_spec *row, const struct mc_crl *crl)
{
    struct ia_crl_spec *list = &registry.crls[row->ca_id - 1];
    X509_CRL *made = mc_crl(crl);
    list->pem = mc_crl_pem(made);
    X509_CRL_free(made);
    ck_assert(ia_crl_parse_pem(list->pem, &list->crl, NULL) == IA_OK);
    row->crls = list;
    row->n_crls = 1;
}

static void collect_problem(void *ctx, int64_t ca_id, const char *text)
{
    size_t used = strlen(registry.problems);
    (void)ctx;
    (void)snprintf(registry.problems + used, sizeof registry.problems - used, "%d: %s\n", (int)ca_id, text);
}

static struct ia_ca_set *build_registry(void)
{
    const struct ia_problem_callback problems = {.report = collect_problem};
    const struct ia_ca_set_input input = {.cas = registry.rows, .n = registry.n, .now = MC_NOW, .problems = &problems};
    struct ia_ca_set *set = NULL;
    registry.problems[0] = '\0';
    ck_assert(ia_ca_set_build(&input, &set, NULL) == IA_OK);
    return set;
}

/* The chain of the device, with `sent` beside it (NULL: nothing). */
static struct ia_chain connect_device(X509 *sent)
{
    struct ia_ca_set *set = build_registry();
    STACK_OF(X509) *stack = sk_X509_new_null();
    struct ia_chain chain;
    if (sent)
        ck_assert(sk_X509_push(stack, sent) > 0);
    ia_chain_verify(set, device, stack, MC_NOW, &chain);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    sk_X509_free(stack);
    ia_ca_set_free(set);
    return chain;
}

static void assert_reason(const struct ia_chain *chain, enum ia_reason reason)
{
    ck_assert_msg(chain->reason == reason, "'%s' (%s); problems: %s", ia_reason_name(chain->reason), chain->detail,
                  registry.problems);
}

static X509 *make_root(const char *ext, int64_t serial, int64_t to)
{
    return mc_cert(
        &(struct mc_cert){.subject = "/CN=Root", .key = "p256:root", .ext = ext, .serial = serial, .to = to});
}

static X509 *make_inter(X509 *issuer, const char *ext)
{
    return mc_cert(&(struct mc_cert){.subject = "/CN=Inter",
                                     .key = "p256:inter",
                                     .issuer = issuer,
                                     .issuer_key = "p256:root",
                                     .ext = ext,
                                     .serial = 20});
}

static X509 *make_device(X509 *issuer, const char *issuer_key, const char *ext)
{
    return mc_cert(&(struct mc_cert){.subject = "/CN=dev-1",
                                     .key = "p256:leaf",
                                     .issuer = issuer,
                                     .issuer_key = issuer_key,
                                     .ext = ext,
                                     .serial = 100});
}

/* How an issuer may be named by what it issued, and what the registered certificate of the issuer says. */
static const struct {
    const char *label;
    const char *named; /* the issuer's certificate at the time of issue */
    const char *below; /* extensions of what it issued */
    const char *registered;
} hint_rows[] = {
    {"identifiers that fit", MC_ROOT, "authorityKeyIdentifier=keyid", MC_ROOT},
    {"issuer and serial number of a predecessor (Easy-RSA)", MC_ROOT, "authorityKeyIdentifier=issuer:always", MC_ROOT},
    {"both, the key identifier fits", MC_ROOT, "authorityKeyIdentifier=keyid,issuer:always", MC_ROOT},
    {"both, neither fits", MC_ROOT, "authorityKeyIdentifier=keyid,issuer:always",
     CA_BASIC "|subjectKeyIdentifier=01:02:03"},
    {"another subject key identifier since the renewal (Go 1.25)", MC_ROOT, "authorityKeyIdentifier=keyid",
     CA_BASIC "|subjectKeyIdentifier=01:02:03"},
    {"no subject key identifier since the renewal", MC_ROOT, "authorityKeyIdentifier=keyid", CA_BASIC},
    {"an identifier that never fitted", CA_BASIC "|subjectKeyIdentifier=09:09:09", "authorityKeyIdentifier=keyid",
     MC_ROOT},
    {"no identifier below", MC_ROOT, NULL, MC_ROOT},
};
#define HINT_ROWS (int)(sizeof hint_rows / sizeof hint_rows[0])

/* The root as the intermediate or device knew it (serial 1), and as it is registered (serial 2). */
static X509 *named_root(int row)
{
    return make_root(hint_rows[row].named, 1, 0);
}

static struct ia_ca_spec *register_renewed_root(int row)
{
    X509 *renewed = make_root(hint_rows[row].registered, 2, 0);
    struct ia_ca_spec *spec = register_row(renewed);
    X509_free(renewed);
    return spec;
}

static const char *extensions_of_inter(int row)
{
    static char ext[256];
    (void)snprintf(ext, sizeof ext, "%s%s%s", CA_BASIC "|subjectKeyIdentifier=hash", hint_rows[row].below ? "|" : "",
                   hint_rows[row].below ? hint_rows[row].below : "");
    return ext;
}

START_TEST(device_of_a_renewed_ca_is_admitted_whatever_its_identifiers_say)
{
    root = named_root(_i);
    register_renewed_root(_i);
    device = make_device(root, "p256:root", hint_rows[_i].below);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    ck_assert_int_eq(chain.ca_id, 1);
    reset_registry();
}
END_TEST

START_TEST(device_below_an_unregistered_intermediate_of_a_renewed_ca_is_admitted)
{
    root = named_root(_i);
    register_renewed_root(_i);
    inter = make_inter(root, extensions_of_inter(_i));
    device = make_device(inter, "p256:inter", MC_DEVICE);
    struct ia_chain chain = connect_device(inter);
    assert_reason(&chain, IA_R_NONE);
    reset_registry();
}
END_TEST

START_TEST(signature_of_another_key_is_refused_whatever_the_identifiers_say)
{
    root = named_root(_i);
    register_renewed_root(_i);
    device = make_device(root, "p256:attacker", hint_rows[_i].below);
    struct ia_chain chain = connect_device(NULL);
    ck_assert(chain.reason == IA_R_CHAIN_INVALID || chain.reason == IA_R_CA_UNKNOWN);
    ck_assert_int_eq(chain.ca_id, 0);
    reset_registry();
}
END_TEST

START_TEST(inactive_root_disables_a_registered_intermediate_whatever_the_identifiers_say)
{
    root = named_root(_i);
    register_renewed_root(_i)->active = false;
    inter = make_inter(root, extensions_of_inter(_i));
    register_row(inter);
    device = make_device(inter, "p256:inter", MC_DEVICE);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_CA_INACTIVE);
    reset_registry();
}
END_TEST

START_TEST(list_of_a_renewed_root_revokes_a_registered_intermediate_whatever_the_identifiers_say)
{
    static const int64_t revoked[] = {20, 0};
    root = named_root(_i);
    struct ia_ca_spec *renewed = register_renewed_root(_i);
    inter = make_inter(root, extensions_of_inter(_i));
    register_row(inter);
    device = make_device(inter, "p256:inter", MC_DEVICE);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    add_list(renewed, &(struct mc_crl){.issuer = root,
                                       .issuer_key = "p256:root",
                                       .number = 1,
                                       .revoked = revoked,
                                       .ext = "authorityKeyIdentifier=keyid,issuer:always"});
    struct ia_ca_set *set = build_registry();
    ck_assert_int_eq(ia_chain_revalidate(set, &chain, MC_NOW), IA_R_CERTIFICATE_REVOKED);
    ia_ca_set_free(set);
    chain = connect_device(NULL);
    assert_reason(&chain, IA_R_CERTIFICATE_REVOKED);
    reset_registry();
}
END_TEST

/* iot-auth-check with --crl: a list of the renewed root, with or without the device. */
static struct ia_chain verify_strictly(bool with_list, bool listed)
{
    static const int64_t revoked[] = {100, 0};
    struct ia_ca_set *set = build_registry();
    X509_CRL *crl = mc_crl(&(struct mc_crl){.issuer = root,
                                            .issuer_key = "p256:root",
                                            .number = 1,
                                            .revoked = listed ? revoked : NULL,
                                            .ext = "authorityKeyIdentifier=keyid,issuer:always"});
    struct ia_crl_spec spec = {.pem = mc_crl_pem(crl)};
    ck_assert(ia_crl_parse_pem(spec.pem, &spec.crl, NULL) == IA_OK);
    const struct ia_chain_strict_input input = {
        .leaf = device, .crls = &spec, .n_crls = with_list ? 1 : 0, .now = MC_NOW};
    struct ia_chain chain;
    ia_chain_verify_strict(set, &input, &chain);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ia_crl_free(spec.crl);
    free((char *)spec.pem);
    X509_CRL_free(crl);
    ia_ca_set_free(set);
    return chain;
}

START_TEST(strict_check_finds_the_list_of_a_renewed_ca_whatever_its_identifiers_say)
{
    root = named_root(_i);
    register_renewed_root(_i);
    device = make_device(root, "p256:root", hint_rows[_i].below);
    struct ia_chain chain = verify_strictly(true, false);
    assert_reason(&chain, IA_R_NONE);
    chain = verify_strictly(true, true);
    assert_reason(&chain, IA_R_CERTIFICATE_REVOKED);
    chain = verify_strictly(false, false);
    assert_reason(&chain, IA_R_CHAIN_INVALID);
    reset_registry();
}
END_TEST

/* `n` certificates of one root, of which the `expired` first have expired. */
static void register_renewals(size_t n, size_t expired)
{
    for (size_t i = 0; i < n; i++) {
        X509 *x509 = make_root(MC_ROOT, (int64_t)i + 1, i < expired ? MC_NOW - 1 : 0);
        register_row(x509);
        if (i == 0)
            root = x509;
        else
            X509_free(x509);
    }
}

static const size_t renewals[] = {1, 8, 9, 10, 33, 64, 65, 120};
#define RENEWALS (int)(sizeof renewals / sizeof renewals[0])

START_TEST(any_number_of_renewals_changes_nothing)
{
    register_renewals(1, 0);
    device = make_device(root, "p256:root", MC_DEVICE);
    struct ia_chain before = connect_device(NULL);
    for (size_t i = 1; i < renewals[_i]; i++) {
        X509 *x509 = make_root(MC_ROOT, (int64_t)i + 1, 0);
        register_row(x509);
        X509_free(x509);
    }
    struct ia_ca_set *set = build_registry();
    ck_assert_int_eq(ia_chain_revalidate(set, &before, MC_NOW), IA_R_NONE);
    ia_ca_set_free(set);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    size_t counted = renewals[_i] < IA_CHAIN_CAS_MAX ? renewals[_i] : IA_CHAIN_CAS_MAX;
    ck_assert_uint_eq(chain.n_cas, counted);
    ck_assert_msg((strstr(registry.problems, "more than 64") != NULL) == (renewals[_i] > IA_CHAIN_CAS_MAX), "%s",
                  registry.problems);
    reset_registry();
}
END_TEST

START_TEST(any_number_of_roots_of_one_key_above_an_intermediate_changes_nothing)
{
    register_renewals(renewals[_i], 0);
    inter = make_inter(root, MC_CA);
    register_row(inter);
    device = make_device(inter, "p256:inter", MC_DEVICE);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    reset_registry();
}
END_TEST

/* Why the CA was renewed: its first certificate is too narrow for a device that its key has signed. */
static const struct {
    const char *label, *narrow;
} narrow_roots[] = {
    {"path length",
     "basicConstraints=critical,CA:TRUE,pathlen:0|keyUsage=critical,keyCertSign,cRLSign|subjectKeyIdentifier=hash"},
    {"permitted name", MC_ROOT "|nameConstraints=critical,permitted;DNS:acme.example"},
    {"excluded name", MC_ROOT "|nameConstraints=critical,excluded;DNS:plant.example"},
};
#define NARROW_ROOTS (int)(sizeof narrow_roots / sizeof narrow_roots[0])

static void register_root(const char *ext, int64_t serial, int64_t to)
{
    X509 *x509 = make_root(ext, serial, to);
    register_row(x509);
    X509_free(x509);
}

static void make_path_below(const char *ext)
{
    root = make_root(ext, 1, 0);
    inter = make_inter(root, MC_CA);
    device = make_device(inter, "p256:inter", MC_DEVICE "|subjectAltName=DNS:dev-1.plant.example");
}

START_TEST(renewal_that_admits_more_admits_it_beside_its_predecessor)
{
    for (int wide_first = 0; wide_first <= 1; wide_first++) {
        make_path_below(narrow_roots[_i].narrow);
        for (int64_t i = 0; i < 9; i++)
            register_root(wide_first && i == 0 ? MC_ROOT : narrow_roots[_i].narrow, i + 1, 0);
        struct ia_chain chain;
        if (!wide_first) {
            chain = connect_device(inter);
            assert_reason(&chain, IA_R_CHAIN_INVALID);
            register_root(MC_ROOT, 10, MC_NOW - 1);
            chain = connect_device(inter);
            assert_reason(&chain, IA_R_CHAIN_INVALID); /* one that has expired admits nothing */
            register_root(MC_ROOT, 11, 0);
        }
        chain = connect_device(inter);
        assert_reason(&chain, IA_R_NONE);
        ck_assert_int_eq(chain.ca_id, wide_first ? 1 : 11);
        struct ia_ca_set *set = build_registry();
        ck_assert_int_eq(ia_chain_revalidate(set, &chain, MC_NOW), IA_R_NONE);
        ia_ca_set_free(set);
        reset_registry();
    }
}
END_TEST

START_TEST(expired_renewals_do_not_hide_the_valid_one)
{
    register_renewals(renewals[_i], renewals[_i] - 1);
    device = make_device(root, "p256:root", MC_DEVICE);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    ck_assert_int_eq(chain.ca_id, (int64_t)renewals[_i]);
    reset_registry();
}
END_TEST

START_TEST(expired_renewals_do_not_hide_the_valid_one_from_an_intermediate_that_is_sent)
{
    register_renewals(renewals[_i], renewals[_i] - 1);
    inter = make_inter(root, MC_CA);
    device = make_device(inter, "p256:inter", MC_DEVICE);
    struct ia_chain chain = connect_device(inter);
    assert_reason(&chain, IA_R_NONE);
    reset_registry();
}
END_TEST

START_TEST(one_inactive_renewal_among_many_disables_the_key)
{
    register_renewals(renewals[_i], 0);
    registry.rows[renewals[_i] / 2].active = false;
    device = make_device(root, "p256:root", MC_DEVICE);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_CA_INACTIVE);
    reset_registry();
}
END_TEST

/* A certificate that was replaced and then revoked leaves its successor, and what is below, alone. */
START_TEST(revoked_predecessor_of_a_parent_disables_nothing)
{
    static const int64_t revoked[] = {20, 0};
    register_renewals(1, 0);
    add_list(&registry.rows[0],
             &(struct mc_crl){.issuer = root, .issuer_key = "p256:root", .number = 1, .revoked = revoked});
    inter = make_inter(root, MC_CA); /* serial number 20 */
    register_row(inter);
    X509 *sub = mc_cert(&(struct mc_cert){.subject = "/CN=Sub",
                                          .key = "p256:sub",
                                          .issuer = inter,
                                          .issuer_key = "p256:inter",
                                          .ext = MC_CA,
                                          .serial = 5});
    register_row(sub);
    device = make_device(sub, "p256:sub", MC_DEVICE);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_CERTIFICATE_REVOKED);
    X509 *successor = mc_cert(&(struct mc_cert){.subject = "/CN=Inter",
                                                .key = "p256:inter",
                                                .issuer = root,
                                                .issuer_key = "p256:root",
                                                .ext = MC_CA,
                                                .serial = 21});
    register_row(successor);
    chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    X509_free(successor);
    X509_free(sub);
    reset_registry();
}
END_TEST

#define TENANTS 125 /* squared more than a build tries */

/* A root that is registered, and an intermediate below another root of that name that is not. */
static void register_tenant(int i)
{
    char key[32], other[32], subject[32];
    (void)snprintf(key, sizeof key, "p256:tenant%d", i);
    (void)snprintf(other, sizeof other, "p256:unregistered%d", i % 4);
    (void)snprintf(subject, sizeof subject, "/CN=Issuing %d", i);
    X509 *registered = mc_cert(&(struct mc_cert){.subject = "/CN=Root CA", .key = key, .ext = MC_ROOT});
    X509 *unregistered = mc_cert(&(struct mc_cert){.subject = "/CN=Root CA", .key = other, .ext = MC_ROOT});
    X509 *issuing = mc_cert(&(struct mc_cert){
        .subject = subject, .key = key, .issuer = unregistered, .issuer_key = other, .ext = MC_CA, .serial = i + 1});
    register_row(registered);
    register_row(issuing);
    if (i == TENANTS - 1)
        device = make_device(issuing, key, MC_DEVICE);
    X509_free(registered);
    X509_free(unregistered);
    X509_free(issuing);
}

/* Each build tries a bounded number, remembers them and reports what is left; nobody is refused for it. */
START_TEST(parents_among_very_many_cas_of_one_name_are_tried_over_several_builds)
{
    for (int i = 0; i < TENANTS; i++)
        register_tenant(i);
    struct ia_chain chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    ck_assert_msg(strstr(registry.problems, "not all have been tried yet") != NULL, "%s", registry.problems);
    chain = connect_device(NULL);
    assert_reason(&chain, IA_R_NONE);
    ck_assert_str_eq(registry.problems, "");
    reset_registry();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("same_key");
    TCase *c = tcase_create("same_key");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, device_of_a_renewed_ca_is_admitted_whatever_its_identifiers_say, 0, HINT_ROWS);
    tcase_add_loop_test(c, device_below_an_unregistered_intermediate_of_a_renewed_ca_is_admitted, 0, HINT_ROWS);
    tcase_add_loop_test(c, signature_of_another_key_is_refused_whatever_the_identifiers_say, 0, HINT_ROWS);
    tcase_add_loop_test(c, inactive_root_disables_a_registered_intermediate_whatever_the_identifiers_say, 0, HINT_ROWS);
    tcase_add_loop_test(c, list_of_a_renewed_root_revokes_a_registered_intermediate_whatever_the_identifiers_say, 0,
                        HINT_ROWS);
    tcase_add_loop_test(c, strict_check_finds_the_list_of_a_renewed_ca_whatever_its_identifiers_say, 0, HINT_ROWS);
    tcase_add_loop_test(c, any_number_of_renewals_changes_nothing, 0, RENEWALS);
    tcase_add_loop_test(c, any_number_of_roots_of_one_key_above_an_intermediate_changes_nothing, 0, RENEWALS);
    tcase_add_loop_test(c, renewal_that_admits_more_admits_it_beside_its_predecessor, 0, NARROW_ROOTS);
    tcase_add_loop_test(c, expired_renewals_do_not_hide_the_valid_one, 0, RENEWALS);
    tcase_add_loop_test(c, expired_renewals_do_not_hide_the_valid_one_from_an_intermediate_that_is_sent, 0, RENEWALS);
    tcase_add_loop_test(c, one_inactive_renewal_among_many_disables_the_key, 0, RENEWALS);
    tcase_add_test(c, parents_among_very_many_cas_of_one_name_are_tried_over_several_builds);
    tcase_add_test(c, revoked_predecessor_of_a_parent_disables_nothing);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
