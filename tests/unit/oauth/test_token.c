// SPDX-License-Identifier: ISC
#include "oauth/token.h"

#include "common/str.h"
#include "fixture.h"
#include "mint.h"
#include "suite.h"

#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <string.h>

#define ID ",\"client_id\":\"a\""

/* What a payload says; the token's form, key and signature are fine.  Leeway is 30 s. */
static const struct {
    const char *label, *payload;
    enum ia_reason reason;
} claims[] = {
    {"fine", "{" CLAIMS ID "}", IA_R_NONE},
    {"aud in a list", "{\"iss\":\"" ISS "\",\"aud\":[\"x\",\"mqtt\"],\"exp\":1700000300" ID "}", IA_R_NONE},
    {"the other audience", "{\"iss\":\"" ISS "\",\"aud\":\"https://mqtt.example/\",\"exp\":1700000300" ID "}",
     IA_R_NONE},
    {"payload is a list", "[]", IA_R_TOKEN_MALFORMED},
    {"payload is empty", "", IA_R_TOKEN_MALFORMED},
    {"iss twice", "{\"iss\":\"https://evil.example\"," CLAIMS ID "}", IA_R_TOKEN_MALFORMED},
    {"iss missing", "{\"aud\":\"mqtt\",\"exp\":1700000300" ID "}", IA_R_TOKEN_ISSUER},
    {"iss of an unknown issuer", "{\"iss\":\"https://evil.example\",\"aud\":\"mqtt\",\"exp\":1700000300" ID "}",
     IA_R_TOKEN_ISSUER},
    {"iss with a slash more", "{\"iss\":\"" ISS "/\",\"aud\":\"mqtt\",\"exp\":1700000300" ID "}", IA_R_TOKEN_ISSUER},
    {"iss in another case", "{\"iss\":\"https://IDP.example/realm\",\"aud\":\"mqtt\",\"exp\":1700000300" ID "}",
     IA_R_TOKEN_ISSUER},
    {"iss by the row's name", "{\"iss\":\"idp\",\"aud\":\"mqtt\",\"exp\":1700000300" ID "}", IA_R_TOKEN_ISSUER},
    {"iss in a list", "{\"iss\":[\"" ISS "\"],\"aud\":\"mqtt\",\"exp\":1700000300" ID "}", IA_R_TOKEN_CLAIMS},
    {"aud missing", "{\"iss\":\"" ISS "\",\"exp\":1700000300" ID "}", IA_R_TOKEN_AUDIENCE},
    {"aud of another service", "{\"iss\":\"" ISS "\",\"aud\":\"billing\",\"exp\":1700000300" ID "}",
     IA_R_TOKEN_AUDIENCE},
    {"aud in another case", "{\"iss\":\"" ISS "\",\"aud\":\"MQTT\",\"exp\":1700000300" ID "}", IA_R_TOKEN_AUDIENCE},
    {"aud list is empty", "{\"iss\":\"" ISS "\",\"aud\":[],\"exp\":1700000300" ID "}", IA_R_TOKEN_AUDIENCE},
    {"aud in one string", "{\"iss\":\"" ISS "\",\"aud\":\"x mqtt\",\"exp\":1700000300" ID "}", IA_R_TOKEN_AUDIENCE},
    {"aud with a number", "{\"iss\":\"" ISS "\",\"aud\":[\"mqtt\",1],\"exp\":1700000300" ID "}", IA_R_TOKEN_CLAIMS},
    {"aud is an object", "{\"iss\":\"" ISS "\",\"aud\":{\"mqtt\":1},\"exp\":1700000300" ID "}", IA_R_TOKEN_CLAIMS},
    {"exp missing: for ever", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\"" ID "}", IA_R_TOKEN_CLAIMS},
    {"exp null is missing", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":null" ID "}", IA_R_TOKEN_CLAIMS},
    {"exp is a string", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":\"1700000300\"" ID "}", IA_R_TOKEN_CLAIMS},
    {"exp in milliseconds", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1700000300000" ID "}", IA_R_TOKEN_CLAIMS},
    {"exp is huge", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1e300" ID "}", IA_R_TOKEN_CLAIMS},
    {"exp is beyond any number", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1e999" ID "}", IA_R_TOKEN_MALFORMED},
    {"exp of 64 bits and more", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":99999999999999999999" ID "}",
     IA_R_TOKEN_MALFORMED},
    {"exp of the smallest 64 bits", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":-9223372036854775808" ID "}",
     IA_R_TOKEN_CLAIMS},
    {"exp before 1970", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":-1" ID "}", IA_R_TOKEN_EXPIRED},
    {"exp is 0", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":0" ID "}", IA_R_TOKEN_EXPIRED},
    {"exp over, within leeway", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1699999971" ID "}", IA_R_NONE},
    {"exp and leeway over this second", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1699999970" ID "}",
     IA_R_TOKEN_EXPIRED},
    {"exp with a fraction: rounded down", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1699999970.9" ID "}",
     IA_R_TOKEN_EXPIRED},
    {"exp as a float", "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1.7000003e9" ID "}", IA_R_NONE},
    {"nbf past", "{" CLAIMS ID ",\"nbf\":1699999999}", IA_R_NONE},
    {"nbf to come, within leeway", "{" CLAIMS ID ",\"nbf\":1700000030}", IA_R_NONE},
    {"nbf to come", "{" CLAIMS ID ",\"nbf\":1700000031}", IA_R_TOKEN_NOT_YET_VALID},
    {"nbf is a string", "{" CLAIMS ID ",\"nbf\":\"1699999999\"}", IA_R_TOKEN_CLAIMS},
    {"nbf null", "{" CLAIMS ID ",\"nbf\":null}", IA_R_NONE},
    {"nbf beyond any number", "{" CLAIMS ID ",\"nbf\":1e400}", IA_R_TOKEN_MALFORMED},
    {"iat null", "{" CLAIMS ID ",\"iat\":null}", IA_R_NONE},
    {"nbf is huge", "{" CLAIMS ID ",\"nbf\":1e18}", IA_R_TOKEN_CLAIMS},
    {"nbf with a fraction", "{" CLAIMS ID ",\"nbf\":1700000030.5}", IA_R_NONE},
    {"iat to come, within leeway", "{" CLAIMS ID ",\"iat\":1700000030}", IA_R_NONE},
    {"iat to come", "{" CLAIMS ID ",\"iat\":1700000031}", IA_R_TOKEN_NOT_YET_VALID},
    {"iat in milliseconds", "{" CLAIMS ID ",\"iat\":1700000000000}", IA_R_TOKEN_CLAIMS},
    {"iat is a string", "{" CLAIMS ID ",\"iat\":\"1699999999\"}", IA_R_TOKEN_CLAIMS},
    {"no claim that names the app", "{" CLAIMS "}", IA_R_TOKEN_CLAIMS},
    {"azp names it", "{" CLAIMS ",\"azp\":\"a\"}", IA_R_NONE},
    {"sub names it", "{" CLAIMS ",\"sub\":\"a\"}", IA_R_NONE},
    {"client_id is invalid, sub is not tried: a client must not choose its name by spoiling another claim",
     "{" CLAIMS ",\"client_id\":\"a/b\",\"sub\":\"a\"}", IA_R_TOKEN_CLAIMS},
    {"client_id is a number", "{" CLAIMS ",\"client_id\":7,\"sub\":\"a\"}", IA_R_TOKEN_CLAIMS},
    {"client_id null: the next names it", "{" CLAIMS ",\"client_id\":null,\"sub\":\"a\"}", IA_R_NONE},
    {"all of them null", "{" CLAIMS ",\"client_id\":null,\"azp\":null,\"sub\":null}", IA_R_TOKEN_CLAIMS},
    {"app id is empty", "{" CLAIMS ",\"client_id\":\"\"}", IA_R_TOKEN_CLAIMS},
    {"app id with a wildcard", "{" CLAIMS ",\"client_id\":\"+\"}", IA_R_TOKEN_CLAIMS},
    {"app id with a control character", "{" CLAIMS ",\"client_id\":\"a\\nb\"}", IA_R_TOKEN_CLAIMS},
    {"app id with a NUL", "{" CLAIMS ",\"client_id\":\"a\\u0000b\"}", IA_R_TOKEN_MALFORMED},
    {"app id with a leading dollar", "{" CLAIMS ",\"client_id\":\"$SYS\"}", IA_R_TOKEN_CLAIMS},
    {"scope is a list", "{" CLAIMS ID ",\"scope\":[\"a\",\"read:plant\"]}", IA_R_NONE},
    {"scope is an empty list", "{" CLAIMS ID ",\"scope\":[]}", IA_R_NONE},
    {"scope with a number, which gives nothing", "{" CLAIMS ID ",\"scope\":[\"a\",1]}", IA_R_NONE},
    {"scope is an object", "{" CLAIMS ID ",\"scope\":{\"a\":true}}", IA_R_NONE},
    {"scope is a number", "{" CLAIMS ID ",\"scope\":1}", IA_R_NONE},
    {"scope null", "{" CLAIMS ID ",\"scope\":null}", IA_R_NONE},
    {"scope and scp null", "{" CLAIMS ID ",\"scope\":null,\"scp\":null}", IA_R_NONE},
    {"scope fine, scp an object", "{" CLAIMS ID ",\"scope\":\"a\",\"scp\":{}}", IA_R_NONE},
    {"scp is a list", "{" CLAIMS ID ",\"scp\":[\"a\",\"b\"]}", IA_R_NONE},
    {"scp is a string", "{" CLAIMS ID ",\"scp\":\"a b\"}", IA_R_NONE},
    {"scp with a number", "{" CLAIMS ID ",\"scp\":[\"a\",1]}", IA_R_NONE},
    {"scp is an object", "{" CLAIMS ID ",\"scp\":{}}", IA_R_NONE},
    {"bound to a certificate", "{" CLAIMS ID ",\"cnf\":{\"x5t#S256\":\"" X5T "\"}}", IA_R_TOKEN_UNBOUND},
    {"cnf null", "{" CLAIMS ID ",\"cnf\":null}", IA_R_NONE},
    {"cnf with nothing but null", "{" CLAIMS ID ",\"cnf\":{\"x5t#S256\":null}}", IA_R_TOKEN_UNBOUND},
    {"cnf empty", "{" CLAIMS ID ",\"cnf\":{}}", IA_R_TOKEN_UNBOUND},
    {"cnf is a string", "{" CLAIMS ID ",\"cnf\":\"" X5T "\"}", IA_R_TOKEN_UNBOUND},
    {"aud null", "{\"iss\":\"" ISS "\",\"aud\":null,\"exp\":1700000300" ID "}", IA_R_TOKEN_AUDIENCE},
    {"iss null", "{\"iss\":null,\"aud\":\"mqtt\",\"exp\":1700000300" ID "}", IA_R_TOKEN_ISSUER},
    /* Claims that nothing reads do not decide: C cannot hold these, RFC 8259 allows them. */
    {"unread: 64 bits", "{" CLAIMS ID ",\"x\":18446744073709551615}", IA_R_NONE},
    {"unread: 23 digits", "{" CLAIMS ID ",\"x\":12345678901234567890123}", IA_R_NONE},
    {"unread: negative and long", "{" CLAIMS ID ",\"x\":-99999999999999999999999999}", IA_R_NONE},
    {"unread: 1e400", "{" CLAIMS ID ",\"x\":1e400,\"y\":-1.5E+999}", IA_R_NONE},
    {"unread: lone high surrogate", "{" CLAIMS ID ",\"x\":\"a\\ud800b\"}", IA_R_NONE},
    {"unread: lone low surrogate", "{" CLAIMS ID ",\"x\":\"\\uDFFF\"}", IA_R_NONE},
    {"unread: surrogates the wrong way round", "{" CLAIMS ID ",\"x\":\"\\udc00\\ud800\"}", IA_R_NONE},
    {"unread: NUL", "{" CLAIMS ID ",\"x\":\"a\\u0000b\"}", IA_R_NONE},
    {"unread: deep inside", "{" CLAIMS ID ",\"x\":{\"y\":[1,{\"z\":[1e999,\"\\ud83d\"]}]}}", IA_R_NONE},
    {"unread: in a name", "{" CLAIMS ID ",\"x\\ud800\":1}", IA_R_NONE},
    {"unread, and a text that resembles them", "{" CLAIMS ID ",\"x\":1e400,\"y\":\"1e400 \\\\ud800 \\\"\"}", IA_R_NONE},
    {"a pair of surrogates beside it", "{" CLAIMS ID ",\"x\":\"\\ud83d\\ude00\",\"y\":1e400}", IA_R_NONE},
    {"no number: leading zero", "{" CLAIMS ID ",\"x\":01}", IA_R_TOKEN_MALFORMED},
    {"no number: no digit after the point", "{" CLAIMS ID ",\"x\":1.}", IA_R_TOKEN_MALFORMED},
    {"no number: no exponent", "{" CLAIMS ID ",\"x\":1e}", IA_R_TOKEN_MALFORMED},
    {"no number: plus", "{" CLAIMS ID ",\"x\":+1}", IA_R_TOKEN_MALFORMED},
    {"no number: infinity", "{" CLAIMS ID ",\"x\":-Infinity}", IA_R_TOKEN_MALFORMED},
    {"no JSON beside a number out of range", "{" CLAIMS ID ",\"x\":1e400,\"y\":}", IA_R_TOKEN_MALFORMED},
    {"a claim twice beside a number out of range", "{" CLAIMS ID ",\"x\":1e400" ID "}", IA_R_TOKEN_MALFORMED},
    {"exp twice, once out of range", "{" CLAIMS ID ",\"exp\":1e400}", IA_R_TOKEN_MALFORMED},
    {"half an escape at the end", "{" CLAIMS ID ",\"x\":1e400,\"y\":\"\\u", IA_R_TOKEN_MALFORMED},
    {"invalid UTF-8", "{" CLAIMS ID ",\"x\":\"\xC3\x28\"}", IA_R_TOKEN_MALFORMED},
    /* Claims that count stay strict. */
    {"aud with a lone surrogate", "{\"iss\":\"" ISS "\",\"aud\":[\"mqtt\",\"\\ud800\"],\"exp\":1700000300" ID "}",
     IA_R_TOKEN_MALFORMED},
    {"scope with a NUL", "{" CLAIMS ID ",\"scope\":\"a\\u0000\"}", IA_R_TOKEN_MALFORMED},
    {"scp with a number out of range", "{" CLAIMS ID ",\"scp\":[1e400]}", IA_R_TOKEN_MALFORMED},
    {"app id with a lone surrogate", "{" CLAIMS ",\"client_id\":\"a\\udead\"}", IA_R_TOKEN_MALFORMED},
    {"iat out of range", "{" CLAIMS ID ",\"iat\":1e400}", IA_R_TOKEN_MALFORMED},
    {"cnf with a number out of range", "{" CLAIMS ID ",\"cnf\":{\"x5t#S256\":1e400}}", IA_R_TOKEN_UNBOUND},
    {"cnf of DPoP: a proof that is not checked here", "{" CLAIMS ID ",\"cnf\":{\"jkt\":\"" X5T "\"}}",
     IA_R_TOKEN_UNBOUND},
};

START_TEST(claim_rows_decide_as_listed)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_refusal refusal;
    char *token = fixture_token(claims[_i].payload);
    enum ia_reason reason = fixture_verify(set, token, NULL, &refusal);
    ck_assert_msg(reason == claims[_i].reason, "%s: %s (%s)", claims[_i].label, ia_reason_name(reason), refusal.detail);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* The header, with a payload that is fine. */
static const struct {
    const char *label, *header;
    enum ia_reason reason;
    bool refresh;
} headers[] = {
    {"fine", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"at+jwt\"}", IA_R_NONE, false},
    {"typ with its prefix", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"application/at+jwt\"}", IA_R_NONE, false},
    {"typ in another case", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"AT+JWT\"}", IA_R_NONE, false},
    {"typ JWT", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"JWT\"}", IA_R_NONE, false},
    {"no typ counts as JWT", "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}", IA_R_NONE, false},
    {"a logout token", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"logout+jwt\"}", IA_R_TOKEN_TYPE, false},
    {"a DPoP proof", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"dpop+jwt\"}", IA_R_TOKEN_TYPE, false},
    {"prefix twice", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"application/application/JWT\"}", IA_R_TOKEN_TYPE,
     false},
    {"no kid: only one key fits", "{\"alg\":\"EdDSA\"}", IA_R_NONE, false},
    {"no kid, and no key fits", "{\"alg\":\"ES256\"}", IA_R_TOKEN_KEY_UNKNOWN, true},
    {"an empty kid names no key", "{\"alg\":\"EdDSA\",\"kid\":\"\"}", IA_R_TOKEN_KEY_UNKNOWN, true},
    {"unknown kid", "{\"alg\":\"EdDSA\",\"kid\":\"k2\"}", IA_R_TOKEN_KEY_UNKNOWN, true},
    {"kid in another case", "{\"alg\":\"EdDSA\",\"kid\":\"K1\"}", IA_R_TOKEN_KEY_UNKNOWN, true},
    {"kid that would be a path", "{\"alg\":\"EdDSA\",\"kid\":\"../../dev/null\"}", IA_R_TOKEN_KEY_UNKNOWN, true},
    {"kid that would be a query", "{\"alg\":\"EdDSA\",\"kid\":\"' OR 1=1 --\"}", IA_R_TOKEN_KEY_UNKNOWN, true},
    {"algorithm of the issuer, not of the key: it may have a new key", "{\"alg\":\"ES256\",\"kid\":\"k1\"}",
     IA_R_TOKEN_ALGORITHM, true},
    {"Ed25519 (RFC 9864)", "{\"alg\":\"Ed25519\",\"kid\":\"k1\"}", IA_R_NONE, false},
    {"Ed448, not of the key", "{\"alg\":\"Ed448\",\"kid\":\"k1\"}", IA_R_TOKEN_ALGORITHM, true},
    {"ESP256, not of the key", "{\"alg\":\"ESP256\",\"kid\":\"k1\"}", IA_R_TOKEN_ALGORITHM, true},
    {"ESP384, not of the issuer", "{\"alg\":\"ESP384\",\"kid\":\"k1\"}", IA_R_TOKEN_ALGORITHM, false},
    {"kid null is absent", "{\"alg\":\"EdDSA\",\"kid\":null}", IA_R_NONE, false},
    {"crit null is absent", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"crit\":null,\"typ\":null}", IA_R_NONE, false},
    {"unread member that C cannot hold", "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"x\":1e400}", IA_R_NONE, false},
    {"algorithm that the issuer does not list", "{\"alg\":\"RS256\",\"kid\":\"k1\"}", IA_R_TOKEN_ALGORITHM, false},
    {"a key of its own is not taken",
     "{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k1\",\"x\":\"AA\"}}",
     IA_R_TOKEN_KEY_UNKNOWN, true},
};

START_TEST(header_rows_decide_as_listed)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_refusal refusal;
    char *token = mint_token(mint_key(IA_KEY_ED25519, 0), IA_ALG_EDDSA, headers[_i].header, "{" CLAIMS ID "}");
    enum ia_reason reason = fixture_verify(set, token, NULL, &refusal);
    ck_assert_msg(reason == headers[_i].reason, "%s: %s (%s)", headers[_i].label, ia_reason_name(reason),
                  refusal.detail);
    ck_assert_msg(refusal.refresh_keys == headers[_i].refresh, "%s: refresh", headers[_i].label);
    ck_assert_str_eq(refusal.issuer, "idp");
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(token_by_another_key_is_refused)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    char *token = mint_token(other, IA_ALG_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}", "{" CLAIMS ID "}");
    struct ia_token_refusal refusal;
    ck_assert_int_eq(fixture_verify(set, token, NULL, &refusal), IA_R_TOKEN_SIGNATURE);
    ck_assert(refusal.refresh_keys); /* the provider may have a new key under that kid */
    EVP_PKEY_free(other);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* The signature counts first: the answer must not reveal what an unverified payload says. */
START_TEST(signature_is_judged_before_the_claims)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    char *token = fixture_token("{\"iss\":\"" ISS "\",\"aud\":\"x\",\"exp\":1}");
    char *at = &token[strlen(token) - 10];
    *at = *at == 'A' ? 'B' : 'A'; /* still base64url */
    ck_assert_int_eq(fixture_verify(set, token, NULL, NULL), IA_R_TOKEN_SIGNATURE);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* Two issuers: neither may sign for the other, also under the other's kid. */
START_TEST(issuer_cannot_sign_for_another)
{
    struct ia_issuer_spec specs[2] = {fixture_spec(), fixture_spec()};
    EVP_PKEY *theirs = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    char *jwks = mint_jwks(theirs, "k1");
    specs[1].name = "other";
    specs[1].issuer = "https://other.example";
    specs[1].jwks = jwks;
    struct ia_issuer_set *set = fixture_set(specs, 2);
    char *token = mint_token(theirs, IA_ALG_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}", "{" CLAIMS ID "}");
    ck_assert_int_eq(fixture_verify(set, token, NULL, NULL), IA_R_TOKEN_SIGNATURE);
    free(token);
    token = mint_token(theirs, IA_ALG_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}",
                       "{\"iss\":\"https://other.example\",\"aud\":\"mqtt\",\"exp\":1700000300" ID "}");
    struct ia_token *made;
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    ck_assert_str_eq(made->principal, "app:other:a");
    ia_token_free(made);
    EVP_PKEY_free(theirs);
    free(jwks);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* RFC 8705: the token and the certificate beside it. */
static const struct {
    const char *label, *cnf;
    const char *cert;
    enum ia_reason reason;
} bindings[] = {
    {"neither", "", NULL, IA_R_NONE},
    {"bound and matching", ",\"cnf\":{\"x5t#S256\":\"" X5T "\"}", CERT, IA_R_NONE},
    {"stolen: another certificate", ",\"cnf\":{\"x5t#S256\":\"" X5T "\"}", "another-certificate-of-32-bytes!",
     IA_R_TOKEN_UNBOUND},
    {"stolen: no certificate", ",\"cnf\":{\"x5t#S256\":\"" X5T "\"}", NULL, IA_R_TOKEN_UNBOUND},
    {"not bound, beside a certificate", "", CERT, IA_R_TOKEN_UNBOUND},
    {"the SHA-1 of old", ",\"cnf\":{\"x5t\":\"" X5T "\"}", CERT, IA_R_TOKEN_UNBOUND},
    {"another proof as well", ",\"cnf\":{\"x5t#S256\":\"" X5T "\",\"jkt\":\"x\"}", CERT, IA_R_TOKEN_UNBOUND},
    {"padded", ",\"cnf\":{\"x5t#S256\":\"" X5T "=\"}", CERT, IA_R_TOKEN_UNBOUND},
    {"too short", ",\"cnf\":{\"x5t#S256\":\"AAAA\"}", CERT, IA_R_TOKEN_UNBOUND},
    {"of a wrong type", ",\"cnf\":{\"x5t#S256\":[\"" X5T "\"]}", CERT, IA_R_TOKEN_UNBOUND},
    {"not at the top", ",\"x5t#S256\":\"" X5T "\"", CERT, IA_R_TOKEN_UNBOUND},
};

START_TEST(binding_rows_decide_as_listed)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made = NULL;
    struct ia_token_refusal refusal;
    char *payload = mint_text("{" CLAIMS ID "%s}", bindings[_i].cnf), *token = fixture_token(payload);
    enum ia_reason reason = fixture_verify_at(set, token, strlen(token), NOW, bindings[_i].cert, &made, &refusal);
    ck_assert_msg(reason == bindings[_i].reason, "%s: %s (%s)", bindings[_i].label, ia_reason_name(reason),
                  refusal.detail);
    ia_token_free(made);
    free(payload);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(verified_token_holds_what_counts)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made;
    char *token = fixture_token("{" CLAIMS ",\"client_id\":\"dash\",\"nbf\":1699999000,\"scope\":\" read  write \","
                                "\"dept\":\"r&d\",\"level\":7,\"admin\":true,\"bad\":\"a/b\",\"list\":[1],\"f\":1.5}");
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    ck_assert_str_eq(made->issuer, "idp");
    ck_assert_str_eq(made->iss, ISS);
    ck_assert_str_eq(made->app_id, "dash");
    ck_assert_str_eq(made->principal, "app:idp:dash");
    ck_assert_str_eq(made->kid, "k1");
    ck_assert_int_eq(made->exp, 1700000300);
    ck_assert_int_eq(made->expires_at, 1700000330);
    ck_assert_int_eq(made->not_before, 1699998970);
    ck_assert(!made->bound);
    ck_assert_uint_eq(made->n_scopes, 2);
    ck_assert_str_eq(made->scopes[0], "read");
    ck_assert_str_eq(made->scopes[1], "write");
    ck_assert_str_eq(ia_token_variable(set, made, "claim.dept"), "r&d");
    ck_assert_str_eq(ia_token_variable(set, made, "claim.level"), "7");
    ck_assert_str_eq(ia_token_variable(set, made, "claim.admin"), "true");
    ck_assert_ptr_null(ia_token_variable(set, made, "claim.bad")); /* not one topic level */
    ck_assert_ptr_null(ia_token_variable(set, made, "claim.list"));
    ck_assert_ptr_null(ia_token_variable(set, made, "claim.f"));
    ck_assert_ptr_null(ia_token_variable(set, made, "claim.absent"));
    ck_assert_str_eq(ia_token_variable(set, made, "app_id"), "dash");
    ck_assert_str_eq(ia_token_variable(set, made, "issuer"), "idp");
    ck_assert_ptr_null(ia_token_variable(set, made, "tenant"));
    ck_assert_ptr_null(ia_token_variable(set, made, "device_id"));
    free(token);
    ia_issuer_set_free(set);
    ck_assert_str_eq(made->principal, "app:idp:dash"); /* it outlives token and set */
    ia_token_free(made);
}
END_TEST

START_TEST(refusal_never_quotes_the_token)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    for (int i = 0; i < ROWS(claims); i++) {
        struct ia_token_refusal refusal;
        char *payload =
            mint_text("%.*s,\"secret\":\"hunter2\"}", (int)strlen(claims[i].payload) - 1, claims[i].payload);
        char *token = strlen(claims[i].payload) > 2 ? fixture_token(payload) : fixture_token("[]");
        if (fixture_verify(set, token, NULL, &refusal) != IA_R_NONE)
            ck_assert_msg(!strstr(refusal.detail, "hunter2") && !strstr(refusal.detail, "evil"), "%s", claims[i].label);
        free(payload);
        free(token);
    }
    ia_issuer_set_free(set);
}
END_TEST

/* What a refused token claims, for the administrator who set `issuer` or `audience` a little differently. */
static const struct {
    const char *label, *header, *payload;
    struct ia_token_claimed claimed;
    const char *detail;
} claimed_rows[] = {
    {"another issuer",
     "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"JWT\"}",
     "{\"iss\":\"https://other.example\",\"aud\":[\"a\",\"b c\"],\"azp\":\"dash\"}",
     {"https://other.example", "a b c", "dash", "k1", "JWT"},
     "iss is not a registered issuer"},
    {"a slash more",
     "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}",
     "{\"iss\":\"" ISS "/\"}",
     {ISS "/", "", "", "k1", ""},
     "differs from issuer 'idp' by a slash"},
    {"another audience",
     "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}",
     "{\"iss\":\"" ISS "\",\"aud\":\"billing\",\"exp\":1900000000}",
     {ISS, "billing", "", "k1", ""},
     "aud contains none"},
    {"an audience with a slash less",
     "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}",
     "{\"iss\":\"" ISS "\",\"aud\":\"https://mqtt.example\",\"exp\":1900000000}",
     {ISS, "https://mqtt.example", "", "k1", ""},
     "differs by a slash"},
    {"another key",
     "{\"alg\":\"EdDSA\",\"kid\":\"2024-01\"}",
     "{" CLAIMS "}",
     {ISS, "mqtt", "", "2024-01", ""},
     "kid is not"},
    {"types that are no texts",
     "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}",
     "{\"iss\":7,\"aud\":{\"a\":1},\"azp\":[\"x\",7]}",
     {"", "", "x", "k1", ""},
     "iss is not a string"},
    {"control characters",
     "{\"alg\":\"EdDSA\",\"kid\":\"a\\nb\"}",
     "{\"iss\":\"a\\u0007\\u0085\\u007f\\u00e9\"}",
     {"a???\xC3\xA9", "", "", "a?b", ""},
     "iss is not a registered issuer"},
};

START_TEST(refusal_has_what_the_token_claims)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_refusal refusal;
    const struct ia_token_claimed *want = &claimed_rows[_i].claimed, *got = &refusal.claimed;
    char *token =
        mint_token(mint_key(IA_KEY_ED25519, 0), IA_ALG_EDDSA, claimed_rows[_i].header, claimed_rows[_i].payload);
    ck_assert_int_ne(fixture_verify(set, token, NULL, &refusal), IA_R_NONE);
    ck_assert_msg(strstr(refusal.detail, claimed_rows[_i].detail), "%s", refusal.detail);
    ck_assert_str_eq(got->iss, want->iss);
    ck_assert_str_eq(got->aud, want->aud);
    ck_assert_str_eq(got->azp, want->azp);
    ck_assert_str_eq(got->kid, want->kid);
    ck_assert_str_eq(got->typ, want->typ);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(claimed_values_are_bounded_at_a_character)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    for (size_t extra = 0; extra < 4; extra++) {
        struct ia_token_refusal refusal;
        char *euros = mint_text("%s", ""), *whole;
        for (int i = 0; i < 100; i++) {
            char *longer = mint_text("%s\xE2\x82\xAC", euros);
            free(euros);
            euros = longer;
        }
        whole = mint_text("{\"iss\":\"%.*s%s\",\"aud\":[\"%0200d\",\"b\"]}", (int)extra, "abc", euros, 7);
        char *token = fixture_token(whole);
        ck_assert_int_eq(fixture_verify(set, token, NULL, &refusal), IA_R_TOKEN_ISSUER);
        ck_assert(ia_utf8_valid(refusal.claimed.iss, strlen(refusal.claimed.iss)));
        ck_assert_ptr_nonnull(strstr(refusal.claimed.iss, "\xE2\x80\xA6")); /* … */
        ck_assert_uint_gt(strlen(refusal.claimed.iss), 150);
        ck_assert_ptr_nonnull(strstr(refusal.claimed.aud, "00\xE2\x80\xA6"));
        free(euros);
        free(whole);
        free(token);
    }
    ia_issuer_set_free(set);
}
END_TEST

static char *many(const char *text, int n)
{
    char *all = mint_text("%s", "");
    for (int i = 0; i < n; i++) {
        char *longer = mint_text("%s%s%d ", all, text, i);
        free(all);
        all = longer;
    }
    return all;
}

START_TEST(mapped_scopes_are_bounded)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_scope_role map[IA_SCOPES_MAX + 1];
    char names[IA_SCOPES_MAX + 1][12];
    for (size_t i = 0; i <= IA_SCOPES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        map[i] = (struct ia_scope_role){names[i], "viewer"};
    }
    spec.scopes = map;
    spec.n_scopes = IA_SCOPES_MAX + 1;
    struct ia_issuer_set *set = fixture_one(spec);
    for (int n = IA_SCOPES_MAX; n <= IA_SCOPES_MAX + 1; n++) {
        /* 1,000 values that the issuer does not map are not counted, nor is a value that comes twice. */
        char *other = many("x", 1000), *first = many("s", n);
        char *payload = mint_text("{" CLAIMS ID ",\"scope\":\"%s %s s0\"}", other, first),
             *token = fixture_token(payload);
        struct ia_token_refusal refusal;
        enum ia_reason reason = fixture_verify(set, token, NULL, &refusal);
        ck_assert_int_eq(reason, n == IA_SCOPES_MAX ? IA_R_NONE : IA_R_TOKEN_CLAIMS);
        ck_assert_str_eq(refusal.detail,
                         n == IA_SCOPES_MAX ? "" : "more than 256 different scopes that the issuer maps");
        free(other);
        free(first);
        free(payload);
        free(token);
    }
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(claims_beyond_the_bound_are_unset)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made;
    char *payload = mint_text("{" CLAIMS ID);
    for (int i = 0; i < 200; i++) {
        char *longer = mint_text("%s,\"c%d\":%d", payload, i, i);
        free(payload);
        payload = longer;
    }
    char *whole = mint_text("%s}", payload), *token = fixture_token(whole);
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    ck_assert_uint_eq(made->n_claims, IA_CLAIMS_MAX);
    ck_assert_ptr_null(ia_token_variable(set, made, "claim.c199"));
    ck_assert_str_eq(ia_token_variable(set, made, "claim.c1"), "1");
    ia_token_free(made);
    free(payload);
    free(whole);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(app_id_claim_alone_names_the_app)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token *made;
    spec.app_id_claim = "sub";
    struct ia_issuer_set *set = fixture_one(spec);
    char *user = fixture_token("{" CLAIMS ID ",\"sub\":\"alice\"}"), *without_sub = fixture_token("{" CLAIMS ID "}");
    ck_assert_int_eq(fixture_verify(set, user, &made, NULL), IA_R_NONE);
    ck_assert_str_eq(made->principal, "app:idp:alice");
    ck_assert_int_eq(fixture_verify(set, without_sub, NULL, NULL), IA_R_TOKEN_CLAIMS);
    ia_token_free(made);
    free(user);
    free(without_sub);
    ia_issuer_set_free(set);
}
END_TEST

/* A pointer names the app as a claim's name does: that value and no other. */
static const struct {
    const char *label, *pointer, *claims, *principal; /* NULL: token_claims */
} app_id_pointers[] = {
    {"nested", "/ext/app", ",\"ext\":{\"app\":\"dash\"},\"client_id\":\"other\"", "app:idp:dash"},
    {"in an array", "/apps/1", ",\"apps\":[\"a\",\"dash\"]", "app:idp:dash"},
    {"a name with slashes", "/https:~1~1plant.example~1app", ",\"https://plant.example/app\":\"dash\"", "app:idp:dash"},
    {"at the top", "/sub", ",\"sub\":\"dash\"", "app:idp:dash"},
    {"nothing there: client_id is not tried", "/ext/app", ",\"client_id\":\"other\"", NULL},
    {"an object", "/ext", ",\"ext\":{\"app\":\"dash\"}", NULL},
    {"a number", "/ext/app", ",\"ext\":{\"app\":7}", NULL},
    {"an invalid value", "/ext/app", ",\"ext\":{\"app\":\"a/b\"}", NULL},
};

START_TEST(app_id_pointer_rows_decide_as_listed)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token *made = NULL;
    struct ia_token_refusal refusal;
    spec.app_id_claim = app_id_pointers[_i].pointer;
    struct ia_issuer_set *set = fixture_one(spec);
    char *payload = mint_text("{" CLAIMS "%s}", app_id_pointers[_i].claims), *token = fixture_token(payload);
    enum ia_reason reason = fixture_verify(set, token, &made, &refusal);
    const char *principal = app_id_pointers[_i].principal;
    ck_assert_msg(reason == (principal ? IA_R_NONE : IA_R_TOKEN_CLAIMS), "%s: %s", app_id_pointers[_i].label,
                  refusal.detail);
    ck_assert_msg(!principal || strcmp(made->principal, principal) == 0, "%s", app_id_pointers[_i].label);
    ia_token_free(made);
    free(payload);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

static struct ia_token *good_token(struct ia_issuer_set *set, const char *more)
{
    struct ia_token *made;
    char *payload = mint_text("{" CLAIMS ",\"client_id\":\"dash\"%s}", more), *token = fixture_token(payload);
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    free(payload);
    free(token);
    return made;
}

START_TEST(scopes_give_roles_that_follow_the_map)
{
    struct ia_scope_role map[] = {{"read", "viewer"}, {"admin", "root"}, {"write", "editor"}, {"write", "viewer"}};
    struct ia_issuer_spec spec = fixture_spec();
    const char *roles[4] = {0};
    spec.scopes = map;
    spec.n_scopes = 4;
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token *made = good_token(set, ",\"scope\":\"write read reader\"");
    ck_assert_uint_eq(ia_token_roles(set, made, roles, 4), 2);
    ck_assert_str_eq(roles[0], "editor");
    ck_assert_str_eq(roles[1], "viewer");
    roles[1] = NULL;
    ck_assert_uint_eq(ia_token_roles(set, made, roles, 1), 2); /* says how many there are, writes what fits */
    ck_assert_ptr_null(roles[1]);
    spec.n_scopes = 2; /* the map loses `write` */
    struct ia_issuer_set *newer = fixture_one(spec);
    ck_assert_uint_eq(ia_token_roles(newer, made, roles, 4), 1);
    ck_assert_str_eq(roles[0], "viewer");
    struct ia_issuer_set *empty = fixture_set(NULL, 0);
    ck_assert_uint_eq(ia_token_roles(empty, made, roles, 4), 0);
    ia_token_free(made);
    ia_issuer_set_free(set);
    ia_issuer_set_free(newer);
    ia_issuer_set_free(empty);
}
END_TEST

static const struct {
    const char *label, *client_id;
    bool fits;
} client_ids[] = {
    {"its principal", "app:idp:dash", true},
    {"its principal and more", "app:idp:dash/tab-1", true},
    {"more without the slash: another app's", "app:idp:dash2", false},
    {"another app's", "app:idp:cash", false},
    {"another issuer's", "app:other:dash", false},
    {"a device's", "sensor-7", false},
    {"empty", "", false},
};

START_TEST(client_id_rows_decide_as_listed)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made = good_token(set, "");
    ck_assert_msg(ia_token_allows_client_id(set, made, client_ids[_i].client_id, NULL) == client_ids[_i].fits, "%s",
                  client_ids[_i].label);
    ia_token_free(made);
    ia_issuer_set_free(set);
}
END_TEST

/* Under a template of `*`, which any client id matches. */
static const struct {
    const char *label, *client_id;
    int padding; /* so many digits behind it */
    const char *why;
} client_id_bounds[] = {
    {"512 bytes", "a", 511, NULL},
    {"513 bytes", "a", 512, "longer than 512"},
    {"60 KB", "a", 60000, "longer than 512"},
    {"empty", "", 0, "empty"},
    {"a slash", "app/1", 0, NULL},
    {"a blank and UTF-8", "caf\xC3\xA9 1", 0, NULL},
    {"a plus", "a+b", 0, "+ or #"},
    {"a hash", "#", 0, "+ or #"},
    {"a newline", "a\nb", 0, "control"},
    {"DEL", "a\x7F", 0, "control"},
    {"a C1 control", "a\xC2\x85", 0, "control"},
    {"no-break space, which is none", "a\xC2\xA0", 0, NULL},
    {"half a character", "a\xC3", 0, "UTF-8"},
    {"a surrogate", "\xED\xA0\x80", 0, "UTF-8"},
    {"overlong slash", "\xC0\xAF", 0, "UTF-8"},
};

START_TEST(client_id_bound_rows_decide_as_listed)
{
    static const char *const any[] = {"*"};
    struct ia_issuer_spec spec = fixture_spec();
    spec.client_id_templates = any;
    spec.n_client_id_templates = 1;
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token *made = good_token(set, "");
    int padding = client_id_bounds[_i].padding;
    char *id = padding ? mint_text("%s%0*d", client_id_bounds[_i].client_id, padding, 1)
                       : mint_text("%s", client_id_bounds[_i].client_id);
    const char *why = NULL, *wanted = client_id_bounds[_i].why;
    ck_assert_msg(ia_token_allows_client_id(set, made, id, &why) == !wanted, "%s", client_id_bounds[_i].label);
    ck_assert_msg(wanted ? why && strstr(why, wanted) : !why, "%s: %s", client_id_bounds[_i].label, why ? why : "");
    free(id);
    ia_token_free(made);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(client_id_template_with_tenant_and_claim)
{
    static const char *const templates[] = {"${tenant}-${claim.dept}-*"};
    struct ia_issuer_spec spec = fixture_spec();
    spec.tenant = "acme";
    spec.client_id_templates = templates;
    spec.n_client_id_templates = 1;
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token *with = good_token(set, ",\"dept\":\"rd\""), *without = good_token(set, "");
    ck_assert(ia_token_allows_client_id(set, with, "acme-rd-1", NULL));
    ck_assert(!ia_token_allows_client_id(set, with, "acme-hr-1", NULL));
    ck_assert(!ia_token_allows_client_id(set, without, "acme--1", NULL));
    ck_assert_str_eq(ia_token_variable(set, with, "tenant"), "acme");
    ia_token_free(with);
    ia_token_free(without);
    ia_issuer_set_free(set);
}
END_TEST

/* A token that was verified, under a set that changed since. */
static const char *const es256_only[] = {"ES256"}, *const other_audience[] = {"billing"}, *const id_token[] = {"JWT"};

#define CHANGE(function, statement)                                                                                    \
    static void function(struct ia_issuer_spec *s)                                                                     \
    {                                                                                                                  \
        statement;                                                                                                     \
    }
CHANGE(same, (void)s)
CHANGE(inactive, s->active = false)
CHANGE(renamed, s->name = "idp2")
CHANGE(moved, s->issuer = "https://idp.example/other")
CHANGE(no_keys, s->jwks = NULL)
CHANGE(other_algorithm, (s->algorithms = es256_only, s->n_algorithms = 1))
CHANGE(audience_removed, (s->audience = other_audience, s->n_audience = 1))
CHANGE(type_removed, (s->token_types = id_token, s->n_token_types = 1))
CHANGE(other_claim, s->app_id_claim = "sub")
CHANGE(invalid, s->n_audience = 0)
CHANGE(more_tenant, s->tenant = "acme")

static char *changed_jwks; /* freed by the case */

static void other_key(struct ia_issuer_spec *s)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    s->jwks = changed_jwks = mint_jwks(key, "k1");
    EVP_PKEY_free(key);
}

static void other_kid(struct ia_issuer_spec *s)
{
    s->jwks = changed_jwks = mint_jwks(mint_key(IA_KEY_ED25519, 0), "k2");
}

static const struct {
    const char *label;
    void (*change)(struct ia_issuer_spec *s);
    enum ia_reason reason;
} changes[] = {
    {"nothing changed", same, IA_R_NONE},
    {"something that does not matter", more_tenant, IA_R_NONE},
    {"issuer disabled", inactive, IA_R_ISSUER_INACTIVE},
    {"row got a problem", invalid, IA_R_ISSUER_INACTIVE},
    {"row removed", renamed, IA_R_TOKEN_ISSUER},
    {"row stands for another issuer", moved, IA_R_TOKEN_ISSUER},
    {"keys removed", no_keys, IA_R_TOKEN_KEY_UNKNOWN},
    {"kid removed", other_kid, IA_R_TOKEN_KEY_UNKNOWN},
    {"another key under the same kid", other_key, IA_R_TOKEN_KEY_UNKNOWN},
    {"algorithm no longer listed", other_algorithm, IA_R_TOKEN_ALGORITHM},
    {"audience removed", audience_removed, IA_R_TOKEN_AUDIENCE},
    {"type removed", type_removed, IA_R_TOKEN_TYPE},
    {"another claim names the app", other_claim, IA_R_RIGHTS_CHANGED},
};

START_TEST(revalidation_rows_decide_as_listed)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token *made = good_token(set, "");
    struct ia_token_refusal refusal;
    int64_t expires_at = 0;
    changes[_i].change(&spec);
    struct ia_issuer_set *newer = fixture_one(spec);
    enum ia_reason reason = ia_token_revalidate(newer, made, NOW, &expires_at, &refusal);
    ck_assert_msg(reason == changes[_i].reason, "%s: %s", changes[_i].label, ia_reason_name(reason));
    ck_assert_msg(expires_at == (reason == IA_R_NONE ? 1700000330 : 0), "%s: expires_at", changes[_i].label);
    ia_token_free(made);
    ia_issuer_set_free(set);
    ia_issuer_set_free(newer);
    free(changed_jwks);
}
END_TEST

START_TEST(revalidation_uses_the_current_leeway)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token *made = good_token(set, "");
    struct ia_token_refusal refusal;
    int64_t expires_at = 0;
    ck_assert_int_eq(ia_token_revalidate(set, made, 1700000329, &expires_at, &refusal), IA_R_NONE);
    ck_assert_int_eq(ia_token_revalidate(set, made, 1700000330, &expires_at, &refusal), IA_R_TOKEN_EXPIRED);
    spec.leeway_s = 0;
    struct ia_issuer_set *newer = fixture_one(spec);
    ck_assert_int_eq(ia_token_revalidate(newer, made, 1700000299, &expires_at, &refusal), IA_R_NONE);
    ck_assert_int_eq(expires_at, 1700000300);
    ck_assert_int_eq(ia_token_revalidate(newer, made, 1700000300, &expires_at, &refusal), IA_R_TOKEN_EXPIRED);
    ia_token_free(made);
    ia_issuer_set_free(set);
    ia_issuer_set_free(newer);
}
END_TEST

/* One set, one key, many threads: what is shared is only read. */
static void *verify_often(void *set)
{
    char *token = fixture_token("{" CLAIMS ID "}");
    for (int i = 0; i < 200; i++) {
        struct ia_token *made = NULL;
        struct ia_token_refusal refusal;
        struct ia_issuer_set *held = ia_issuer_set_ref(set);
        if (fixture_verify_at(held, token, strlen(token), NOW, NULL, &made, &refusal) != IA_R_NONE)
            abort();
        ia_token_free(ia_token_ref(made));
        ia_token_free(made);
        ia_issuer_set_free(held);
    }
    free(token);
    return NULL;
}

START_TEST(set_may_be_used_by_many_threads)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    pthread_t threads[4];
    for (int i = 0; i < ROWS(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, verify_often, set), 0);
    for (int i = 0; i < ROWS(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ia_issuer_set_free(set);
}
END_TEST

/* libjwt knows nothing of this code: what it mints must pass. */
static const struct {
    jwt_alg_t made;
    const char *alg;
    enum ia_key_type type;
} minted[] = {
    {JWT_ALG_RS256, "RS256", IA_KEY_RSA},  {JWT_ALG_RS384, "RS384", IA_KEY_RSA},  {JWT_ALG_RS512, "RS512", IA_KEY_RSA},
    {JWT_ALG_ES256, "ES256", IA_KEY_P256}, {JWT_ALG_ES384, "ES384", IA_KEY_P384},
};

static char *libjwt_token(jwt_alg_t alg, EVP_PKEY *key, const char *payload)
{
    jwt_t *jwt = NULL;
    BIO *pem = BIO_new(BIO_s_mem());
    char *bytes;
    ck_assert_int_eq(PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(pem, &bytes);
    ck_assert_int_eq(jwt_new(&jwt), 0);
    ck_assert_int_eq(jwt_add_header(jwt, "kid", "k1"), 0);
    ck_assert_int_eq(jwt_add_grants_json(jwt, payload), 0);
    ck_assert_int_eq(jwt_set_alg(jwt, alg, (unsigned char *)bytes, (int)len), 0);
    char *token = jwt_encode_str(jwt);
    ck_assert_ptr_nonnull(token);
    jwt_free(jwt);
    BIO_free(pem);
    return token;
}

START_TEST(token_minted_by_libjwt_is_accepted)
{
    struct ia_issuer_spec spec = fixture_spec();
    EVP_PKEY *key = mint_key(minted[_i].type, 2048);
    const char *const algorithms[] = {minted[_i].alg};
    char *jwks = mint_jwks(key, "k1"), *token = libjwt_token(minted[_i].made, key, "{" CLAIMS ID "}");
    spec.jwks = jwks;
    spec.algorithms = algorithms;
    spec.n_algorithms = 1;
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token_refusal refusal;
    ck_assert_msg(fixture_verify(set, token, NULL, &refusal) == IA_R_NONE, "%s: %s", minted[_i].alg, refusal.detail);
    free(token);
    free(jwks);
    ia_issuer_set_free(set);
}
END_TEST

/* The attack that libjwt 1.10 falls for: HS256 with the public key's text as the secret. */
START_TEST(hmac_with_the_public_key_is_refused)
{
    struct ia_issuer_spec spec = fixture_spec();
    EVP_PKEY *key = mint_key(IA_KEY_RSA, 2048);
    char *jwks = mint_jwks(key, "k1"), *bytes;
    BIO *pem = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_PUBKEY(pem, key), 1);
    long len = BIO_get_mem_data(pem, &bytes);
    jwt_t *jwt = NULL;
    jwt_new(&jwt);
    jwt_add_header(jwt, "kid", "k1");
    jwt_add_grants_json(jwt, "{" CLAIMS ID "}");
    ck_assert_int_eq(jwt_set_alg(jwt, JWT_ALG_HS256, (unsigned char *)bytes, (int)len), 0);
    char *token = jwt_encode_str(jwt);
    spec.jwks = jwks;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_int_eq(fixture_verify(set, token, NULL, NULL), IA_R_TOKEN_ALGORITHM);
    free(token);
    jwt_free(jwt);
    BIO_free(pem);
    free(jwks);
    ia_issuer_set_free(set);
}
END_TEST

int main(void)
{
    fixture_spec();
    mint_key(IA_KEY_RSA, 2048);
    Suite *s = suite_create("token");
    TCase *c = tcase_create("token");
    tcase_add_loop_test(c, claim_rows_decide_as_listed, 0, ROWS(claims));
    tcase_add_loop_test(c, header_rows_decide_as_listed, 0, ROWS(headers));
    tcase_add_loop_test(c, binding_rows_decide_as_listed, 0, ROWS(bindings));
    tcase_add_loop_test(c, client_id_rows_decide_as_listed, 0, ROWS(client_ids));
    tcase_add_loop_test(c, revalidation_rows_decide_as_listed, 0, ROWS(changes));
    tcase_add_loop_test(c, token_minted_by_libjwt_is_accepted, 0, ROWS(minted));
    tcase_add_test(c, hmac_with_the_public_key_is_refused);
    tcase_add_test(c, token_by_another_key_is_refused);
    tcase_add_test(c, signature_is_judged_before_the_claims);
    tcase_add_test(c, issuer_cannot_sign_for_another);
    tcase_add_test(c, verified_token_holds_what_counts);
    tcase_add_test(c, refusal_never_quotes_the_token);
    tcase_add_loop_test(c, refusal_has_what_the_token_claims, 0, ROWS(claimed_rows));
    tcase_add_test(c, claimed_values_are_bounded_at_a_character);
    tcase_add_loop_test(c, client_id_bound_rows_decide_as_listed, 0, ROWS(client_id_bounds));
    tcase_add_test(c, mapped_scopes_are_bounded);
    tcase_add_test(c, claims_beyond_the_bound_are_unset);
    tcase_add_test(c, app_id_claim_alone_names_the_app);
    tcase_add_loop_test(c, app_id_pointer_rows_decide_as_listed, 0, ROWS(app_id_pointers));
    tcase_add_test(c, scopes_give_roles_that_follow_the_map);
    tcase_add_test(c, client_id_template_with_tenant_and_claim);
    tcase_add_test(c, revalidation_uses_the_current_leeway);
    tcase_add_test(c, set_may_be_used_by_many_threads);
    suite_add_tcase(s, c);
    return run_suite(s);
}
