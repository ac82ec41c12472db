// SPDX-License-Identifier: ISC
#include "oauth/jwks.h"

#include "oauth/jwk.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ia_jwks {
    size_t n;
    struct ia_jwk keys[]; /* sorted by kid, each kid once */
};

static void report_problem(const struct ia_jwks_report *report, const char *text)
{
    if (report && report->problem)
        report->problem(report->ctx, text);
}

static void report_bad_key(const struct ia_jwks_report *report, size_t index, const json_t *json, const char *wrong)
{
    bool no_text;
    char kid[48], text[IA_JWK_TEXT_MAX + 64];
    const char *named = ia_json_text(json, "kid", &no_text);
    ia_kid_print(named ? named : "", kid);
    if (*kid)
        snprintf(text, sizeof text, "key '%s': %s", kid, wrong);
    else
        snprintf(text, sizeof text, "key number %zu: %s", index + 1, wrong);
    report_problem(report, text);
}

static bool parse_keys(const json_t *array, const struct ia_jwks_report *report, struct ia_jwks *jwks)
{
    size_t i;
    json_t *json;
    char wrong[IA_JWK_TEXT_MAX];
    json_array_foreach(array, i, json) {
        switch (ia_jwk_parse(json, &jwks->keys[jwks->n], wrong)) {
        case IA_JWK_OK:
            jwks->n++;
            break;
        case IA_JWK_BAD:
            report_bad_key(report, i, json, wrong);
            break;
        case IA_JWK_SKIP:
            break;
        case IA_JWK_NOMEM:
            return false;
        }
    }
    return true;
}

static int compare_kids(const void *a, const void *b)
{
    return strcmp(((const struct ia_jwk *)a)->kid, ((const struct ia_jwk *)b)->kid);
}

static bool same_key(const struct ia_jwk *a, const struct ia_jwk *b)
{
    return a->alg == b->alg && memcmp(a->key_id, b->key_id, IA_KEY_ID_LEN) == 0;
}

/* How many keys from keys[0] on have its kid, and are they one key listed again? */
static size_t count_same_kid(const struct ia_jwk *keys, size_t n, bool *one_key)
{
    size_t len = 1;
    *one_key = true;
    for (; len < n && strcmp(keys[len].kid, keys[0].kid) == 0; len++)
        *one_key = *one_key && same_key(&keys[0], &keys[len]);
    return len;
}

/* Two different keys with one kid: choosing either would be a guess, so neither is used. */
static void drop_ambiguous(struct ia_jwks *jwks, const struct ia_jwks_report *report)
{
    size_t kept = 0, len;
    for (size_t i = 0; i < jwks->n; i += len) {
        bool one_key;
        len = count_same_kid(&jwks->keys[i], jwks->n - i, &one_key);
        if (!one_key) {
            char kid[48], text[96];
            ia_kid_print(jwks->keys[i].kid, kid);
            snprintf(text, sizeof text, "key '%s': different keys have that kid", kid);
            report_problem(report, text);
        }
        for (size_t k = one_key ? 1 : 0; k < len; k++)
            ia_jwk_clear(&jwks->keys[i + k]);
        if (one_key)
            jwks->keys[kept++] = jwks->keys[i];
    }
    jwks->n = kept;
}

static enum ia_rc parse_set(const json_t *array, const struct ia_jwks_report *report, struct ia_jwks **out,
                            struct ia_err *err)
{
    struct ia_jwks *jwks = calloc(1, sizeof *jwks + json_array_size(array) * sizeof jwks->keys[0]);
    if (!jwks || !parse_keys(array, report, jwks)) {
        ia_jwks_free(jwks);
        return ia_nomem(err);
    }
    if (jwks->n > 1)
        qsort(jwks->keys, jwks->n, sizeof jwks->keys[0], compare_kids);
    drop_ambiguous(jwks, report);
    *out = jwks;
    return IA_OK;
}

enum ia_rc ia_jwks_parse(const char *text, size_t len, const struct ia_jwks_report *report, struct ia_jwks **out,
                         struct ia_err *err)
{
    if (len > IA_JWKS_MAX)
        return ia_fail(err, IA_FORMAT, "JWK set: longer than %d bytes", IA_JWKS_MAX);
    json_auto_t *root = ia_json_load(text, len);
    if (!root)
        return ia_fail(err, IA_FORMAT, "JWK set: not one JSON object without duplicate members");
    const json_t *array = json_object_get(root, "keys");
    if (!json_is_array(array))
        return ia_fail(err, IA_FORMAT, "JWK set: no array 'keys'");
    if (json_array_size(array) > IA_JWKS_KEYS_MAX)
        return ia_fail(err, IA_FORMAT, "JWK set: more than %d keys", IA_JWKS_KEYS_MAX);
    ERR_set_mark(); /* OpenSSL's errors about a bad key must not stay in the queue for the next caller */
    enum ia_rc rc = parse_set(array, report, out, err);
    ERR_pop_to_mark();
    return rc;
}

void ia_jwks_free(struct ia_jwks *jwks)
{
    for (size_t i = 0; jwks && i < jwks->n; i++)
        ia_jwk_clear(&jwks->keys[i]);
    free(jwks);
}

static int compare_kid_key(const void *kid, const void *jwk)
{
    return strcmp(kid, ((const struct ia_jwk *)jwk)->kid);
}

const struct ia_jwk *ia_jwks_find(const struct ia_jwks *jwks, const char *kid)
{
    if (!jwks || jwks->n == 0)
        return NULL;
    return bsearch(kid, jwks->keys, jwks->n, sizeof jwks->keys[0], compare_kid_key);
}

size_t ia_jwks_count(const struct ia_jwks *jwks)
{
    return jwks ? jwks->n : 0;
}
