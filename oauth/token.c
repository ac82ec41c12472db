// SPDX-License-Identifier: ISC
#include "oauth/token.h"

#include "common/principal.h"
#include "oauth/claims.h"
#include "oauth/issuer_set.h"
#include "oauth/json.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lays things out one after the other in a block; with block NULL it only counts how long that must be. */
struct layout {
    char *block;
    size_t used;
};

static void *place_bytes(struct layout *l, const void *bytes, size_t len)
{
    char *at = l->block ? l->block + l->used : NULL;
    if (at && bytes)
        memcpy(at, bytes, len);
    l->used += len;
    return at;
}

/* A copy of text[0..len) with a NUL. */
static char *place_text(struct layout *l, const char *text, size_t len)
{
    char *at = place_bytes(l, text, len);
    place_bytes(l, "", 1);
    return at;
}

static const char *place_optional(struct layout *l, const char *text)
{
    return text ? place_text(l, text, strlen(text)) : NULL;
}

static void place_slices(struct layout *l, const char **array, const struct ia_slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = place_text(l, slices[i].at, slices[i].len);
        if (array)
            array[i] = at;
    }
}

static void place_claims(struct layout *l, struct ia_claim *array, const struct ia_claims *claims)
{
    for (size_t i = 0; i < claims->n_claims; i++) {
        const struct ia_kept_claim *kept = &claims->claims[i];
        struct ia_claim claim = {.pointer = place_optional(l, kept->pointer),
                                 .value = place_optional(l, kept->text ? kept->text : kept->number)};
        if (array)
            array[i] = claim;
    }
}

static const char *place_principal(struct layout *l, const struct ia_issuer *issuer, const char *app_id)
{
    size_t size = ia_principal_app(issuer->name, app_id, NULL, 0) + 1;
    char *at = place_bytes(l, NULL, size);
    if (at)
        (void)ia_principal_app(issuer->name, app_id, at, size);
    return at;
}

/* Everything that a token is made of. */
struct token_source {
    const struct ia_issuer_set *set;
    const struct ia_issuer *issuer;
    const struct ia_jws *jws;
    const struct ia_jwk *key;
    const struct ia_claims *claims;
};

/* Lay out the token; the arrays come first, for their alignment.  *t gets the addresses. */
static void lay_out_token(struct layout *l, const struct token_source *from, struct ia_token *t)
{
    const struct ia_claims *claims = from->claims;
    place_bytes(l, NULL, sizeof *t);
    const char **audience = place_bytes(l, NULL, claims->n_audience * sizeof(char *));
    const char **scopes = place_bytes(l, NULL, claims->n_scopes * sizeof(char *));
    struct ia_claim *kept = place_bytes(l, NULL, claims->n_claims * sizeof *kept);
    const uint64_t *marks = place_bytes(l, claims->marks, claims->n_marks * sizeof *marks);
    *t = (struct ia_token){.audience = audience,
                           .n_audience = claims->n_audience,
                           .scopes = scopes,
                           .n_scopes = claims->n_scopes,
                           .claims = kept,
                           .n_claims = claims->n_claims,
                           .marks = marks,
                           .n_marks = claims->n_marks,
                           .issuer = place_optional(l, from->issuer->name),
                           .iss = place_optional(l, from->issuer->issuer),
                           .app_id = place_optional(l, claims->app_id),
                           .principal = place_principal(l, from->issuer, claims->app_id),
                           .kid = from->jws->has_kid ? place_optional(l, from->jws->kid) : NULL,
                           .typ = place_optional(l, from->jws->typ)};
    place_slices(l, audience, claims->audience, claims->n_audience);
    place_slices(l, scopes, claims->scopes, claims->n_scopes);
    place_claims(l, kept, claims);
}

static struct ia_token *make_token(const struct token_source *from)
{
    struct ia_token head;
    struct layout layout = {0};
    lay_out_token(&layout, from, &head);
    size_t size = layout.used;
    layout = (struct layout){.block = malloc(size)};
    if (!layout.block)
        return NULL;
    lay_out_token(&layout, from, &head);
    ia_ref_init(&head.refs);
    head.size = size;
    head.alg = from->jws->alg;
    head.claim_rules = from->issuer->claim_rules;
    head.rivals = ia_token_rivals(from->set, from->issuer);
    head.exp = from->claims->exp;
    head.iat = from->claims->iat;
    head.expires_at = ia_claims_expiry(head.exp, from->issuer);
    head.not_before = from->claims->not_before;
    head.bound = from->claims->bound;
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): set by check_header
    memcpy(head.key_id, from->key->key_id, sizeof head.key_id);
    if (head.bound)
        memcpy(head.cert_sha256, from->claims->cert_sha256, sizeof head.cert_sha256);
    return memcpy(layout.block, &head, sizeof head);
}

struct ia_token *ia_token_ref(struct ia_token *token)
{
    ia_ref_take(&token->refs);
    return token;
}

void ia_token_free(struct ia_token *token)
{
    if (!token || !ia_ref_drop(&token->refs))
        return;
    OPENSSL_cleanse(token, token->size); /* claims hold personal data */
    free(token);
}

static enum ia_reason refuse_issuer(const struct ia_issuer_set *set, const char *iss, struct ia_token_refusal *refusal)
{
    if (!iss)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_ISSUER, "iss is missing");
    const struct ia_issuer *resembling = ia_issuer_by_iss_without_slash(set, iss);
    if (!resembling)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_ISSUER, "iss is not a registered issuer");
    return ia_refusal_set(refusal->detail, IA_R_TOKEN_ISSUER,
                          "iss is not a registered issuer: it differs from issuer '%.100s' by a slash at its end",
                          resembling->name);
}

/* Of several rows with that `iss` the one whose audience the token names.  A token that fits two is nobody's: which
 * rights would it have? */
static enum ia_reason select_row(struct ia_issuer *const *rows, size_t n, const json_t *payload,
                                 struct ia_claims *scratch, const struct ia_issuer **out,
                                 struct ia_token_refusal *refusal)
{
    const struct ia_issuer *found = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!ia_claims_fit_audience(payload, rows[i], scratch))
            continue;
        if (found)
            return ia_refusal_set(refusal->detail, IA_R_TOKEN_AUDIENCE,
                                  "the audience is one of issuer '%.50s' and one of issuer '%.50s', both with that iss",
                                  found->name, rows[i]->name);
        found = rows[i];
    }
    if (!found)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_AUDIENCE,
                              "the audience is none of the %zu issuers with that iss", n);
    *out = found;
    return IA_R_NONE;
}

/* The issuer that an unverified payload names: a key to look up by, trusted only when that issuer's key has signed. */
static enum ia_reason find_issuer(const struct ia_issuer_set *set, const json_t *payload, struct ia_claims *scratch,
                                  const struct ia_issuer **out, struct ia_token_refusal *refusal)
{
    bool wrong_type;
    const char *iss = ia_json_text(payload, "iss", &wrong_type);
    if (wrong_type)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_CLAIMS, "iss is not a string");
    struct ia_issuer *const *rows = NULL;
    size_t n = iss ? ia_issuers_by_iss(set, iss, &rows) : 0;
    if (n == 0)
        return refuse_issuer(set, iss, refusal);
    const struct ia_issuer *issuer = n == 1 ? rows[0] : NULL;
    enum ia_reason reason = issuer ? IA_R_NONE : select_row(rows, n, payload, scratch, &issuer, refusal);
    if (reason != IA_R_NONE)
        return reason;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): select_row has set it where it refuses nothing
    snprintf(refusal->issuer, sizeof refusal->issuer, "%s", issuer->name);
    *out = issuer;
    const char *problem = ia_issuer_problem(issuer);
    return problem ? ia_refusal_set(refusal->detail, IA_R_ISSUER_INACTIVE, "%s", problem) : IA_R_NONE;
}

/* The key that the header names, or without a kid the only one that fits (OpenID Connect Core section 10.1).  Where it is
 * not found, the provider may have published it since. */
static enum ia_reason find_key(const struct ia_issuer *issuer, const struct ia_jws *jws, const struct ia_jwk **key,
                               struct ia_token_refusal *refusal)
{
    const char *kid = jws->has_kid ? jws->kid : NULL;
    enum ia_jwks_found found = ia_jwks_find(issuer->jwks, kid, ia_alg_set(jws->alg) & issuer->algorithms, key);
    refusal->refresh_keys = found != IA_JWKS_FOUND;
    if (!kid && found != IA_JWKS_FOUND)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_KEY_UNKNOWN, "the header has no kid, and %s fits alg",
                              found == IA_JWKS_AMBIGUOUS ? "more than one key of the issuer" : "no key of the issuer");
    switch (found) {
    case IA_JWKS_FOUND:
        return IA_R_NONE;
    case IA_JWKS_NO_ALG:
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_ALGORITHM, "alg is not for the key of that kid");
    case IA_JWKS_AMBIGUOUS:
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_KEY_UNKNOWN,
                              "several keys of the issuer have that kid and fit alg");
    case IA_JWKS_NO_KID:
        break;
    }
    return ia_refusal_set(refusal->detail, IA_R_TOKEN_KEY_UNKNOWN, "kid is not one of the issuer's keys");
}

/* Algorithm, type and key, as the header names them. */
static enum ia_reason check_header(const struct ia_issuer *issuer, const struct ia_jws *jws, const struct ia_jwk **key,
                                   struct ia_token_refusal *refusal)
{
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_issuer has set it where it refuses nothing
    if (!(issuer->algorithms & ia_alg_set(jws->alg)))
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_ALGORITHM, "alg is not one of the issuer's algorithms");
    if (!ia_issuer_accepts_type(issuer, jws->typ))
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_TYPE, "typ is not one of the issuer's token types");
    return find_key(issuer, jws, key, refusal);
}

/* A signature that does not verify may be by a new key under the same kid. */
static enum ia_reason check_signature(const struct ia_jws *jws, const struct ia_jwk *key,
                                      struct ia_token_refusal *refusal)
{
    enum ia_reason reason = ia_signature_verify(jws, key, refusal->detail);
    refusal->refresh_keys = reason == IA_R_TOKEN_SIGNATURE;
    return reason;
}

static enum ia_reason take_token(const struct token_source *from, const struct ia_token_check *check,
                                 struct ia_token **out, struct ia_token_refusal *refusal)
{
    struct ia_token *token = make_token(from);
    if (!token)
        return ia_refusal_set(refusal->detail, IA_R_INTERNAL, IA_NOMEM_TEXT);
    enum ia_reason reason = ia_token_check_binding(token, check->cert_sha256, refusal);
    if (reason == IA_R_NONE)
        *out = token;
    else
        ia_token_free(token);
    return reason;
}

/* Check a decoded token: the signature first, then the claims. */
static enum ia_reason check_token(const struct ia_token_check *check, const json_t *payload, struct ia_token **out,
                                  struct ia_token_refusal *refusal)
{
    const struct ia_jws *jws = &check->presented->jws;
    struct ia_claims claims;
    struct token_source from = {.set = check->issuers, .jws = jws, .claims = &claims};
    enum ia_reason reason = find_issuer(check->issuers, payload, &claims, &from.issuer, refusal);
    if (reason == IA_R_NONE)
        reason = check_header(from.issuer, jws, &from.key, refusal);
    if (reason == IA_R_NONE)
        reason = check_signature(jws, from.key, refusal);
    if (reason == IA_R_NONE)
        reason = ia_claims_validate(payload, from.issuer, check->now, &claims, refusal->detail);
    return reason == IA_R_NONE ? take_token(&from, check, out, refusal) : reason;
}

static void copy_claimed(const json_t *value, char out[IA_CLAIMED_MAX])
{
    size_t i;
    json_t *entry;
    if (json_is_string(value))
        ia_claimed_add(out, json_string_value(value), json_string_length(value));
    json_array_foreach(value, i, entry) {
        if (json_is_string(entry))
            ia_claimed_add(out, json_string_value(entry), json_string_length(entry));
    }
}

static void describe_claimed(const struct ia_jws *jws, const json_t *payload, struct ia_token_claimed *out)
{
    copy_claimed(json_object_get(payload, "iss"), out->iss);
    copy_claimed(json_object_get(payload, "aud"), out->aud);
    copy_claimed(json_object_get(payload, "azp"), out->azp);
    ia_claimed_add(out->kid, jws->kid, strlen(jws->kid));
    ia_claimed_add(out->typ, jws->typ, strlen(jws->typ));
}

static enum ia_reason verify_opened(const struct ia_token_check *check, struct ia_token **out,
                                    struct ia_token_refusal *refusal)
{
    const char *why;
    struct ia_jws *jws = &check->presented->jws;
    enum ia_reason reason = ia_jws_decode(jws, refusal->detail);
    if (reason != IA_R_NONE)
        return reason;
    json_auto_t *payload = ia_json_load(jws->payload, jws->payload_len, &why);
    if (payload)
        reason = check_token(check, payload, out, refusal);
    else
        reason = ia_refusal_set(refusal->detail, IA_R_TOKEN_MALFORMED, "the payload %s", why);
    if (reason != IA_R_NONE)
        describe_claimed(jws, payload, &refusal->claimed);
    return reason;
}

enum ia_reason ia_token_verify(const struct ia_token_check *check, struct ia_token **out,
                               struct ia_token_refusal *refusal)
{
    struct ia_presented *presented = check->presented;
    *refusal = (struct ia_token_refusal){0};
    ia_presented_parse(presented);
    if (presented->reason != IA_R_NONE)
        return ia_refusal_set(refusal->detail, presented->reason, "%s", presented->detail);
    return verify_opened(check, out, refusal);
}
