// SPDX-License-Identifier: ISC
/* What a token costs at connect, six figures side by side for each algorithm:
 *
 *   bare       EVP_DigestVerify alone, with a key that was parsed before: what no verifier can do without
 *   first      ia_token_verify: form, JSON, issuer, key, signature, claims
 *   ignored    the same of a token with roles in nested claims, as Keycloak writes them, that no setting names
 *   nested     the same where the issuer's scope_claims name them
 *   repeated   ia_token_cache_classify and _verify of a token that passed before
 *   libjwt     jwt_decode, which parses the key each time (it knows neither PS256 nor EdDSA)
 *
 * and then what iot_auth.revoke_tokens adds to a connect: the look-up of a token that is not revoked in few and in many rows. */
#include "bench.h"
#include "oauth/revocation.h"
#include "oauth/token_cache.h"
#include "tests/unit/oauth/mint.h"

#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#define NOW    1700000000
#define ROUNDS 100
#define CALLS  100 /* in a round: short ones, since other work on the machine spoils long ones */
#define CLAIMS                                                                                                         \
    "\"iss\":\"https://idp.example/realms/plant\",\"aud\":[\"mqtt\",\"account\"],\"exp\":1700000300,"                  \
    "\"iat\":1699999700,\"jti\":\"9c3f1b0a-8a52-4a0b-8f0e-2f4f3c1d7e11\",\"sub\":\"5b1c\",\"azp\":\"dashboard\","      \
    "\"client_id\":\"dashboard\",\"scope\":\"openid telemetry:read telemetry:write\",\"dept\":\"ops\""
#define PAYLOAD "{" CLAIMS "}"
#define NESTED                                                                                                         \
    "{" CLAIMS ",\"realm_access\":{\"roles\":[\"operator\",\"offline_access\"]},"                                      \
    "\"resource_access\":{\"mqtt\":{\"roles\":[\"reader\",\"writer\"]}}}"

struct figures {
    enum ia_alg alg;
    jwt_alg_t libjwt; /* JWT_ALG_NONE: it cannot */
    EVP_PKEY *key;
    char *token, *nested_token; /* NUL-terminated */
    size_t len;
    struct ia_issuer_set *set, *nested_set;
    struct ia_token_cache *cache;
    char *pem;
    struct ia_jws jws;
    uint8_t signature[1200]; /* as OpenSSL wants it */
    size_t signature_len;
};

static void use_pss(EVP_PKEY_CTX *ctx)
{
    bench_need(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                   EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1,
               "PSS");
}

static void run_bare(void *ctx, size_t calls)
{
    struct figures *f = ctx;
    for (size_t i = 0; i < calls; i++) {
        EVP_PKEY_CTX *key_ctx = NULL;
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        const EVP_MD *digest = f->alg == IA_ALG_EDDSA ? NULL : EVP_sha256();
        bench_need(EVP_DigestVerifyInit(md, &key_ctx, digest, NULL, f->key) == 1, "init");
        if (ia_alg_is_pss(f->alg))
            use_pss(key_ctx);
        bench_need(EVP_DigestVerify(md, f->signature, f->signature_len, (const uint8_t *)f->jws.signed_text,
                                    f->jws.signed_len) == 1,
                   "bare");
        EVP_MD_CTX_free(md);
    }
}

static struct ia_token *verify_text(struct ia_issuer_set *set, const char *text, size_t len)
{
    struct ia_token *token;
    struct ia_token_refusal refusal;
    struct ia_presented presented;
    ia_presented_init(&presented, text, len);
    const struct ia_token_check check = {.issuers = set, .presented = &presented, .now = NOW};
    bench_need(ia_token_verify(&check, &token, &refusal) == IA_R_NONE, "first");
    ia_presented_clear(&presented);
    return token;
}

static void run_first(void *ctx, size_t calls)
{
    struct figures *f = ctx;
    for (size_t i = 0; i < calls; i++)
        ia_token_free(verify_text(f->set, f->token, f->len));
}

static void run_ignored(void *ctx, size_t calls)
{
    struct figures *f = ctx;
    size_t len = strlen(f->nested_token);
    for (size_t i = 0; i < calls; i++)
        ia_token_free(verify_text(f->set, f->nested_token, len));
}

static void run_nested(void *ctx, size_t calls)
{
    struct figures *f = ctx;
    size_t len = strlen(f->nested_token);
    for (size_t i = 0; i < calls; i++)
        ia_token_free(verify_text(f->nested_set, f->nested_token, len));
}

static void run_repeated(void *ctx, size_t calls)
{
    struct figures *f = ctx;
    for (size_t i = 0; i < calls; i++) {
        struct ia_token *token;
        struct ia_token_refusal refusal;
        struct ia_presented presented;
        ia_token_cache_classify(f->cache, f->token, f->len, &presented);
        const struct ia_token_check check = {.issuers = f->set, .presented = &presented, .now = NOW};
        bench_need(ia_token_cache_verify(f->cache, &check, &token, &refusal) == IA_R_NONE, "repeated");
        ia_presented_clear(&presented);
        ia_token_free(token);
    }
}

static void run_libjwt(void *ctx, size_t calls)
{
    struct figures *f = ctx;
    for (size_t i = 0; i < calls; i++) {
        jwt_t *jwt = NULL;
        bench_need(jwt_decode(&jwt, f->token, (unsigned char *)f->pem, (int)strlen(f->pem)) == 0, "libjwt");
        jwt_free(jwt);
    }
}

static struct ia_issuer_set *issuers(enum ia_alg alg, EVP_PKEY *key, const char *const *scope_claims,
                                     size_t n_scope_claims)
{
    const char *const audience[] = {"mqtt"}, *const algorithms[] = {ia_alg_name(alg)}, *const types[] = {"JWT"},
                      *const templates[] = {"app:${issuer}:${app_id}"};
    char *jwks = mint_jwks(key, "key-1");
    struct ia_issuer_spec spec = {.name = "idp",
                                  .issuer = "https://idp.example/realms/plant",
                                  .audience = audience,
                                  .n_audience = 1,
                                  .algorithms = algorithms,
                                  .n_algorithms = 1,
                                  .jwks = jwks,
                                  .client_id_templates = templates,
                                  .n_client_id_templates = 1,
                                  .token_types = types,
                                  .n_token_types = 1,
                                  .scope_claims = scope_claims,
                                  .n_scope_claims = n_scope_claims,
                                  .active = true};
    struct ia_issuer_set *set = NULL;
    bench_need(ia_issuer_set_build(&spec, 1, NULL, &set, NULL) == IA_OK, "issuers");
    free(jwks);
    return set;
}

/* r || s as DER, for the bare verification. */
static void der_signature(struct figures *f)
{
    unsigned char *at = f->signature;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    size_t half = f->jws.signature_len / 2;
    ECDSA_SIG_set0(pair, BN_bin2bn(f->jws.signature, (int)half, NULL),
                   BN_bin2bn(f->jws.signature + half, (int)half, NULL));
    f->signature_len = (size_t)i2d_ECDSA_SIG(pair, &at);
    ECDSA_SIG_free(pair);
}

static void prepare(struct figures *f, enum ia_key_type type)
{
    static const char *const pointers[] = {"/scope", "/scp", "/realm_access/roles", "/resource_access/mqtt/roles"};
    char header[128], detail[IA_DETAIL_MAX], *bytes;
    f->key = mint_key(type, 2048);
    (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"key-1\"}", ia_alg_name(f->alg));
    f->token = mint_token(f->key, f->alg, header, PAYLOAD);
    f->nested_token = mint_token(f->key, f->alg, header, NESTED);
    f->len = strlen(f->token);
    f->set = issuers(f->alg, f->key, pointers, 2);
    f->nested_set = issuers(f->alg, f->key, pointers, 4);
    bench_need(ia_token_cache_new(10000, &f->cache, NULL) == IA_OK, "cache");
    bench_need(ia_jws_parse(f->token, f->len, &f->jws, detail) == IA_R_NONE, "parse");
    memcpy(f->signature, f->jws.signature, f->jws.signature_len);
    f->signature_len = f->jws.signature_len;
    if (f->alg == IA_ALG_ES256)
        der_signature(f);
    BIO *bio = BIO_new(BIO_s_mem());
    bench_need(PEM_write_bio_PUBKEY(bio, f->key) == 1, "PEM");
    long len = BIO_get_mem_data(bio, &bytes);
    f->pem = mint_text("%.*s", (int)len, bytes);
    BIO_free(bio);
}

static void release(struct figures *f)
{
    ia_jws_clear(&f->jws);
    ia_token_cache_free(f->cache);
    ia_issuer_set_free(f->set);
    ia_issuer_set_free(f->nested_set);
    free(f->token);
    free(f->nested_token);
    free(f->pem);
}

static void report(struct figures *f)
{
    double bare = bench_ns(run_bare, f, CALLS, ROUNDS), first = bench_ns(run_first, f, CALLS, ROUNDS);
    double ignored = bench_ns(run_ignored, f, CALLS, ROUNDS), nested = bench_ns(run_nested, f, CALLS, ROUNDS);
    double repeated = bench_ns(run_repeated, f, CALLS * 10, ROUNDS);
    printf("%-6s %9.2f %9.2f %9.2f %9.2f %9.2f ", ia_alg_name(f->alg), bare / 1e3, first / 1e3, ignored / 1e3,
           nested / 1e3, repeated / 1e3);
    if (f->libjwt == JWT_ALG_NONE) {
        printf("%9s %11.2f %15.2f %12s\n", "-", first / bare, nested / ignored, "-");
        return;
    }
    double libjwt = bench_ns(run_libjwt, f, CALLS / 20, ROUNDS);
    printf("%9.2f %11.2f %15.2f %12.1f\n", libjwt / 1e3, first / bare, nested / ignored, libjwt / bare);
}

/* ---- revocations */

struct look_up {
    const struct ia_token *token;
    struct ia_revocation_set *rows;
};

static void run_look_up(void *ctx, size_t calls)
{
    struct look_up *l = ctx;
    char detail[IA_DETAIL_MAX];
    for (size_t i = 0; i < calls; i++)
        bench_need(ia_revocations_check(l->rows, l->token, NOW, detail) == IA_R_NONE, "look-up");
}

static void report_revocations(struct figures *f)
{
    enum { MANY = 100000 };
    struct ia_token *token = verify_text(f->nested_set, f->nested_token, strlen(f->nested_token));
    struct ia_revocation *rows = calloc(MANY, sizeof *rows);
    char(*names)[12] = calloc(MANY, sizeof *names);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], "j%d", i);
        rows[i] = (struct ia_revocation){
            .id = i + 1, .issuer = "idp", .claim = "/jti", .value = names[i], .issued_before = NOW};
    }
    printf("revoked tokens: a token with %zu values, of which a session keeps %zu bytes\n", token->n_marks,
           token->n_marks * sizeof token->marks[0]);
    for (size_t n = 10; n <= MANY; n *= 10000) {
        struct look_up l = {.token = token};
        bench_need(ia_revocations_build(rows, n, &l.rows, NULL) == IA_OK, "rows");
        printf("look-up in %6zu rows %9.3f\n", n, bench_ns(run_look_up, &l, CALLS, ROUNDS) / 1e3);
        ia_revocations_free(l.rows);
    }
    ia_token_free(token);
    free(names);
    free(rows);
}

int main(void)
{
    static const struct {
        enum ia_alg alg;
        enum ia_key_type type;
        jwt_alg_t libjwt;
    } rows[] = {
        {IA_ALG_RS256, IA_KEY_RSA, JWT_ALG_RS256},
        {IA_ALG_PS256, IA_KEY_RSA, JWT_ALG_NONE},
        {IA_ALG_ES256, IA_KEY_P256, JWT_ALG_ES256},
        {IA_ALG_EDDSA, IA_KEY_ED25519, JWT_ALG_NONE},
    };
    printf("one token, microseconds (best of %d rounds)\n", ROUNDS);
    printf("%-6s %9s %9s %9s %9s %9s %9s %11s %15s %12s\n", "", "bare", "first", "ignored", "nested", "repeated",
           "libjwt", "first:bare", "nested:ignored", "libjwt:bare");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct figures f = {.alg = rows[i].alg, .libjwt = rows[i].libjwt};
        prepare(&f, rows[i].type);
        report(&f);
        if (i + 1 == sizeof rows / sizeof rows[0])
            report_revocations(&f);
        release(&f);
    }
    return 0;
}
