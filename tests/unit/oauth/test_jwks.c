// SPDX-License-Identifier: ISC
#include "oauth/jwks.h"

#include "mint.h"
#include "suite.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <string.h>

/* OpenSSL's, but it can be made to refuse RSA keys (as a provider with other rules would), or to be out of memory. */
static enum { WORKS, REFUSES_RSA, OUT_OF_MEMORY } openssl;

int EVP_DigestVerifyInit_ex(EVP_MD_CTX *ctx, EVP_PKEY_CTX **key_ctx, const char *digest, OSSL_LIB_CTX *lib,
                            const char *props, EVP_PKEY *key, const OSSL_PARAM params[])
{
    typedef int init(EVP_MD_CTX *, EVP_PKEY_CTX **, const char *, OSSL_LIB_CTX *, const char *, EVP_PKEY *,
                     const OSSL_PARAM[]);
    init *real;
    *(void **)&real = dlsym(RTLD_NEXT, "EVP_DigestVerifyInit_ex");
    if (openssl == OUT_OF_MEMORY)
        errno = ENOMEM;
    if (openssl == OUT_OF_MEMORY || (openssl == REFUSES_RSA && EVP_PKEY_is_a(key, "RSA")))
        return 0;
    return real(ctx, key_ctx, digest, lib, props, key, params);
}

/* The last problem reported, and the number of problems. */
static char reported[256];
static unsigned n_reported;

static void on_problem(void *ctx, int64_t index, const char *text)
{
    (void)ctx;
    (void)index;
    n_reported++;
    snprintf(reported, sizeof reported, "%s", text);
}

/* The last note. */
static char noted[256];

static void on_note(void *ctx, int64_t index, const char *text)
{
    (void)ctx;
    (void)index;
    snprintf(noted, sizeof noted, "%s", text);
}

static const struct ia_jwks_report report = {.problem = {on_problem, NULL}, .note = {on_note, NULL}};

static const struct ia_jwk *find_key(const struct ia_jwks *jwks, const char *kid)
{
    const struct ia_jwk *key = NULL;
    return ia_jwks_find(jwks, kid, ~0u, &key) == IA_JWKS_FOUND ? key : NULL;
}

static struct ia_jwks *parse(const char *text)
{
    struct ia_jwks *jwks = NULL;
    struct ia_err err = {0};
    n_reported = 0;
    reported[0] = noted[0] = '\0';
    if (ia_jwks_parse(text, strlen(text), &report, &jwks, &err) != IA_OK)
        ck_assert_ptr_null(jwks);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    return jwks;
}

#define X25519 "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""
#define ED     "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," X25519
#define P256X  "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\""
#define P256Y  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
#define EC     "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\","
#define N2048                                                                                                          \
    "\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-"       \
    "yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-"              \
    "KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"              \
    "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\""
#define RSA "{\"kty\":\"RSA\",\"kid\":\"k\"," N2048

/* One key a row.  `problem` NULL: it is used; "": left out in silence; else left out and reported as a problem with these
 * words, or behind a ~ as a note. */
static const struct {
    const char *label, *key, *problem;
} keys[] = {
    {"Ed25519", ED ",\"kid\":\"k\"}", NULL},
    {"P-256", EC P256X "," P256Y "}", NULL},
    {"RSA", RSA ",\"e\":\"AQAB\"}", NULL},
    {"for signatures", ED ",\"kid\":\"k\",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"alg\":\"EdDSA\"}", NULL},
    {"certificates beside it are ignored", ED ",\"kid\":\"k\",\"x5c\":[\"rubbish\"],\"x5u\":\"http://x\"}", NULL},
    {"for encryption", ED ",\"kid\":\"k\",\"use\":\"enc\"}", ""},
    {"for encryption, by key_ops", ED ",\"kid\":\"k\",\"key_ops\":[\"encrypt\",\"wrapKey\"]}", ""},
    {"for nothing", ED ",\"kid\":\"k\",\"key_ops\":[]}", ""},
    {"use is not a string", ED ",\"kid\":\"k\",\"use\":1}", "use is not a string"},
    {"key_ops is not an array", ED ",\"kid\":\"k\",\"key_ops\":\"verify\"}", "key_ops is not an array"},
    {"not an object", "\"k\"", "not a JSON object"},
    {"no kid: for tokens without one", ED "}", NULL},
    {"empty kid", ED ",\"kid\":\"\"}", NULL},
    {"kid is a number", ED ",\"kid\":7}", "a kid that is not a string"},
    {"no kty", "{\"kid\":\"k\"," X25519 "}", "kty is missing"},
    {"unknown kty", "{\"kty\":\"AKP\",\"kid\":\"k\",\"alg\":\"ML-DSA-44\"}", "~kty 'AKP' is not used"},
    {"kty is empty", "{\"kty\":\"\",\"kid\":\"k\"}", "kty is empty"},
    {"alg for encryption", RSA ",\"e\":\"AQAB\",\"alg\":\"RSA-OAEP-256\"}", "~alg 'RSA-OAEP-256' is not used"},
    {"alg of another curve than supported", EC P256X "," P256Y ",\"alg\":\"ES256K\"}", "~alg 'ES256K' is not used"},
    {"crv is missing", "{\"kty\":\"EC\",\"kid\":\"k\"," P256X "," P256Y "}", "crv is missing"},
    {"crv is a number", "{\"kty\":\"OKP\",\"kid\":\"k\",\"crv\":25519," X25519 "}", "crv is missing"},
    {"null is absent", RSA ",\"e\":\"AQAB\",\"d\":null,\"p\":null,\"use\":null,\"key_ops\":null,\"alg\":null}", NULL},
    {"kid null is absent", ED ",\"kid\":null}", NULL},
    {"x null is absent", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":null}", "x is missing"},
    {"unread member that C cannot hold",
     ED ",\"kid\":\"k\",\"exp\":1e400,\"n1\":18446744073709551616,\"s\":\"\\ud800\"}", NULL},
    {"alg Ed25519", ED ",\"kid\":\"k\",\"alg\":\"Ed25519\"}", NULL},
    {"alg Ed448 with an Ed25519 key", ED ",\"kid\":\"k\",\"alg\":\"Ed448\"}", "alg does not fit"},
    {"alg ESP256", EC P256X "," P256Y ",\"alg\":\"ESP256\"}", NULL},
    {"alg ESP384 with a P-256 key", EC P256X "," P256Y ",\"alg\":\"ESP384\"}", "alg does not fit"},
    {"symmetric: could sign as well", "{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"c2VjcmV0\"}", "symmetric"},
    {"private Ed25519", ED ",\"kid\":\"k\",\"d\":\"c2VjcmV0\"}", "private"},
    {"private RSA, though only a factor", RSA ",\"e\":\"AQAB\",\"p\":\"c2VjcmV0\"}", "private"},
    {"HMAC with an RSA key", RSA ",\"e\":\"AQAB\",\"alg\":\"HS256\"}", "~alg 'HS256' is not used"},
    {"alg of another type", RSA ",\"e\":\"AQAB\",\"alg\":\"ES256\"}", "alg does not fit"},
    {"alg of another curve", EC P256X "," P256Y ",\"alg\":\"ES384\"}", "alg does not fit"},
    {"alg is not a string", RSA ",\"e\":\"AQAB\",\"alg\":1}", "alg is not a string"},
    {"RSA without e", RSA "}", "n or e is missing"},
    {"RSA, e is a number", RSA ",\"e\":65537}", "n or e is missing"},
    {"RSA, e = 1: anybody can sign", RSA ",\"e\":\"AQ\"}", "exponent is weak"},
    {"RSA, e = 3", RSA ",\"e\":\"Aw\"}", "exponent is weak"},
    {"RSA, e = 0", RSA ",\"e\":\"AA\"}", "exponent is weak"},
    {"RSA, e = 65536", RSA ",\"e\":\"AQAA\"}", "exponent is weak"},
    {"RSA, e = 65535", RSA ",\"e\":\"__8\"}", "exponent is weak"},
    {"RSA, e of nine bytes", RSA ",\"e\":\"AQAAAAAAAAAB\"}", "longer than 64 bits"},
    {"RSA, padded e", RSA ",\"e\":\"AQAB=\"}", "n or e is missing"},
    {"RSA, tiny", "{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "shorter than 2048"},
    {"EC, unknown curve", "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"secp256k1\"," P256X "," P256Y "}",
     "~crv 'secp256k1' is not used"},
    {"EC without y", EC P256X "}", "x or y is missing"},
    {"EC, x one byte short", EC "\"x\":\"zc4ncPbEXUGDy-5v20t7WAczNXvp7xO6z248e9FURQ\"," P256Y "}", "x or y is missing"},
    {"EC, not on the curve", EC P256X ",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}", "not a point"},
    {"EC, point of another curve", "{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-384\"," P256X "," P256Y "}",
     "x or y is missing"},
    {"OKP, key agreement", "{\"kty\":\"OKP\",\"kid\":\"k\",\"crv\":\"X25519\"," X25519 "}",
     "~crv 'X25519' is not used"},
    {"OKP, too short", "{\"kty\":\"OKP\",\"kid\":\"k\",\"crv\":\"Ed25519\",\"x\":\"AQAB\"}", "x is missing"},
};

START_TEST(key_rows_decide_as_listed)
{
    char *text = mint_text("{\"keys\":[%s]}", keys[_i].key);
    struct ia_jwks *jwks = parse(text);
    ck_assert_msg(jwks != NULL, "%s", keys[_i].label);
    ck_assert_msg(ia_jwks_count(jwks) == (keys[_i].problem ? 0 : 1), "%s: %s", keys[_i].label, reported);
    const char *problem = keys[_i].problem && *keys[_i].problem != '~' ? keys[_i].problem : "";
    const char *note = keys[_i].problem && *keys[_i].problem == '~' ? keys[_i].problem + 1 : "";
    ck_assert_msg(n_reported == (*problem ? 1 : 0), "%s: %s", keys[_i].label, reported);
    ck_assert_msg(strstr(reported, problem), "%s: %s", keys[_i].label, reported);
    ck_assert_msg(*note ? strstr(noted, note) != NULL : !*noted, "%s: note %s", keys[_i].label, noted);
    ck_assert_msg(!strstr(reported, "c2VjcmV0"), "%s: quotes key material", keys[_i].label);
    ia_jwks_free(jwks);
    free(text);
}
END_TEST

/* OpenID Connect Core section 10.1: without a kid exactly one key of the set may fit the algorithm. */
static const struct {
    const char *label, *keys;
    enum ia_alg alg;
    enum ia_jwks_found found;
} without_kid[] = {
    {"one key without a kid", ED "}", IA_ALG_EDDSA, IA_JWKS_FOUND},
    {"one key with a kid", ED ",\"kid\":\"k\"}", IA_ALG_EDDSA, IA_JWKS_FOUND},
    {"one of each type", ED "}," EC P256X "," P256Y "}", IA_ALG_ES256, IA_JWKS_FOUND},
    {"the same key under two kids is one", ED ",\"kid\":\"k\"}," ED ",\"kid\":\"l\"}", IA_ALG_EDDSA, IA_JWKS_FOUND},
    {"two keys", ED "},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw\"}",
     IA_ALG_EDDSA, IA_JWKS_AMBIGUOUS},
    {"none that fits", ED "}", IA_ALG_ES256, IA_JWKS_NO_KID},
    {"a weak key is none", "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", IA_ALG_RS256, IA_JWKS_NO_KID},
};

START_TEST(without_kid_rows_decide_as_listed)
{
    char *text = mint_text("{\"keys\":[%s]}", without_kid[_i].keys);
    struct ia_jwks *jwks = parse(text);
    const struct ia_jwk *key = NULL;
    ck_assert_msg(ia_jwks_find(jwks, NULL, ia_alg_set(without_kid[_i].alg), &key) == without_kid[_i].found, "%s",
                  without_kid[_i].label);
    ck_assert((key != NULL) == (without_kid[_i].found == IA_JWKS_FOUND));
    ck_assert_int_eq(ia_jwks_find(jwks, "", ~0u, &key), IA_JWKS_NO_KID);
    ia_jwks_free(jwks);
    free(text);
}
END_TEST

START_TEST(bad_key_does_not_hold_up_the_others)
{
    struct ia_jwks *jwks = parse("{\"keys\":[" ED "}," ED ",\"kid\":\"a\"},7," EC P256X "," P256Y "}]}");
    ck_assert_uint_eq(ia_jwks_count(jwks), 3);
    ck_assert_uint_eq(n_reported, 1);
    ck_assert_str_eq(reported, "key number 3: is not a JSON object");
    ck_assert_int_eq(find_key(jwks, "a")->type, IA_KEY_ED25519);
    ck_assert_int_eq(find_key(jwks, "k")->type, IA_KEY_P256);
    ck_assert_ptr_null(find_key(jwks, "K"));
    ck_assert_ptr_null(find_key(jwks, ""));
    ia_jwks_free(jwks);
}
END_TEST

/* It once passed for want of memory, and held up every other row of the registry. */
START_TEST(key_that_openssl_refuses_does_not_hold_up_the_others)
{
    openssl = REFUSES_RSA;
    struct ia_jwks *jwks = parse("{\"keys\":[" RSA ",\"e\":\"AQAB\"}," ED ",\"kid\":\"other\"}]}");
    ck_assert_uint_eq(ia_jwks_count(jwks), 1);
    ck_assert_ptr_nonnull(find_key(jwks, "other"));
    ck_assert_str_eq(reported, "key 'k': OpenSSL rejects the key");
    openssl = WORKS;
    ia_jwks_free(jwks);
}
END_TEST

START_TEST(want_of_memory_is_no_fault_of_the_key)
{
    const char *text = "{\"keys\":[" ED ",\"kid\":\"k\"}]}";
    struct ia_jwks *jwks = NULL;
    struct ia_err err = {0};
    openssl = OUT_OF_MEMORY;
    ck_assert_int_eq(ia_jwks_parse(text, strlen(text), &report, &jwks, &err), IA_NOMEM);
    openssl = WORKS;
    ck_assert_ptr_null(jwks);
    ck_assert_uint_eq(n_reported, 0);
}
END_TEST

/* Keys of one kid (RFC 7517 section 4.5), and which algorithms find one.  Each key is named by a letter: e an Ed25519 key,
 * p a P-256 key, r and s two RSA keys. */
static const struct {
    const char *label, *keys[4];
    enum ia_alg alg;
    enum ia_jwks_found found;
} same_kid[] = {
    {"one key listed for three algorithms", {"r RS256", "r RS384", "r RS512"}, IA_ALG_RS384, IA_JWKS_FOUND},
    {"one key listed twice", {"r", "r RS256"}, IA_ALG_RS256, IA_JWKS_FOUND},
    {"an RSA and an EC key, the first", {"r", "p"}, IA_ALG_RS256, IA_JWKS_FOUND},
    {"an RSA and an EC key, the second", {"r", "p"}, IA_ALG_ES256, IA_JWKS_FOUND},
    {"an RSA and an EC key, of neither", {"r", "p"}, IA_ALG_EDDSA, IA_JWKS_NO_ALG},
    {"three types", {"e", "p", "r"}, IA_ALG_EDDSA, IA_JWKS_FOUND},
    {"two RSA keys for an algorithm each", {"r RS256", "s PS256"}, IA_ALG_PS256, IA_JWKS_FOUND},
    {"two RSA keys that fit", {"r", "s"}, IA_ALG_RS256, IA_JWKS_AMBIGUOUS},
    {"two RSA keys, one for another algorithm alone", {"r RS512", "s"}, IA_ALG_RS256, IA_JWKS_FOUND},
    {"two RSA keys, both for that algorithm", {"r RS512", "s"}, IA_ALG_RS512, IA_JWKS_AMBIGUOUS},
    {"two RSA keys beside an EC key", {"r", "s", "p"}, IA_ALG_ES256, IA_JWKS_FOUND},
    {"the third of three is one too many", {"r RS256", "p", "s RS256"}, IA_ALG_RS256, IA_JWKS_AMBIGUOUS},
};

static char *key_of_letter(const char *spec)
{
    static EVP_PKEY *rsa[2];
    EVP_PKEY *key;
    if (!rsa[0]) {
        rsa[0] = mint_rsa(2048, 65537);
        rsa[1] = mint_rsa(2048, 65537);
    }
    if (spec[0] == 'r' || spec[0] == 's')
        key = rsa[spec[0] == 's'];
    else
        key = mint_key(spec[0] == 'e' ? IA_KEY_ED25519 : IA_KEY_P256, 0);
    char *more = spec[1] ? mint_text(",\"alg\":\"%s\"", spec + 2) : mint_text("%s", "");
    char *jwk = mint_jwk(key, "k", more);
    free(more);
    return jwk;
}

START_TEST(keys_of_one_kid_are_found_by_algorithm)
{
    char *text = mint_text("{\"keys\":[" ED ",\"kid\":\"other\"}");
    for (int i = 0; i < 4 && same_kid[_i].keys[i]; i++) {
        char *jwk = key_of_letter(same_kid[_i].keys[i]), *longer = mint_text("%s,%s", text, jwk);
        free(jwk);
        free(text);
        text = longer;
    }
    char *whole = mint_text("%s]}", text);
    struct ia_jwks *jwks = parse(whole);
    const struct ia_jwk *key = NULL;
    enum ia_jwks_found found = ia_jwks_find(jwks, "k", ia_alg_set(same_kid[_i].alg), &key);
    ck_assert_msg(found == same_kid[_i].found, "%s: %d", same_kid[_i].label, found);
    ck_assert_msg((key != NULL) == (found == IA_JWKS_FOUND), "%s", same_kid[_i].label);
    ck_assert_msg(!key || key->algs & ia_alg_set(same_kid[_i].alg), "%s", same_kid[_i].label);
    if (found == IA_JWKS_AMBIGUOUS)
        ck_assert_str_eq(reported, "key 'k': different keys have that kid and fit one algorithm");
    ck_assert_ptr_nonnull(find_key(jwks, "other"));
    ia_jwks_free(jwks);
    free(whole);
    free(text);
}
END_TEST

START_TEST(ambiguity_is_reported_once_a_kid)
{
    char *r = key_of_letter("r"), *s = key_of_letter("s");
    char *text = mint_text("{\"keys\":[%s,%s,%s,%s]}", r, s, r, s);
    struct ia_jwks *jwks = parse(text);
    ck_assert_uint_eq(ia_jwks_count(jwks), 0);
    ck_assert_uint_eq(n_reported, 1);
    ia_jwks_free(jwks);
    free(text);
    free(r);
    free(s);
}
END_TEST

START_TEST(encryption_key_of_the_same_kid_does_not_disturb)
{
    struct ia_jwks *jwks = parse("{\"keys\":[" ED ",\"kid\":\"k\"}," RSA ",\"e\":\"AQAB\",\"use\":\"enc\"}]}");
    ck_assert_int_eq(find_key(jwks, "k")->type, IA_KEY_ED25519);
    ck_assert_uint_eq(n_reported, 0);
    ia_jwks_free(jwks);
}
END_TEST

START_TEST(kid_cannot_forge_a_line_of_the_problem)
{
    ia_jwks_free(parse("{\"keys\":[{\"kid\":\"a\\nb\\u001b[1m\",\"kty\":\"\"}]}"));
    ck_assert_str_eq(reported, "key 'a?b?[1m': kty is empty");
}
END_TEST

/* The whole set is refused. */
static const struct {
    const char *label, *text;
} sets[] = {
    {"empty", ""},
    {"rubbish", "<html>not found</html>"},
    {"a list", "[]"},
    {"a key, not a set", ED ",\"kid\":\"k\"}"},
    {"keys is no array", "{\"keys\":{}}"},
    {"keys twice", "{\"keys\":[],\"keys\":[]}"},
    {"a member of a key twice", "{\"keys\":[" ED ",\"kid\":\"a\",\"kid\":\"b\"}]}"},
    {"something after it", "{\"keys\":[]} x"},
    {"deep", "{\"keys\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}"},
};

START_TEST(set_rows_are_refused)
{
    ck_assert_msg(!parse(sets[_i].text), "%s", sets[_i].label);
}
END_TEST

START_TEST(empty_set_parses)
{
    struct ia_jwks *jwks = parse("{\"keys\":[]}");
    ck_assert_ptr_nonnull(jwks);
    ck_assert_uint_eq(ia_jwks_count(jwks), 0);
    ck_assert_ptr_null(find_key(jwks, "k"));
    ia_jwks_free(jwks);
}
END_TEST

static char *many_keys(unsigned n)
{
    char *text = mint_text("{\"keys\":[");
    for (unsigned i = 0; i < n; i++) {
        char *longer = mint_text("%s%s" ED ",\"kid\":\"k%u\"}", text, i ? "," : "", i);
        free(text);
        text = longer;
    }
    char *set = mint_text("%s]}", text);
    free(text);
    return set;
}

START_TEST(a_hundred_keys_are_the_most)
{
    char *fits = many_keys(100), *over = many_keys(101);
    struct ia_jwks *jwks = parse(fits);
    ck_assert_uint_eq(ia_jwks_count(jwks), 100);
    for (unsigned i = 0; i < 100; i++) {
        char kid[8];
        snprintf(kid, sizeof kid, "k%u", i);
        ck_assert_str_eq(find_key(jwks, kid)->kid, kid);
    }
    ck_assert_ptr_null(parse(over));
    ia_jwks_free(jwks);
    free(fits);
    free(over);
}
END_TEST

START_TEST(set_of_256_KiB_is_the_longest)
{
    struct ia_jwks *jwks = NULL;
    struct ia_err err = {0};
    char *text = malloc(IA_JWKS_MAX + 1);
    memset(text, ' ', IA_JWKS_MAX + 1);
    memcpy(text, "{\"keys\":[]}", 11);
    ck_assert_int_eq(ia_jwks_parse(text, IA_JWKS_MAX, NULL, &jwks, &err), IA_OK);
    ia_jwks_free(jwks);
    ck_assert_int_eq(ia_jwks_parse(text, IA_JWKS_MAX + 1, NULL, &jwks, &err), IA_FORMAT);
    free(text);
}
END_TEST

static bool used(EVP_PKEY *key)
{
    char *text = mint_jwks(key, "k");
    struct ia_jwks *jwks = parse(text);
    bool found = find_key(jwks, "k");
    ia_jwks_free(jwks);
    free(text);
    return found;
}

START_TEST(rsa_below_2048_bits_is_refused)
{
    EVP_PKEY *weak = mint_rsa(2047, 65537), *least = mint_rsa(2048, 65537);
    ck_assert(!used(weak));
    ck_assert_str_eq(reported, "key 'k': RSA modulus is shorter than 2048 bits");
    ck_assert(used(least));
    EVP_PKEY_free(weak);
    EVP_PKEY_free(least);
}
END_TEST

/* A modulus that is 65537 to some power modulo every small prime, as the ROCA generator makes them: 65537 itself to a
 * power, reduced by nothing. */
START_TEST(roca_modulus_is_refused)
{
    BIGNUM *n = BN_new(), *e = BN_new(), *base = BN_new();
    BN_CTX *ctx = BN_CTX_new();
    BN_set_word(base, 65537);
    BN_set_word(e, 130); /* 65537 to the 130th has 2081 bits */
    BN_exp(n, base, e, ctx);
    uint8_t bytes[300];
    int len = BN_bn2bin(n, bytes);
    char *value = mint_base64url(bytes, (size_t)len);
    char *text = mint_text("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"e\":\"AQAB\",\"n\":\"%s\"}]}", value);
    ia_jwks_free(parse(text));
    ck_assert_ptr_nonnull(strstr(reported, "ROCA"));
    BN_free(n);
    BN_free(e);
    BN_free(base);
    BN_CTX_free(ctx);
    free(value);
    free(text);
}
END_TEST

START_TEST(key_id_is_the_key_whatever_its_name)
{
    EVP_PKEY *one = mint_key(IA_KEY_P256, 0), *two = mint_key(IA_KEY_ED25519, 0);
    char *a = mint_jwk(one, "a", NULL), *b = mint_jwk(one, "b", ",\"alg\":\"ES256\""), *c = mint_jwk(two, "c", NULL);
    char *text = mint_text("{\"keys\":[%s,%s,%s]}", c, b, a);
    struct ia_jwks *jwks = parse(text);
    ck_assert_mem_eq(find_key(jwks, "a")->key_id, find_key(jwks, "b")->key_id, IA_KEY_ID_LEN);
    ck_assert_mem_ne(find_key(jwks, "a")->key_id, find_key(jwks, "c")->key_id, IA_KEY_ID_LEN);
    ia_jwks_free(jwks);
    free(a);
    free(b);
    free(c);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jwks");
    TCase *c = tcase_create("jwks");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, key_rows_decide_as_listed, 0, ROWS(keys));
    tcase_add_loop_test(c, set_rows_are_refused, 0, ROWS(sets));
    tcase_add_loop_test(c, without_kid_rows_decide_as_listed, 0, ROWS(without_kid));
    tcase_add_test(c, bad_key_does_not_hold_up_the_others);
    tcase_add_test(c, key_that_openssl_refuses_does_not_hold_up_the_others);
    tcase_add_test(c, want_of_memory_is_no_fault_of_the_key);
    tcase_add_loop_test(c, keys_of_one_kid_are_found_by_algorithm, 0, ROWS(same_kid));
    tcase_add_test(c, ambiguity_is_reported_once_a_kid);
    tcase_add_test(c, encryption_key_of_the_same_kid_does_not_disturb);
    tcase_add_test(c, kid_cannot_forge_a_line_of_the_problem);
    tcase_add_test(c, empty_set_parses);
    tcase_add_test(c, a_hundred_keys_are_the_most);
    tcase_add_test(c, set_of_256_KiB_is_the_longest);
    tcase_add_test(c, rsa_below_2048_bits_is_refused);
    tcase_add_test(c, roca_modulus_is_refused);
    tcase_add_test(c, key_id_is_the_key_whatever_its_name);
    suite_add_tcase(s, c);
    return run_suite(s);
}
