// SPDX-License-Identifier: ISC
#include "oauth/jwks.h"

#include "mint.h"
#include "suite.h"

#include <openssl/err.h>
#include <string.h>

/* Known answers: the examples of the RFCs, each key with a kid added. */
static const struct {
    const char *label, *key, *token;
} vectors[] = {
    {"RFC 7515 A.2, RS256",
     "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"kid\":\"k\","
     "\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-"
     "yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-"
     "KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
     "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}",
     "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
     "cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
     "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0G"
     "arZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5"
     "AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {"RFC 7515 A.3, ES256",
     "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"kid\":\"k\","
     "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
     "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
     "cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    {"RFC 7515 A.4, ES512",
     "{\"kty\":\"EC\",\"crv\":\"P-521\",\"kid\":\"k\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_"
     "NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\",\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-"
     "x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2\"}",
     "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-"
     "mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXol"
     "LzeO_Jn"},
    {"RFC 8037 A.4, Ed25519",
     "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"kid\":\"k\"}",
     "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR"
     "4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

static struct ia_jwks *jwks_of(const char *key)
{
    struct ia_jwks *jwks = NULL;
    struct ia_err err = {0};
    char *text = mint_text("{\"keys\":[%s]}", key);
    ck_assert_msg(ia_jwks_parse(text, strlen(text), NULL, &jwks, &err) == IA_OK, "%s", err.msg);
    ck_assert_uint_eq(ia_jwks_count(jwks), 1);
    free(text);
    return jwks;
}

static const struct ia_jwk *key_k(const struct ia_jwks *jwks)
{
    const struct ia_jwk *key = NULL;
    ck_assert_int_eq(ia_jwks_find(jwks, "k", ~0u, &key), IA_JWKS_FOUND);
    return key;
}

static enum ia_reason check(const char *key, const char *token)
{
    char detail[IA_DETAIL_MAX];
    struct ia_jws jws = {0};
    struct ia_jwks *jwks = jwks_of(key);
    enum ia_reason reason = ia_jws_parse(token, strlen(token), &jws, detail);
    if (reason == IA_R_NONE)
        reason = ia_signature_verify(&jws, key_k(jwks), detail);
    ia_jws_clear(&jws);
    ia_jwks_free(jwks);
    ck_assert_uint_eq(ERR_peek_error(), 0); /* an entry left there ends the next TLS handshake of the broker */
    return reason;
}

START_TEST(vector_is_accepted)
{
    ck_assert_msg(check(vectors[_i].key, vectors[_i].token) == IA_R_NONE, "%s", vectors[_i].label);
}
END_TEST

START_TEST(vector_with_another_payload_is_refused)
{
    char *token = strdup(vectors[_i].token);
    char *payload = strchr(token, '.') + 1;
    payload[4] = payload[4] == 'A' ? 'B' : 'A';
    ck_assert_msg(check(vectors[_i].key, token) == IA_R_TOKEN_SIGNATURE, "%s", vectors[_i].label);
    free(token);
}
END_TEST

static const struct {
    enum ia_alg alg;
    enum ia_key_type type;
} pairs[] = {
    {IA_ALG_RS256, IA_KEY_RSA},     {IA_ALG_RS384, IA_KEY_RSA},   {IA_ALG_RS512, IA_KEY_RSA},
    {IA_ALG_PS256, IA_KEY_RSA},     {IA_ALG_PS384, IA_KEY_RSA},   {IA_ALG_PS512, IA_KEY_RSA},
    {IA_ALG_ES256, IA_KEY_P256},    {IA_ALG_ES384, IA_KEY_P384},  {IA_ALG_ES512, IA_KEY_P521},
    {IA_ALG_EDDSA, IA_KEY_ED25519}, {IA_ALG_EDDSA, IA_KEY_ED448}, {IA_ALG_ED25519, IA_KEY_ED25519},
    {IA_ALG_ED448, IA_KEY_ED448},
};

static char *sign(EVP_PKEY *key, enum ia_alg alg)
{
    char *header = mint_text("{\"alg\":\"%s\",\"kid\":\"k\"}", ia_alg_name(alg));
    char *token = mint_token(key, alg, header, "{\"sub\":\"x\"}");
    free(header);
    return token;
}

START_TEST(each_algorithm_verifies_with_its_key)
{
    EVP_PKEY *key = mint_key(pairs[_i].type, 2048);
    char *jwk = mint_jwk(key, "k", NULL), *token = sign(key, pairs[_i].alg);
    ck_assert_msg(check(jwk, token) == IA_R_NONE, "%s", ia_alg_name(pairs[_i].alg));
    free(jwk);
    free(token);
}
END_TEST

/* Any key with any algorithm but its own: refused before OpenSSL sees it. */
START_TEST(algorithm_that_does_not_fit_the_key_is_refused)
{
    EVP_PKEY *key = mint_key(pairs[_i].type, 2048);
    char *token = sign(key, pairs[_i].alg);
    for (int other = 0; other < ROWS(pairs); other++) {
        if (ia_alg_set(pairs[_i].alg) & ia_alg_set_of_key(pairs[other].type))
            continue;
        char *jwk = mint_jwk(mint_key(pairs[other].type, 2048), "k", NULL);
        ck_assert_msg(check(jwk, token) == IA_R_TOKEN_ALGORITHM, "%s with key type %d", ia_alg_name(pairs[_i].alg),
                      pairs[other].type);
        free(jwk);
    }
    free(token);
}
END_TEST

START_TEST(signature_of_another_algorithm_of_the_same_key_is_refused)
{
    EVP_PKEY *key = mint_key(IA_KEY_RSA, 2048);
    char *jwk = mint_jwk(key, "k", NULL);
    for (enum ia_alg made = IA_ALG_RS256; made <= IA_ALG_PS512; made++)
        for (enum ia_alg said = IA_ALG_RS256; said <= IA_ALG_PS512; said++) {
            char *header = mint_text("{\"alg\":\"%s\"}", ia_alg_name(said));
            char *token = mint_token(key, made, header, "{}");
            ck_assert_int_eq(check(jwk, token), made == said ? IA_R_NONE : IA_R_TOKEN_SIGNATURE);
            free(header);
            free(token);
        }
    free(jwk);
}
END_TEST

START_TEST(key_for_one_algorithm_verifies_no_other)
{
    EVP_PKEY *key = mint_key(IA_KEY_RSA, 2048);
    char *jwk = mint_jwk(key, "k", ",\"alg\":\"PS256\"");
    char *rs = sign(key, IA_ALG_RS256), *ps = sign(key, IA_ALG_PS256);
    ck_assert_int_eq(check(jwk, rs), IA_R_TOKEN_ALGORITHM);
    ck_assert_int_eq(check(jwk, ps), IA_R_NONE);
    free(jwk);
    free(rs);
    free(ps);
}
END_TEST

/* An ECDSA signature is r || s of the curve's full size and nothing else. */
static const struct {
    const char *label;
    int change; /* bytes more or fewer */
    bool zero;
} lengths[] = {
    {"empty", -64, false},      {"one byte short", -1, false}, {"one byte long", 1, false},
    {"half of it", -32, false}, {"all zero", 0, true},         {"DER-sized", 8, false},
};

START_TEST(ecdsa_signature_of_another_shape_is_refused)
{
    EVP_PKEY *key = mint_key(IA_KEY_P256, 0);
    char *jwk = mint_jwk(key, "k", NULL), *token = sign(key, IA_ALG_ES256);
    uint8_t bytes[80] = {0};
    char *dot = strrchr(token, '.');
    if (!lengths[_i].zero)
        memset(bytes, 0x41, sizeof bytes);
    *dot = '\0';
    char *s = mint_base64url(bytes, (size_t)(64 + lengths[_i].change));
    char *changed = mint_text("%s.%s", token, s);
    ck_assert_msg(check(jwk, changed) == IA_R_TOKEN_SIGNATURE, "%s", lengths[_i].label);
    free(jwk);
    free(token);
    free(s);
    free(changed);
}
END_TEST

START_TEST(flipped_bit_anywhere_is_refused)
{
    EVP_PKEY *key = mint_key(pairs[_i].type, 2048);
    char *jwk = mint_jwk(key, "k", NULL), *token = sign(key, pairs[_i].alg);
    char *last = token + strlen(token) - 6;
    for (char *p = strchr(token, '.') + 1; p <= last; p += 7) {
        char kept = *p;
        if (kept == '.')
            continue;
        *p = kept == 'A' ? 'Q' : 'A';
        ck_assert(check(jwk, token) != IA_R_NONE);
        *p = kept;
    }
    ck_assert_int_eq(check(jwk, token), IA_R_NONE);
    free(jwk);
    free(token);
}
END_TEST

START_TEST(empty_signature_is_refused)
{
    EVP_PKEY *key = mint_key(pairs[_i].type, 2048);
    char *jwk = mint_jwk(key, "k", NULL), *token = sign(key, pairs[_i].alg);
    strrchr(token, '.')[1] = '\0';
    ck_assert_int_eq(check(jwk, token), IA_R_TOKEN_SIGNATURE);
    free(jwk);
    free(token);
}
END_TEST

int main(void)
{
    mint_key(IA_KEY_RSA, 2048); /* made here, it is made once: each case runs in a fork */
    Suite *s = suite_create("signature");
    TCase *c = tcase_create("signature");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, vector_is_accepted, 0, ROWS(vectors));
    tcase_add_loop_test(c, vector_with_another_payload_is_refused, 0, ROWS(vectors));
    tcase_add_loop_test(c, each_algorithm_verifies_with_its_key, 0, ROWS(pairs));
    tcase_add_loop_test(c, algorithm_that_does_not_fit_the_key_is_refused, 0, ROWS(pairs));
    tcase_add_test(c, signature_of_another_algorithm_of_the_same_key_is_refused);
    tcase_add_test(c, key_for_one_algorithm_verifies_no_other);
    tcase_add_loop_test(c, ecdsa_signature_of_another_shape_is_refused, 0, ROWS(lengths));
    tcase_add_loop_test(c, flipped_bit_anywhere_is_refused, 0, ROWS(pairs));
    tcase_add_loop_test(c, empty_signature_is_refused, 0, ROWS(pairs));
    suite_add_tcase(s, c);
    return run_suite(s);
}
