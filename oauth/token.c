// SPDX-License-Identifier: ISC
#include "oauth/token.h"

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

static void *place(struct layout *l, const void *bytes, size_t len)
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
    char *at = place(l, text, len);
    place(l, "", 1);
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
        struct ia_claim claim = {.name = place_optional(l, kept->name),
                                 .value = place_optional(l, kept->text ? kept->text : kept->number)};
        if (array)
            array[i] = claim;
    }
}

static const char *place_principal(struct layout *l, const struct ia_issuer *issuer, const char *app_id)
{
    const char *at = place(l, "app:", 4);
    place(l, issuer->name, strlen(issuer->name));
    place(l, ":", 1);
    place_optional(l, app_id);
    return at;
}

/* Everything that a token is made of. */
struct source {
    const struct ia_issuer *issuer;
    const struct ia_jws *jws;
    const struct ia_jwk *key;
    const struct ia_claims *claims;
};

/* Lay out the token; the arrays come first, for their alignment.  *t is filled with what place() gave. */
static void lay_out(struct layout *l, const struct source *from, struct ia_token *t)
{
    const struct ia_claims *claims = from->claims;
    place(l, NULL, sizeof *t);
    const char **audience = place(l, NULL, claims->n_audience * sizeof(char *));
    const char **scopes = place(l, NULL, claims->n_scopes * sizeof(char *));
    struct ia_claim *kept = place(l, NULL, claims->n_claims * sizeof *kept);
    *t = (struct ia_token){.audience = audience,
                           .n_audience = claims->n_audience,
                           .scopes = scopes,
                           .n_scopes = claims->n_scopes,
                           .claims = kept,
                           .n_claims = claims->n_claims,
                           .issuer = place_optional(l, from->issuer->name),
                           .iss = place_optional(l, from->issuer->issuer),
                           .app_id = place_optional(l, claims->app_id),
                           .principal = place_principal(l, from->issuer, claims->app_id),
                           .app_id_claim = place_optional(l, from->issuer->app_id_claim),
                           .kid = place_optional(l, from->jws->kid),
                           .typ = place_optional(l, from->jws->typ)};
    place_slices(l, audience, claims->audience, claims->n_audience);
    place_slices(l, scopes, claims->scopes, claims->n_scopes);
    place_claims(l, kept, claims);
}

static struct ia_token *make_token(const struct source *from)
{
    struct ia_token head;
    struct layout layout = {0};
    lay_out(&layout, from, &head);
    size_t size = layout.used;
    layout = (struct layout){.block = malloc(size)};
    if (!layout.block)
        return NULL;
    lay_out(&layout, from, &head);
    head.refs = 1;
    head.size = size;
    head.alg = from->jws->alg;
    head.exp = from->claims->exp;
    head.ends = ia_claims_end(head.exp, from->issuer);
    head.not_before = from->claims->not_before;
    head.bound = from->claims->bound;
    memcpy(head.key_id, from->key->key_id, sizeof head.key_id);
    if (head.bound)
        memcpy(head.cert_sha256, from->claims->cert_sha256, sizeof head.cert_sha256);
    return memcpy(layout.block, &head, sizeof head);
}

struct ia_token *ia_token_ref(struct ia_token *token)
{
    atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
    return token;
}

void ia_token_free(struct ia_token *token)
{
    if (!token || atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) != 1)
        return;
    OPENSSL_cleanse(token, token->size); /* claims are about people */
    free(token);
}

static enum ia_reason refuse(struct ia_token_why *why, enum ia_reason reason, const char *text)
{
    snprintf(why->detail, sizeof why->detail, "%s", text);
    return reason;
}

/* The issuer that an unverified payload names: data to look up by, believed only when its key has signed. */
static enum ia_reason find_issuer(const struct ia_issuer_set *set, const json_t *payload, const struct ia_issuer **out,
                                  struct ia_token_why *why)
{
    bool wrong;
    const char *iss = ia_json_text(payload, "iss", &wrong);
    if (wrong)
        return refuse(why, IA_R_TOKEN_CLAIMS, "iss is no string");
    const struct ia_issuer *issuer = iss ? ia_issuer_by_iss(set, iss) : NULL;
    if (!issuer)
        return refuse(why, IA_R_TOKEN_ISSUER, iss ? "iss is no registered issuer" : "iss is missing");
    snprintf(why->issuer, sizeof why->issuer, "%s", issuer->name);
    *out = issuer;
    return ia_issuer_admits(issuer, why);
}

/* What can be judged by the header alone: algorithm, type and key. */
static enum ia_reason judge_header(const struct ia_issuer *issuer, const struct ia_jws *jws, const struct ia_jwk **key,
                                   struct ia_token_why *why)
{
    if (!(issuer->algorithms & 1u << jws->alg))
        return refuse(why, IA_R_TOKEN_ALGORITHM, "alg is none of the issuer's algorithms");
    if (!ia_issuer_takes_type(issuer, jws->typ))
        return refuse(why, IA_R_TOKEN_TYPE, "typ is none of the issuer's token types");
    if (!jws->has_kid)
        return refuse(why, IA_R_TOKEN_KEY_UNKNOWN, "the header has no kid");
    *key = ia_jwks_find(issuer->jwks, jws->kid);
    if (*key)
        return IA_R_NONE;
    why->refresh = true;
    return refuse(why, IA_R_TOKEN_KEY_UNKNOWN, "kid is none of the issuer's keys");
}

/* Judge a decoded token: signature first, then what it says. */
static enum ia_reason judge(const struct ia_issuer_set *set, const struct ia_jws *jws, int64_t now,
                            const uint8_t *cert_sha256, struct ia_token **out, struct ia_token_why *why)
{
    struct ia_claims claims;
    struct source from = {.jws = jws, .claims = &claims};
    json_auto_t *payload = ia_json_load(jws->payload, jws->payload_len);
    if (!payload)
        return refuse(why, IA_R_TOKEN_MALFORMED, "the payload is not one JSON object without duplicates");
    enum ia_reason reason = find_issuer(set, payload, &from.issuer, why);
    if (reason == IA_R_NONE)
        reason = judge_header(from.issuer, jws, &from.key, why);
    if (reason == IA_R_NONE)
        reason = ia_signature_verify(jws, from.key, why->detail);
    if (reason == IA_R_NONE)
        reason = ia_claims_judge(payload, from.issuer, now, &claims, why->detail);
    if (reason != IA_R_NONE)
        return reason;
    struct ia_token *token = make_token(&from);
    if (!token)
        return refuse(why, IA_R_INTERNAL, IA_NOMEM_TEXT);
    reason = ia_token_binding(token, cert_sha256, why);
    if (reason == IA_R_NONE)
        *out = token;
    else
        ia_token_free(token);
    return reason;
}

enum ia_reason ia_token_verify(const struct ia_issuer_set *set, const char *text, size_t len, int64_t now,
                               const uint8_t *cert_sha256, struct ia_token **out, struct ia_token_why *why)
{
    struct ia_jws jws = {0};
    *why = (struct ia_token_why){0};
    enum ia_reason reason = ia_jws_parse(text, len, &jws, why->detail);
    if (reason == IA_R_NONE)
        reason = judge(set, &jws, now, cert_sha256, out, why);
    ia_jws_clear(&jws);
    return reason;
}
