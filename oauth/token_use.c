// SPDX-License-Identifier: ISC
/* What a verified token allows under the current issuers. */
#include "common/hash.h"
#include "common/str.h"
#include "oauth/claims.h"
#include "oauth/issuer_set.h"
#include "oauth/token.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum ia_reason ia_token_check_binding(const struct ia_token *token, const uint8_t *cert_sha256,
                                      struct ia_token_refusal *refusal)
{
    if (!cert_sha256)
        return token->bound ? ia_refusal_set(refusal->detail, IA_R_TOKEN_UNBOUND,
                                             "the token is bound to a certificate, and the client has none")
                            : IA_R_NONE;
    if (!token->bound)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_UNBOUND,
                              "the token is not bound to the client's certificate");
    if (CRYPTO_memcmp(token->cert_sha256, cert_sha256, IA_CERT_HASH_LEN) != 0)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_UNBOUND, "the token is bound to another certificate");
    return IA_R_NONE;
}

static bool audience_accepted(const struct ia_issuer *issuer, const struct ia_token *token)
{
    for (size_t i = 0; i < token->n_audience; i++)
        if (ia_text_list_has(&issuer->audience, token->audience[i]))
            return true;
    return false;
}

static enum ia_reason revalidate_key(const struct ia_issuer *issuer, const struct ia_token *token,
                                     struct ia_token_refusal *refusal)
{
    const struct ia_jwk *key = NULL;
    unsigned algs = ia_alg_set(token->alg) & issuer->algorithms;
    enum ia_jwks_found found = ia_jwks_find(issuer->jwks, token->kid, algs, &key);
    if (algs == 0 || found == IA_JWKS_NO_ALG)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_ALGORITHM, "the token's algorithm is no longer accepted");
    if (found != IA_JWKS_FOUND || memcmp(key->key_id, token->key_id, IA_KEY_ID_LEN) != 0)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_KEY_UNKNOWN,
                              "the key that signed the token is no longer one of the issuer's");
    return IA_R_NONE;
}

static enum ia_reason revalidate_rules(const struct ia_issuer *issuer, const struct ia_token *token,
                                       struct ia_token_refusal *refusal)
{
    if (!ia_issuer_accepts_type(issuer, token->typ))
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_TYPE, "the token's type is no longer accepted");
    if (!audience_accepted(issuer, token))
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_AUDIENCE, "the token's audience is no longer accepted");
    if (issuer->claim_rules != token->claim_rules)
        return ia_refusal_set(refusal->detail, IA_R_RIGHTS_CHANGED,
                              "the issuer's claims settings have changed: the token is to be verified again");
    return ia_claims_check_lifetime(issuer, token->iat, token->exp, refusal->detail);
}

/* Do both look for the audience under the same claims? */
static bool same_audience_claims(const struct ia_issuer *a, const struct ia_issuer *b)
{
    if (a->audience_claims.n != b->audience_claims.n)
        return false;
    for (size_t i = 0; i < a->audience_claims.n; i++)
        if (strcmp(ia_pointer_text(a->audience_claims.items[i]), ia_pointer_text(b->audience_claims.items[i])) != 0)
            return false;
    return true;
}

uint64_t ia_token_rivals(const struct ia_issuer_set *set, const struct ia_issuer *issuer)
{
    struct ia_issuer *const *rows = NULL;
    uint64_t sum = 0; /* the order of the rows does not count */
    size_t n = ia_issuers_by_iss(set, issuer->issuer, &rows);
    for (size_t i = 0; i < n; i++) {
        if (rows[i] == issuer || same_audience_claims(rows[i], issuer))
            continue;
        uint64_t hash = ia_hash_text(0, rows[i]->name);
        for (size_t k = 0; k < rows[i]->audience_claims.n; k++)
            hash = ia_hash_text(hash, ia_pointer_text(rows[i]->audience_claims.items[k]));
        hash = ia_hash_text(hash, "\n");
        for (size_t k = 0; k < rows[i]->audience.n; k++)
            hash = ia_hash_text(hash, rows[i]->audience.items[k]);
        sum += hash;
    }
    return sum;
}

/* A token that fits two rows with one `iss` is nobody's, also where the second row is newer than the token's session. */
static enum ia_reason revalidate_row(const struct ia_issuer_set *set, const struct ia_issuer *issuer,
                                     const struct ia_token *token, struct ia_token_refusal *refusal)
{
    struct ia_issuer *const *rows = NULL;
    size_t n = ia_issuers_by_iss(set, issuer->issuer, &rows);
    for (size_t i = 0; i < n; i++)
        if (rows[i] != issuer && same_audience_claims(rows[i], issuer) && audience_accepted(rows[i], token))
            return ia_refusal_set(refusal->detail, IA_R_TOKEN_AUDIENCE,
                                  "the token's audience now also fits issuer '%.50s', which has the same iss",
                                  rows[i]->name);
    if (token->rivals != ia_token_rivals(set, issuer))
        return ia_refusal_set(refusal->detail, IA_R_RIGHTS_CHANGED,
                              "another issuer with that iss has changed: the token must be verified again");
    return IA_R_NONE;
}

enum ia_reason ia_token_revalidate(const struct ia_issuer_set *set, const struct ia_token *token, int64_t now,
                                   int64_t *expires_at, struct ia_token_refusal *refusal)
{
    *refusal = (struct ia_token_refusal){0};
    snprintf(refusal->issuer, sizeof refusal->issuer, "%s", token->issuer);
    const struct ia_issuer *issuer = ia_issuer_by_name(set, token->issuer);
    if (!issuer || strcmp(issuer->issuer, token->iss) != 0)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_ISSUER, "the token's issuer is no longer registered");
    const char *problem = ia_issuer_problem(issuer);
    if (problem)
        return ia_refusal_set(refusal->detail, IA_R_ISSUER_INACTIVE, "%s", problem);
    enum ia_reason reason = revalidate_key(issuer, token, refusal);
    if (reason == IA_R_NONE)
        reason = revalidate_rules(issuer, token, refusal);
    if (reason == IA_R_NONE)
        reason = revalidate_row(set, issuer, token, refusal);
    if (reason != IA_R_NONE)
        return reason;
    int64_t expiry = token->exp + issuer->leeway_s;
    if (now >= expiry)
        return ia_refusal_set(refusal->detail, IA_R_TOKEN_EXPIRED,
                              "the token has expired: exp plus leeway is in the past");
    *expires_at = expiry;
    return IA_R_NONE;
}

static int compare_scope(const void *scope, const void *at)
{
    return strcmp(scope, *(const char *const *)at);
}

static bool has_scope(const struct ia_token *token, const char *scope)
{
    return bsearch(scope, token->scopes, token->n_scopes, sizeof token->scopes[0], compare_scope) != NULL;
}

size_t ia_token_roles(const struct ia_issuer_set *set, const struct ia_token *token, const char **roles, size_t max)
{
    const struct ia_issuer *issuer = ia_issuer_by_name(set, token->issuer);
    const char *last = NULL;
    size_t n = 0;
    for (size_t i = 0; issuer && i < issuer->n_scopes; i++) {
        const struct ia_scope_role *row = &issuer->scopes[i]; /* sorted by role, so that equal ones are neighbours */
        if ((last && strcmp(last, row->role) == 0) || !has_scope(token, row->scope))
            continue;
        last = row->role;
        if (n < max)
            roles[n] = last;
        n++;
    }
    return n;
}

static const char *pointed_value(const struct ia_token *token, const char *pointer)
{
    for (size_t i = 0; i < token->n_claims; i++)
        if (strcmp(token->claims[i].pointer, pointer) == 0)
            return token->claims[i].value;
    return NULL;
}

/* The claim of that name: a member of the token itself, in whose pointer `~` and `/` are escaped. */
static const char *named_value(const struct ia_token *token, const char *name)
{
    char pointer[IA_POINTER_MAX + 1] = "/";
    size_t len = 1;
    for (; *name && len + 2 <= IA_POINTER_MAX; name++) {
        if (*name == '~' || *name == '/')
            pointer[len++] = '~';
        pointer[len] = *name;
        if (*name == '~')
            pointer[len] = '0';
        if (*name == '/')
            pointer[len] = '1';
        len++;
    }
    pointer[len] = '\0';
    return *name ? NULL : pointed_value(token, pointer);
}

const char *ia_token_variable(const struct ia_issuer_set *set, const struct ia_token *token, const char *name)
{
    if (strcmp(name, "app_id") == 0)
        return token->app_id;
    if (strcmp(name, "issuer") == 0)
        return token->issuer;
    if (strncmp(name, "claim.", 6) == 0)
        return named_value(token, name + 6);
    if (strncmp(name, "claim:", 6) == 0)
        return pointed_value(token, name + 6);
    if (strcmp(name, "tenant") != 0)
        return NULL;
    const struct ia_issuer *issuer = ia_issuer_by_name(set, token->issuer);
    return issuer ? issuer->tenant : NULL;
}

struct token_variables {
    const struct ia_issuer_set *set;
    const struct ia_token *token;
};

static const char *look_up_variable(void *ctx, const char *name, const char **why)
{
    const struct token_variables *from = ctx;
    (void)why;
    return ia_token_variable(from->set, from->token, name);
}

static const char *find_client_id_fault(const char *client_id)
{
    size_t len = strnlen(client_id, IA_APP_CLIENT_ID_MAX + 1);
    if (len == 0)
        return "the client id is empty";
    if (len > IA_APP_CLIENT_ID_MAX)
        return "the client id is longer than 512 bytes";
    if (!ia_utf8_valid(client_id, len))
        return "the client id is not valid UTF-8";
    for (const unsigned char *p = (const unsigned char *)client_id; *p; p++)
        if (*p < 0x20 || *p == 0x7F || (*p == 0xC2 && p[1] < 0xA0) || *p == '+' || *p == '#')
            return "the client id holds + or # or a control character";
    return NULL;
}

static bool matches_template(const struct ia_issuer_set *set, const struct ia_token *token, const char *client_id)
{
    const struct ia_issuer *issuer = ia_issuer_by_name(set, token->issuer);
    struct token_variables from = {set, token};
    for (size_t i = 0; issuer && i < issuer->n_templates; i++)
        if (ia_template_match(issuer->templates[i], look_up_variable, &from, client_id))
            return true;
    return false;
}

bool ia_token_allows_client_id(const struct ia_issuer_set *set, const struct ia_token *token, const char *client_id,
                               const char **why)
{
    const char *fault = find_client_id_fault(client_id);
    if (!fault && !matches_template(set, token, client_id))
        fault = "no client id template of the issuer fits";
    if (fault && why)
        *why = fault;
    return !fault;
}
