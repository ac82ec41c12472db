// SPDX-License-Identifier: ISC
/* Memory runs out at each allocation in turn: whatever was decided without it must not be an acceptance that would not
 * have been one. */
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"
#include "x509/ca_set.h"
#include "x509/chain.h"

#include <check.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>

static long countdown = -1; /* allocations that still succeed; below 0: all do */
static bool ran_out;        /* at least one did not */

static int runs_out(void)
{
    if (countdown < 0)
        return 0;
    if (countdown > 0) {
        countdown--;
        return 0;
    }
    errno = ENOMEM;
    ran_out = true;
    return 1;
}

static void *take(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return runs_out() ? NULL : malloc(size);
}

static void *retake(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return runs_out() ? NULL : realloc(old, size);
}

static void give(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* Fresh each time: OpenSSL keeps what it made of a certificate, also what it made of it without memory. */
static enum ia_reason verify_with(const struct ia_ca_set *set, const char *leaf_name, const char *middle,
                                  long allocations)
{
    struct ia_chain chain;
    X509 *leaf = X509_dup(pki_cert(leaf_name)), *inter = X509_dup(pki_cert(middle));
    STACK_OF(X509) *sent = sk_X509_new_null();
    ck_assert(leaf && inter && sk_X509_push(sent, inter) > 0);
    countdown = allocations;
    ran_out = false;
    ia_chain_verify(set, leaf, sent, MC_NOW, &chain);
    countdown = -1;
    sk_X509_free(sent);
    X509_free(leaf);
    X509_free(inter);
    return chain.reason;
}

static const struct {
    const char *registered, *leaf, *middle;
    enum ia_reason reason; /* with memory enough */
} rows[] = {
    {"root", "leaf", "inter", IA_R_NONE},
    {"roll_a roll_b", "leaf_b", "roll_a", IA_R_NONE},
    {"root", "server_leaf", "inter", IA_R_CERTIFICATE_UNFIT},
    {"-root inter", "leaf", "inter", IA_R_CA_INACTIVE},
    {"root2 -inter", "leaf", "inter_by_root2", IA_R_CA_INACTIVE},
    {"inter+revokes_leaf", "leaf", "inter", IA_R_CERTIFICATE_REVOKED},
    {"permits_acme", "leaf_outside", "inter", IA_R_CHAIN_INVALID},
    {"root", "forged_leaf", "inter", IA_R_CHAIN_INVALID},
};

START_TEST(chain_without_memory_is_internal_and_never_accepted)
{
    struct ia_ca_set *set = pki_set(rows[_i].registered, MC_NOW);
    enum ia_reason full = verify_with(set, rows[_i].leaf, rows[_i].middle, -1), reason;
    ck_assert_int_eq(full, rows[_i].reason);
    long n = 0;
    for (; n < 5000; n++) {
        reason = verify_with(set, rows[_i].leaf, rows[_i].middle, n);
        ck_assert_msg(reason == (ran_out ? IA_R_INTERNAL : full), "row %d, allocation %ld: %s", _i, n,
                      ia_reason_name(reason));
        if (!ran_out)
            break;
    }
    ck_assert_msg(n > 5 && n < 5000, "row %d: ended after %ld", _i, n);
    ia_ca_set_free(set);
}
END_TEST

static struct ia_cert *registered(const char *name)
{
    struct ia_cert *cert = NULL;
    char *pem = mc_pem(pki_cert(name));
    ck_assert(ia_cert_parse_pem(pem, &cert, NULL) == IA_OK);
    free(pem);
    return cert;
}

/* A parent that was not recognised for want of memory would be a disabled one that does not count. */
START_TEST(set_built_without_memory_forgets_no_disabled_parent)
{
    long n = 0;
    enum ia_rc rc = IA_NOMEM;
    for (; n < 5000 && rc != IA_OK; n++) {
        struct ia_ca_spec specs[] = {{.ca_id = 1, .active = false, .cert = registered("root")},
                                     {.ca_id = 2, .active = true, .cert = registered("inter")}};
        struct ia_ca_set *set = NULL;
        struct ia_chain chain;
        const struct ia_ca_set_input input = {.cas = specs, .n = 2, .now = MC_NOW};
        countdown = n;
        rc = ia_ca_set_build(&input, &set, NULL);
        countdown = -1;
        ck_assert(rc == IA_OK || rc == IA_NOMEM);
        if (rc == IA_OK) {
            ia_chain_verify(set, pki_cert("leaf"), NULL, MC_NOW, &chain);
            ck_assert_int_eq(chain.reason, IA_R_CA_INACTIVE);
        }
        ia_ca_set_free(set);
        ia_cert_free(specs[0].cert);
        ia_cert_free(specs[1].cert);
    }
    ck_assert_msg(n > 5 && n < 5000, "ended after %ld", n);
}
END_TEST

START_TEST(cert_parsed_without_memory_says_so)
{
    char *pem = mc_pem(pki_cert("root"));
    enum ia_rc rc = IA_NOMEM;
    long n = 0;
    for (; n < 5000 && rc != IA_OK; n++) {
        struct ia_cert *cert = NULL;
        countdown = n;
        rc = ia_cert_parse_pem(pem, &cert, NULL);
        countdown = -1;
        ck_assert_msg(rc == IA_OK || rc == IA_NOMEM, "allocation %ld", n);
        ck_assert((rc == IA_OK) == (cert != NULL));
        ia_cert_free(cert);
    }
    ck_assert_msg(n > 5 && n < 5000, "ended after %ld", n);
    free(pem);
}
END_TEST

int main(void)
{
    if (CRYPTO_set_mem_functions(take, retake, give) != 1)
        return EXIT_FAILURE;
    Suite *s = suite_create("chain_memory");
    TCase *c = tcase_create("chain_memory");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, chain_without_memory_is_internal_and_never_accepted, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, set_built_without_memory_forgets_no_disabled_parent);
    tcase_add_test(c, cert_parsed_without_memory_says_so);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
