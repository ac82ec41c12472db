// SPDX-License-Identifier: ISC
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"
#include "x509/ca_set.h"
#include "x509/chain.h"

#include <check.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 200

/* A set and all problems that are reported, in order. */
static const struct {
    const char *label, *registered, *problems;
} problem_rows[] = {
    {"no problem", "root inter+revokes_leaf", ""},
    {"expired", "old_root root", "1: expired at 2027-01-15T07:59:59Z; register the renewed CA\n"},
    {"no CA", "root leaf",
     "2: not a CA: basicConstraints does not say CA:TRUE; register the CA's certificate, not a device's\n"},
    {"disabled ones too", "-old_root", "1: expired at 2027-01-15T07:59:59Z; register the renewed CA\n"},
    {"stale CRL", "inter+stale",
     "1: CRL: past its nextUpdate 2027-01-15T07:59:59Z; it continues to be used until a newer list is added\n"},
    {"stale, but not in force", "inter+stale+newer_empty", ""},
    {"CRL of the future", "inter+early",
     "1: CRL: its thisUpdate 2027-01-15T08:01:00Z is in the future; it is used nevertheless\n"},
    {"forged CRL", "inter+forged+revokes_leaf", "1: CRL: not signed by this CA; add it to the CA that issued it\n"},
    {"another CA's", "inter+of_root", "1: CRL: not signed by this CA; add it to the CA that issued it\n"},
    {"a CA of the same name", "roll_b+of_roll_a", "1: CRL: not signed by this CA; add it to the CA that issued it\n"},
    {"indirect", "inter+indirect", "1: CRL: an indirect CRL: it lists certificates of other issuers\n"},
    {"attributes", "inter+attributes", "1: CRL: it lists attribute certificates only\n"},
    {"delta", "inter+delta", "1: CRL: a delta CRL: only complete ones are used\n"},
    {"critical", "inter+critical", "1: CRL: unknown critical extension\n"},
    {"entry of another issuer", "inter+entry_critical", "1: CRL: an entry has an unknown critical extension\n"},
    {"a CA that may not sign lists", "no_crl_ca+of_no_crl_ca", "1: CRL: the CA's key usage does not include cRLSign\n"},
    {"one bad, one stale, the other CAs unharmed", "root+forged inter+stale",
     "1: CRL: not signed by this CA; add it to the CA that issued it\n2: CRL: past its nextUpdate 2027-01-15T07:59:59Z; it continues to be used until a newer list is added\n"},
    {"eight CAs above are no problem", "root d1 d2 d3 d4 d5 d6 d7 d8", ""},
};

START_TEST(set_reports_problems_as_listed)
{
    struct ia_ca_set *set = pki_set(problem_rows[_i].registered, MC_NOW);
    ck_assert_msg(strcmp(pki_problems(), problem_rows[_i].problems) == 0, "%s: '%s'", problem_rows[_i].label,
                  pki_problems());
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ia_ca_set_free(set);
}
END_TEST

/* A chain that was good under one set, revalidated under another (the same position is the same ca_id). */
static const struct {
    const char *label, *before, *leaf, *sent, *after;
    int64_t later; /* seconds */
    const char *reason, *cas;
} recheck_rows[] = {
    {"nothing changed", "root inter", "leaf", "", "root inter", 0, "", "2 1"},
    {"an unrelated CA came", "inter", "leaf", "", "inter root2", 0, "", "1"},
    {"disabled", "root inter", "leaf", "", "root -inter", 0, "ca_inactive", NULL},
    {"parent disabled", "root inter", "leaf", "", "-root inter", 0, "ca_inactive", NULL},
    {"parent registered since", "inter", "leaf", "", "inter root", 0, "", "1 2"},
    {"disabled parent registered since", "inter", "leaf", "", "inter -root", 0, "ca_inactive", NULL},
    {"intermediate registered since", "root", "leaf", "inter", "root inter", 0, "", "2 1"},
    {"intermediate registered since, disabled", "root", "leaf", "inter", "root -inter", 0, "ca_inactive", NULL},
    {"a same-key CA of it registered since, disabled", "root", "leaf", "inter", "root -inter_by_root2", 0,
     "ca_inactive", NULL},
    {"a same-key CA of the anchor registered since, disabled", "inter", "leaf", "", "inter -inter_renewed", 0,
     "ca_inactive", NULL},
    {"deleted", "inter", "leaf", "", "root", 0, "ca_unknown", NULL},
    {"all deleted", "inter", "leaf", "", "", 0, "ca_unknown", NULL},
    {"another certificate under the same id", "inter", "leaf", "", "inter_renewed", 0, "ca_unknown", NULL},
    {"revoked since", "inter", "leaf", "", "inter+revokes_leaf", 0, "certificate_revoked", NULL},
    {"revoked since, the list was added to a same-key CA", "inter", "leaf", "", "inter inter_renewed+revokes_leaf", 0,
     "certificate_revoked", NULL},
    {"intermediate revoked since", "root", "leaf", "inter", "root+of_root", 0, "certificate_revoked", NULL},
    {"anchor revoked by its parent since", "root inter", "leaf", "", "root+of_root inter", 0, "certificate_revoked",
     NULL},
    {"the same, the list was added to a same-key CA of the parent, with another key identifier", "root inter", "leaf",
     "", "root inter root_newskid+of_root", 0, "certificate_revoked", NULL},
    {"before the end", "root inter", "leaf", "", "root inter", 365 * MC_DAY, "", "2 1"},
    {"past the end", "root inter", "leaf", "", "root inter", 365 * MC_DAY + 1, "certificate_expired", NULL},
    {"the leaf's key registered as a CA since", "root", "leaf_of_root", "", "root leaf_of_root", 0, "certificate_unfit",
     NULL},
};

static void cas_text(const struct ia_chain *chain, char out[64])
{
    out[0] = '\0';
    for (size_t i = 0; i < chain->n_cas; i++) {
        size_t used = strlen(out);
        (void)snprintf(out + used, 64 - used, "%s%" PRId64, i ? " " : "", chain->cas[i]);
    }
}

START_TEST(chain_recheck_rows_decide_as_listed)
{
    const char *label = recheck_rows[_i].label;
    struct ia_ca_set *before = pki_set(recheck_rows[_i].before, MC_NOW);
    struct ia_ca_set *after = pki_set(recheck_rows[_i].after, MC_NOW);
    STACK_OF(X509) *sent = pki_stack(recheck_rows[_i].sent);
    struct ia_chain chain;
    char cas[64];
    ia_chain_verify(before, pki_cert(recheck_rows[_i].leaf), sent, MC_NOW, &chain);
    ck_assert_msg(chain.reason == IA_R_NONE, "%s: %s", label, chain.detail);
    ck_assert_int_eq(chain.not_after, MC_NOW + 365 * MC_DAY);
    const char *reason = ia_reason_name(ia_chain_revalidate(after, &chain, MC_NOW + recheck_rows[_i].later));
    ck_assert_msg(strcmp(reason, recheck_rows[_i].reason) == 0, "%s: '%s'", label, reason);
    cas_text(&chain, cas);
    if (recheck_rows[_i].cas)
        ck_assert_msg(strcmp(cas, recheck_rows[_i].cas) == 0, "%s: CAs '%s'", label, cas);
    sk_X509_free(sent);
    ia_ca_set_free(before);
    ia_ca_set_free(after);
}
END_TEST

START_TEST(chain_that_was_refused_stays_refused)
{
    struct ia_ca_set *set = pki_set("root", MC_NOW);
    struct ia_chain chain;
    ia_chain_verify(set, pki_cert("server_leaf"), NULL, MC_NOW, &chain);
    ck_assert_int_eq(ia_chain_revalidate(set, &chain, MC_NOW), IA_R_CERTIFICATE_UNFIT);
    chain = (struct ia_chain){0};
    ck_assert_int_eq(ia_chain_revalidate(set, &chain, MC_NOW), IA_R_CA_UNKNOWN);
    ia_ca_set_free(set);
}
END_TEST

static struct ia_cert *registered(X509 *x509)
{
    struct ia_cert *cert = NULL;
    char *pem = mc_pem(x509);
    ck_assert(ia_cert_parse_pem(pem, &cert, NULL) == IA_OK);
    free(pem);
    return cert;
}

/* `n` CAs that all have one name, each with a key of its own. */
struct namesakes {
    size_t n;
    const char *ext;
    X509 *x509[MANY];
    struct ia_ca_spec specs[MANY];
    size_t problems;
};

static void count_problem(void *ctx, int64_t ca_id, const char *text)
{
    struct namesakes *them = ctx;
    (void)ca_id;
    them->problems += strstr(text, "re-issue this CA with a subjectKeyIdentifier") != NULL;
}

static const char *key_of(size_t i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "p256:namesake%zu", i);
    return key;
}

static struct ia_ca_set *build_namesakes(struct namesakes *them)
{
    struct ia_ca_set *set = NULL;
    for (size_t i = 0; i < them->n; i++) {
        them->x509[i] = mc_cert(&(struct mc_cert){.subject = "/CN=Root CA", .key = key_of(i), .ext = them->ext});
        them->specs[i] =
            (struct ia_ca_spec){.ca_id = (int64_t)i + 1, .active = true, .cert = registered(them->x509[i])};
    }
    const struct ia_problem_callback callback = {.report = count_problem, .ctx = them};
    const struct ia_ca_set_input input = {.cas = them->specs, .n = them->n, .now = MC_NOW, .problems = &callback};
    ck_assert(ia_ca_set_build(&input, &set, NULL) == IA_OK);
    return set;
}

static void clear_namesakes(struct namesakes *them)
{
    for (size_t i = 0; i < them->n; i++) {
        X509_free(them->x509[i]);
        ia_cert_free(them->specs[i].cert);
    }
}

/* The CA in which a chain from a leaf of the i-th ends, 0 for none. */
static int64_t found(const struct ia_ca_set *set, const struct namesakes *them, size_t i)
{
    struct ia_chain chain;
    const char *ext = strstr(them->ext, "subjectKeyIdentifier") ? MC_KEY_IDS : NULL;
    X509 *leaf = mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = "p256:leaf", .issuer = them->x509[i], .issuer_key = key_of(i), .ext = ext});
    ia_chain_verify(set, leaf, NULL, MC_NOW, &chain);
    X509_free(leaf);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    return chain.reason == IA_R_NONE ? chain.ca_id : 0;
}

/* MANY tenants who all called theirs the same: the key identifier finds the right one without trying them all. */
START_TEST(set_of_many_cas_of_one_name_finds_each_by_key_identifier)
{
    static struct namesakes them = {.n = MANY, .ext = MC_ROOT};
    struct ia_ca_set *set = build_namesakes(&them);
    for (size_t i = 0; i < MANY; i += 7)
        ck_assert_int_eq(found(set, &them, i), (int64_t)i + 1);
    clear_namesakes(&them);
    ia_ca_set_free(set);
}
END_TEST

/* Without key identifiers only the signature distinguishes them: up to 32 of a name. */
START_TEST(set_of_32_cas_of_one_name_without_key_identifiers_finds_each)
{
    static struct namesakes them = {.n = 32, .ext = "basicConstraints=critical,CA:TRUE"};
    struct ia_ca_set *set = build_namesakes(&them);
    for (size_t i = 0; i < them.n; i++)
        ck_assert_int_eq(found(set, &them, i), (int64_t)i + 1);
    clear_namesakes(&them);
    ia_ca_set_free(set);
}
END_TEST

/* 36 checks with P-256 keys are what a connection may cost.  The CAs beyond half of that report it. */
START_TEST(set_of_37_cas_of_one_name_without_key_identifiers_refuses_the_last)
{
    static struct namesakes them = {.n = 37, .ext = "basicConstraints=critical,CA:TRUE"};
    struct ia_ca_set *set = build_namesakes(&them);
    ck_assert_int_eq(found(set, &them, 35), 36);
    ck_assert_int_eq(found(set, &them, 36), 0);
    ck_assert_uint_eq(them.problems, 18);
    clear_namesakes(&them);
    ia_ca_set_free(set);
}
END_TEST

static void *verify_often(void *set)
{
    struct ia_chain chain;
    long good = 0;
    for (int i = 0; i < 100; i++) {
        ia_chain_verify(set, pki_cert("leaf"), NULL, MC_NOW, &chain);
        good += chain.reason == IA_R_NONE && ia_chain_revalidate(set, &chain, MC_NOW) == IA_R_NONE;
    }
    return (void *)good;
}

START_TEST(set_serves_several_threads)
{
    struct ia_ca_set *set = pki_set("root inter+other", MC_NOW);
    pthread_t threads[4];
    ck_assert(pki_cert("leaf") != NULL); /* made before the threads ask for it */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, verify_often, set), 0);
    for (int i = 0; i < 4; i++) {
        void *good = NULL;
        ck_assert_int_eq(pthread_join(threads[i], &good), 0);
        ck_assert_int_eq((long)good, 100);
    }
    ia_ca_set_free(set);
}
END_TEST

START_TEST(set_outlives_what_it_was_built_of)
{
    struct ia_ca_set *set = pki_set("root inter+revokes_leaf", MC_NOW), *again = ia_ca_set_ref(set);
    struct ia_chain chain;
    ia_ca_set_free(set);
    ia_chain_verify(again, pki_cert("leaf"), NULL, MC_NOW, &chain);
    ck_assert_int_eq(chain.reason, IA_R_CERTIFICATE_REVOKED);
    ia_ca_set_free(again);
    ia_ca_set_free(NULL);
}
END_TEST

START_TEST(chain_leaves_the_error_queue_as_it_was)
{
    struct ia_ca_set *set = pki_set("root", MC_NOW);
    struct ia_chain chain;
    ERR_put_error(ERR_LIB_USER, 0, 7, "", 0);
    unsigned long before = ERR_peek_last_error();
    ia_chain_verify(set, pki_cert("forged_leaf"), NULL, MC_NOW, &chain);
    ck_assert_uint_eq(ERR_peek_last_error(), before);
    ck_assert_uint_eq(ERR_get_error(), before);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ia_ca_set_free(set);
}
END_TEST

/* Sixteen certificates that could all have issued each other, and none of them real. */
START_TEST(chain_of_a_hostile_tangle_ends)
{
    struct ia_ca_set *set = pki_set("roll_a roll_b roll_c root", MC_NOW);
    STACK_OF(X509) *sent = sk_X509_new_null();
    struct ia_chain chain;
    char key[32];
    for (int i = 0; i < 64; i++) {
        (void)snprintf(key, sizeof key, "p256:tangle%d", i % 16);
        X509 *x509 = mc_cert(&(struct mc_cert){.subject = "/CN=Roll",
                                               .key = key,
                                               .issuer = pki_cert("roll_a"),
                                               .issuer_key = "p256:attacker",
                                               .ext = "basicConstraints=critical,CA:TRUE|"
                                                      "authorityKeyIdentifier=issuer|subjectKeyIdentifier=hash",
                                               .serial = i + 1});
        ck_assert(sk_X509_push(sent, x509) > 0);
    }
    ia_chain_verify(set, pki_cert("forged_leaf_of_roll"), sent, MC_NOW, &chain);
    ck_assert_int_eq(chain.reason, IA_R_CHAIN_INVALID);
    ck_assert_int_eq(chain.ca_id, 0);
    sk_X509_pop_free(sent, X509_free);
    ia_ca_set_free(set);
}
END_TEST

/* An authority key identifier without key identifier: `n` names, the last of them the issuer's. */
static X509_EXTENSION *authority(int n, const X509 *issuer)
{
    AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();
    id->issuer = sk_GENERAL_NAME_new_null();
    for (int i = 1; i <= n; i++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        if (i < n)
            GENERAL_NAME_set0_value(name, GEN_DNS, ASN1_IA5STRING_new());
        else
            GENERAL_NAME_set0_value(name, GEN_DIRNAME, X509_NAME_dup(X509_get_issuer_name(issuer)));
        ck_assert(sk_GENERAL_NAME_push(id->issuer, name) > 0);
    }
    X509_EXTENSION *ext = X509V3_EXT_i2d(NID_authority_key_identifier, 0, id);
    ck_assert_ptr_nonnull(ext);
    AUTHORITY_KEYID_free(id);
    return ext;
}

static enum ia_reason reason_with_authority_names(int n)
{
    struct ia_ca_set *set = pki_set("roll_a roll_b", MC_NOW);
    struct ia_chain chain;
    struct mc_cert spec = {.subject = "/CN=d", .key = "p256:leaf", .issuer_key = "p256:roll_b"};
    spec.issuer = pki_cert("roll_b");
    spec.extra = authority(n, spec.issuer);
    X509 *leaf = mc_cert(&spec);
    ia_chain_verify(set, leaf, NULL, MC_NOW, &chain);
    X509_EXTENSION_free(spec.extra);
    X509_free(leaf);
    ia_ca_set_free(set);
    return chain.reason;
}

/* OpenSSL went through those names once for every registered CA of the name: 40,000 fit a leaf that nobody need have signed,
 * and would hold up the broker thread for as long as a thousand tenants have a 'Root CA'. */
START_TEST(chain_of_a_leaf_with_too_many_authority_names_ends)
{
    ck_assert_int_eq(reason_with_authority_names(8), IA_R_NONE);
    ck_assert_int_eq(reason_with_authority_names(9), IA_R_CHAIN_INVALID);
    ck_assert_int_eq(reason_with_authority_names(20000), IA_R_CHAIN_INVALID);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ca_set");
    TCase *c = tcase_create("ca_set");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, set_reports_problems_as_listed, 0, (int)(sizeof problem_rows / sizeof problem_rows[0]));
    tcase_add_loop_test(c, chain_recheck_rows_decide_as_listed, 0, (int)(sizeof recheck_rows / sizeof recheck_rows[0]));
    tcase_add_test(c, chain_that_was_refused_stays_refused);
    tcase_add_test(c, set_of_many_cas_of_one_name_finds_each_by_key_identifier);
    tcase_add_test(c, set_of_32_cas_of_one_name_without_key_identifiers_finds_each);
    tcase_add_test(c, set_of_37_cas_of_one_name_without_key_identifiers_refuses_the_last);
    tcase_add_test(c, set_serves_several_threads);
    tcase_add_test(c, set_outlives_what_it_was_built_of);
    tcase_add_test(c, chain_leaves_the_error_queue_as_it_was);
    tcase_add_test(c, chain_of_a_hostile_tangle_ends);
    tcase_add_test(c, chain_of_a_leaf_with_too_many_authority_names_ends);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
