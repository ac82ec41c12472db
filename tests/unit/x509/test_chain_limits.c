// SPDX-License-Identifier: ISC
/* What a chain may cost: anybody can send any certificates, and a tenant's CA can sign any.  7 certificates with 2,040
 * names and 510 name constraints each held the broker for 207 ms, 14 intermediates with RSA-16384 keys for 67 ms. */
#include "tests/unit/x509/make_cert.h"
#include "x509/ca_set.h"
#include "x509/chain.h"

#include <check.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CA_BASIC "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign"
#define DEV_KU   "keyUsage=critical,digitalSignature"
#define EXT_MAX  65536

static struct ia_ca_set *set;
static X509 *root;

static void register_root(const char *key, const char *ext)
{
    struct ia_ca_spec spec = {.ca_id = 1, .active = true};
    const struct ia_ca_set_input input = {.cas = &spec, .n = 1, .now = MC_NOW};
    root = mc_cert(&(struct mc_cert){.subject = "/CN=Root", .key = key, .ext = ext});
    char *pem = mc_pem(root);
    ck_assert(ia_cert_parse_pem(pem, &spec.cert, NULL) == IA_OK);
    ck_assert(ia_ca_set_build(&input, &set, NULL) == IA_OK);
    ia_cert_free(spec.cert);
    free(pem);
}

static void forget_root(void)
{
    ia_ca_set_free(set);
    X509_free(root);
}

/* As they come from the network: decoded. */
static struct ia_chain verify_one(const X509 *leaf, const X509 *sent)
{
    struct ia_chain chain;
    STACK_OF(X509) *stack = sk_X509_new_null();
    X509 *received = X509_dup(leaf);
    ck_assert_ptr_nonnull(received);
    if (sent)
        ck_assert(sk_X509_push(stack, X509_dup(sent)) > 0);
    ERR_clear_error();
    ia_chain_verify(set, received, stack, MC_NOW, &chain);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    sk_X509_pop_free(stack, X509_free);
    X509_free(received);
    return chain;
}

/* ---- keys */

static const struct {
    const char *key;
    const char *detail; /* part of it; NULL: admitted */
} leaf_keys[] = {
    {"p256:leaf", NULL},
    {"p384:leaf", NULL},
    {"curve:P-521:leaf", NULL},
    {"ed25519:leaf", NULL},
    {"rsa2048:leaf", NULL},
    {"fake_rsa:4096:17", NULL},
    {"fake_rsa:8192:17", NULL},
    {"fake_rsa:8193:17", "more than 8192 bits"},
    {"fake_rsa:16384:17", "more than 8192 bits"},
    {"fake_rsa:3072:64", NULL},
    {"fake_rsa:3072:2", NULL},
    {"fake_rsa:3072:1", "whose exponent is 1"},
    {"fake_rsa:3072:65", "more than 64 bits"},
    {"fake_rsa:3072:3000", "more than 64 bits"},
    {"fake_rsa:8192:64", "too slow"},
    {"explicit:leaf", "explicit"},
    {"curve:P-224:leaf", "TLS does not negotiate"},
    {"curve:secp256k1:leaf", "TLS does not negotiate"},
    {"curve:brainpoolP256r1:leaf", "TLS does not negotiate"},
    {"curve:brainpoolP512r1:leaf", "TLS does not negotiate"},
};

START_TEST(device_keys_are_admitted_as_listed)
{
    register_root("p256:root", MC_ROOT);
    X509 *leaf = mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = leaf_keys[_i].key, .issuer = root, .issuer_key = "p256:root", .ext = MC_DEVICE});
    struct ia_chain chain = verify_one(leaf, NULL);
    enum ia_reason expected = leaf_keys[_i].detail ? IA_R_CERTIFICATE_UNFIT : IA_R_NONE;
    ck_assert_msg(chain.reason == expected, "%s: %s (%s)", leaf_keys[_i].key, ia_reason_name(chain.reason),
                  chain.detail);
    if (leaf_keys[_i].detail)
        ck_assert_msg(strstr(chain.detail, leaf_keys[_i].detail) != NULL, "%s: %s", leaf_keys[_i].key, chain.detail);
    X509_free(leaf);
    forget_root();
}
END_TEST

static const struct {
    const char *key, *detail;
} intermediate_keys[] = {
    {"fake_rsa:16384:17", "more than 8192 bits"},
    {"fake_rsa:16384:64", "more than 8192 bits"},
    {"fake_rsa:3072:65", "more than 64 bits"},
    {"explicit:inter", "explicit"},
};

/* Its key is not used, whoever signed the leaf. */
START_TEST(intermediate_keys_are_refused_as_listed)
{
    register_root("p256:root", MC_ROOT);
    X509 *inter = mc_cert(&(struct mc_cert){.subject = "/CN=Inter",
                                            .key = intermediate_keys[_i].key,
                                            .issuer = root,
                                            .issuer_key = "p256:root",
                                            .ext = MC_CA});
    X509 *leaf = mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = "p256:leaf", .issuer = inter, .issuer_key = "p256:attacker", .ext = MC_DEVICE});
    struct ia_chain chain = verify_one(leaf, inter);
    ck_assert_msg(chain.reason == IA_R_CHAIN_INVALID, "%s: %s", ia_reason_name(chain.reason), chain.detail);
    ck_assert_msg(strstr(chain.detail, intermediate_keys[_i].detail) != NULL, "%s", chain.detail);
    X509_free(leaf);
    X509_free(inter);
    forget_root();
}
END_TEST

/* The root has vouched for its key, but one signature check with it would take 6.7 ms. */
START_TEST(intermediate_on_a_binary_curve_of_571_bits_is_refused)
{
    register_root("p256:root", MC_ROOT);
    X509 *inter = mc_cert(&(struct mc_cert){.subject = "/CN=Inter",
                                            .key = "curve:sect571r1:inter",
                                            .issuer = root,
                                            .issuer_key = "p256:root",
                                            .ext = MC_CA});
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = "/CN=d",
                                           .key = "p256:leaf",
                                           .issuer = inter,
                                           .issuer_key = "curve:sect571r1:inter",
                                           .ext = MC_DEVICE});
    struct ia_chain chain = verify_one(leaf, inter);
    ck_assert_msg(chain.reason == IA_R_CHAIN_INVALID && strstr(chain.detail, "limit on signature checks reached"), "%s",
                  chain.detail);
    X509_free(leaf);
    X509_free(inter);
    forget_root();
}
END_TEST

/* A CA with such a key says so in its problem. */
START_TEST(registered_ca_with_a_key_that_is_too_slow_is_a_problem)
{
    struct ia_cert *cert = NULL;
    struct ia_err err = {0};
    root = mc_cert(&(struct mc_cert){
        .subject = "/CN=Root", .key = "fake_rsa:16384:17", .issuer_key = "p256:root", .ext = MC_ROOT});
    char *pem = mc_pem(root);
    ck_assert(ia_cert_parse_pem(pem, &cert, NULL) == IA_OK);
    ck_assert(ia_cert_check_ca(cert, MC_NOW, &err) == IA_FORMAT);
    ck_assert_msg(strstr(err.msg, "more than 8192 bits") != NULL, "%s", err.msg);
    free(pem);
    ia_cert_free(cert);
    X509_free(root);
}
END_TEST

/* Intermediates in a row, leaf last: how many may there be with keys of this kind? */
static const struct {
    const char *kind; /* mc_key's, before the colon */
    int most;         /* intermediates beside a registered root with the same kind of key */
} depths[] = {
    {"p256", 6},        {"ed25519", 6},
    {"rsa2048", 6},     {"p384", 2}, /* 0.9 ms each with OpenSSL 3.0, and so is the handshake's signature */
    {"curve:P-521", 2},
};

static X509 *next_certificate(X509 *issuer, const char *kind, int depth, const char *ext)
{
    char subject[32], key[48], issuer_key[48];
    (void)snprintf(subject, sizeof subject, "/CN=I%d", depth);
    (void)snprintf(key, sizeof key, "%s:i%d", kind, depth);
    (void)snprintf(issuer_key, sizeof issuer_key, "%s:i%d", kind, depth - 1);
    return mc_cert(
        &(struct mc_cert){.subject = subject, .key = key, .issuer = issuer, .issuer_key = issuer_key, .ext = ext});
}

static enum ia_reason verify_depth(const char *kind, int intermediates)
{
    STACK_OF(X509) *sent = sk_X509_new_null();
    struct ia_chain chain;
    X509 *last = root;
    for (int depth = 1; depth <= intermediates; depth++) {
        last = next_certificate(last, kind, depth, MC_CA);
        ck_assert(sk_X509_push(sent, last) > 0);
    }
    X509 *leaf = next_certificate(last, kind, intermediates + 1, MC_DEVICE);
    ia_chain_verify(set, leaf, sent, MC_NOW, &chain);
    sk_X509_pop_free(sent, X509_free);
    X509_free(leaf);
    return chain.reason;
}

START_TEST(chains_are_as_deep_as_their_keys_are_fast)
{
    char key[48];
    (void)snprintf(key, sizeof key, "%s:i0", depths[_i].kind);
    register_root(key, MC_ROOT);
    ck_assert_int_eq(verify_depth(depths[_i].kind, depths[_i].most), IA_R_NONE);
    ck_assert_int_ne(verify_depth(depths[_i].kind, depths[_i].most + 1), IA_R_NONE);
    forget_root();
}
END_TEST

/* ---- names and constraints */

static void append_text(char *ext, const char *text)
{
    size_t used = strlen(ext);
    ck_assert_uint_lt(used + strlen(text), EXT_MAX);
    memcpy(ext + used, text, strlen(text) + 1);
}

static void append_names(char *ext, int n)
{
    char name[64];
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "%sDNS:n%d.x", i ? "," : "|subjectAltName=", i);
        append_text(ext, name);
    }
}

static void append_constraints(char *ext, int n)
{
    char name[64];
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "%sexcluded;DNS:c%d.y", i ? "," : "|nameConstraints=critical,", i);
        append_text(ext, name);
    }
}

/* Names of the leaf and name constraints of root and intermediate. */
static const struct {
    int names, root_constraints, constraints, intermediate_names;
    const char *detail;
} name_rows[] = {
    {10, 0, 10, 10, NULL},
    {255, 0, 60, 0, NULL}, /* 255 names and the common name, each compared with 60 constraints */
    {1023, 0, 0, 0, NULL},
    {1024, 0, 0, 0, "more than 1024 names"},
    {0, 0, 0, 1024, "more than 1024 names"},
    {1, 0, 256, 0, NULL},
    {1, 0, 257, 0, "more than 256 name constraints"},
    {63, 0, 256, 0, NULL},
    {64, 0, 256, 0, "too many names and name constraints"},
    {30, 256, 256, 0, NULL},
    {31, 256, 256, 0, "too many names and name constraints"},
    {0, 256, 0, 63, "too many names and name constraints"}, /* the leaf's own name counts */
    {0, 256, 0, 61, NULL},
};

START_TEST(names_and_constraints_are_admitted_as_listed)
{
    static char root_ext[EXT_MAX], inter_ext[EXT_MAX], leaf_ext[EXT_MAX];
    (void)snprintf(root_ext, EXT_MAX, CA_BASIC);
    (void)snprintf(inter_ext, EXT_MAX, CA_BASIC);
    (void)snprintf(leaf_ext, EXT_MAX, DEV_KU);
    append_constraints(root_ext, name_rows[_i].root_constraints);
    append_constraints(inter_ext, name_rows[_i].constraints);
    append_names(inter_ext, name_rows[_i].intermediate_names);
    append_names(leaf_ext, name_rows[_i].names);
    register_root("p256:root", root_ext);
    X509 *inter = mc_cert(&(struct mc_cert){
        .subject = "/CN=Inter", .key = "p256:inter", .issuer = root, .issuer_key = "p256:root", .ext = inter_ext});
    X509 *leaf = mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = "p256:leaf", .issuer = inter, .issuer_key = "p256:inter", .ext = leaf_ext});
    struct ia_chain chain = verify_one(leaf, inter);
    if (!name_rows[_i].detail)
        ck_assert_msg(chain.reason == IA_R_NONE, "row %d: %s", _i, chain.detail);
    else
        ck_assert_msg(chain.reason == IA_R_CHAIN_INVALID && strstr(chain.detail, name_rows[_i].detail), "row %d: %s",
                      _i, chain.detail);
    X509_free(leaf);
    X509_free(inter);
    forget_root();
}
END_TEST

START_TEST(more_than_64_policies_are_refused)
{
    char ext[8192];
    register_root("p256:root", MC_ROOT);
    for (int n = 64; n <= 65; n++) {
        /* SEQUENCE OF PolicyInformation, SEQUENCE { OBJECT IDENTIFIER 1.2.n } each */
        (void)snprintf(ext, sizeof ext, DEV_KU "|2.5.29.32=DER:3082%04X", 6 * n);
        for (int i = 0; i < n; i++)
            (void)snprintf(ext + strlen(ext), sizeof ext - strlen(ext), "300406022A%02X", i);
        X509 *leaf = mc_cert(&(struct mc_cert){
            .subject = "/CN=d", .key = "p256:leaf", .issuer = root, .issuer_key = "p256:root", .ext = ext});
        struct ia_chain chain = verify_one(leaf, NULL);
        ck_assert_msg((chain.reason == IA_R_NONE) == (n == 64), "%d: %s", n, chain.detail);
        X509_free(leaf);
    }
    forget_root();
}
END_TEST

/* Sixteen intermediates of the leaf's issuer name, each signed by the root: only one key can be right, and the leaf is
 * signed by none.  With slow keys the limit is reached, not the end of the list. */
START_TEST(many_intermediates_of_one_name_end_at_the_limit)
{
    STACK_OF(X509) *sent = sk_X509_new_null();
    struct ia_chain chain;
    register_root("p256:root", MC_ROOT);
    for (int i = 0; i < 16; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "p384:same%d", i);
        X509 *inter = mc_cert(&(struct mc_cert){.subject = "/CN=Same",
                                                .key = key,
                                                .issuer = root,
                                                .issuer_key = "p256:root",
                                                .ext = CA_BASIC "|authorityKeyIdentifier=keyid",
                                                .serial = i + 10});
        ck_assert(sk_X509_push(sent, inter) > 0);
    }
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = "/CN=d",
                                           .key = "p256:leaf",
                                           .issuer = sk_X509_value(sent, 0),
                                           .issuer_key = "p384:attacker",
                                           .ext = DEV_KU});
    ia_chain_verify(set, leaf, sent, MC_NOW, &chain);
    ck_assert_int_eq(chain.reason, IA_R_CHAIN_INVALID);
    ck_assert_msg(strstr(chain.detail, "limit on signature checks reached") != NULL, "%s", chain.detail);
    X509_free(leaf);
    sk_X509_pop_free(sent, X509_free);
    forget_root();
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

int main(void)
{
    Suite *s = suite_create("chain_limits");
    TCase *c = tcase_create("chain_limits");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, device_keys_are_admitted_as_listed, 0, COUNT(leaf_keys));
    tcase_add_loop_test(c, intermediate_keys_are_refused_as_listed, 0, COUNT(intermediate_keys));
    tcase_add_test(c, intermediate_on_a_binary_curve_of_571_bits_is_refused);
    tcase_add_test(c, registered_ca_with_a_key_that_is_too_slow_is_a_problem);
    tcase_add_loop_test(c, chains_are_as_deep_as_their_keys_are_fast, 0, COUNT(depths));
    tcase_add_loop_test(c, names_and_constraints_are_admitted_as_listed, 0, COUNT(name_rows));
    tcase_add_test(c, more_than_64_policies_are_refused);
    tcase_add_test(c, many_intermediates_of_one_name_end_at_the_limit);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
