// SPDX-License-Identifier: ISC
#include "fixture.h"

#include "mint.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static char problem[1024];

static void on_problem(void *ctx, int64_t index, const char *text)
{
    const struct ia_issuer_spec *specs = ctx;
    snprintf(problem, sizeof problem, "%s: %s", specs[index].name, text);
}

static char note[1024];

static void on_note(void *ctx, int64_t index, const char *text)
{
    const struct ia_issuer_spec *specs = ctx;
    snprintf(note, sizeof note, "%s: %s", specs[index].name, text);
}

struct ia_issuer_spec fixture_spec(void)
{
    static const char *const audience[] = {"mqtt", "https://mqtt.example/"};
    static const char *const algorithms[] = {"EdDSA", "ES256"};
    static const char *const templates[] = {"app:${issuer}:${app_id}", "app:${issuer}:${app_id}/*"};
    static const char *const types[] = {"at+jwt", "JWT"};
    static char *jwks;
    if (!jwks)
        jwks = mint_jwks(mint_key(IA_KEY_ED25519, 0), "k1");
    return (struct ia_issuer_spec){.name = "idp",
                                   .issuer = ISS,
                                   .audience = audience,
                                   .n_audience = 2,
                                   .algorithms = algorithms,
                                   .n_algorithms = 2,
                                   .jwks = jwks,
                                   .client_id_templates = templates,
                                   .n_client_id_templates = 2,
                                   .token_types = types,
                                   .n_token_types = 2,
                                   .leeway_s = 30,
                                   .active = true};
}

struct ia_issuer_set *fixture_set(const struct ia_issuer_spec *specs, size_t n)
{
    struct ia_issuer_set *set = NULL;
    struct ia_err err = {0};
    const struct ia_issuer_report report = {.problem = {on_problem, (void *)specs}, .note = {on_note, (void *)specs}};
    problem[0] = note[0] = '\0';
    ck_assert_msg(ia_issuer_set_build(specs, n, &report, &set, &err) == IA_OK, "%s", err.msg);
    return set;
}

struct ia_issuer_set *fixture_one(struct ia_issuer_spec spec)
{
    return fixture_set(&spec, 1);
}

const char *fixture_problem(void)
{
    return problem;
}

const char *fixture_note(void)
{
    return note;
}

char *fixture_token(const char *payload)
{
    return mint_token(mint_key(IA_KEY_ED25519, 0), IA_ALG_EDDSA,
                      "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"at+jwt\"}", payload);
}

enum ia_reason fixture_verify_at(struct ia_issuer_set *set, const char *token, size_t len, int64_t now,
                                 const void *cert, struct ia_token **out, struct ia_token_refusal *refusal)
{
    struct ia_presented presented;
    ia_presented_init(&presented, token, len);
    enum ia_reason reason = ia_token_verify(
        &(struct ia_token_check){.issuers = set, .presented = &presented, .now = now, .cert_sha256 = cert}, out,
        refusal);
    ia_presented_clear(&presented);
    return reason;
}

enum ia_reason fixture_verify_cached(struct ia_token_cache *cache, struct ia_issuer_set *set, const char *token,
                                     size_t len, int64_t now, const void *cert, struct ia_token **out,
                                     struct ia_token_refusal *refusal)
{
    struct ia_presented presented;
    ia_token_cache_classify(cache, token, len, &presented);
    enum ia_reason reason = ia_token_cache_verify(
        cache, &(struct ia_token_check){.issuers = set, .presented = &presented, .now = now, .cert_sha256 = cert}, out,
        refusal);
    ia_presented_clear(&presented);
    return reason;
}

enum ia_reason fixture_verify(struct ia_issuer_set *set, const char *token, struct ia_token **out,
                              struct ia_token_refusal *refusal)
{
    struct ia_token *made = NULL;
    struct ia_token_refusal own;
    if (!refusal)
        refusal = &own;
    memset(refusal, 'x', sizeof *refusal); /* so that a field left unset is seen */
    enum ia_reason reason = fixture_verify_at(set, token, strlen(token), NOW, NULL, &made, refusal);
    ck_assert((made != NULL) == (reason == IA_R_NONE));
    ck_assert((refusal->detail[0] == '\0') == (reason == IA_R_NONE));
    if (out)
        *out = made;
    else
        ia_token_free(made);
    return reason;
}
