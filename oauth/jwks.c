// SPDX-License-Identifier: ISC
#include "oauth/jwks.h"

#include "oauth/jwk.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ia_jwks {
    size_t listed;
    size_t n;
    struct ia_jwk keys[]; /* sorted by kid */
};

/* Report the key at `index`. */
static void report_key(const struct ia_problem_callback *to, size_t index, const json_t *json, const char *wrong)
{
    bool not_text;
    char kid[48], text[IA_JWK_TEXT_MAX + 64];
    const char *named = ia_json_text(json, "kid", &not_text);
    ia_kid_print(named ? named : "", kid);
    if (*kid)
        snprintf(text, sizeof text, "key '%s': %s", kid, wrong);
    else
        snprintf(text, sizeof text, "key number %zu: %s", index + 1, wrong);
    ia_problem_report(to, (int64_t)index, text);
}

static bool parse_keys(const json_t *array, const struct ia_jwks_report *report, struct ia_jwks *jwks)
{
    size_t i;
    json_t *json;
    char wrong[IA_JWK_TEXT_MAX];
    json_array_foreach(array, i, json) {
        enum ia_jwk_result result = ia_jwk_parse(json, &jwks->keys[jwks->n], wrong);
        switch (result) {
        case IA_JWK_OK:
            jwks->n++;
            break;
        case IA_JWK_BAD:
        case IA_JWK_IGNORED:
            report_key(result == IA_JWK_BAD ? &report->problem : &report->note, i, json, wrong);
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

/* Mark the algorithms that two different keys of one kid may be used with: choosing either would be a guess.  True when
 * there are any. */
static bool mark_ambiguous(struct ia_jwk *a, struct ia_jwk *b)
{
    unsigned both = a->algs & b->algs;
    if (both == 0 || memcmp(a->key_id, b->key_id, IA_KEY_ID_LEN) == 0)
        return false;
    a->ambiguous |= both;
    b->ambiguous |= both;
    return true;
}

/* Compare each key with the others of its kid, which are its neighbours. */
static void find_ambiguous(struct ia_jwks *jwks, const struct ia_jwks_report *report)
{
    const char *reported = NULL;
    for (size_t i = 0; i < jwks->n; i++) {
        struct ia_jwk *key = &jwks->keys[i];
        bool found = false;
        for (size_t k = i + 1; k < jwks->n && strcmp(jwks->keys[k].kid, key->kid) == 0; k++)
            found |= mark_ambiguous(key, &jwks->keys[k]);
        if (!found || (reported && strcmp(reported, key->kid) == 0))
            continue;
        char kid[48], text[128];
        reported = key->kid;
        ia_kid_print(key->kid, kid);
        if (*kid)
            snprintf(text, sizeof text, "key '%s': different keys have that kid and fit one algorithm", kid);
        else
            snprintf(text, sizeof text,
                     "different keys have no kid and fit one algorithm: none of them is used for it");
        ia_problem_report(&report->problem, (int64_t)i, text);
    }
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
    find_ambiguous(jwks, report);
    jwks->listed = json_array_size(array);
    *out = jwks;
    return IA_OK;
}

enum ia_rc ia_jwks_parse(const char *text, size_t len, const struct ia_jwks_report *report, struct ia_jwks **out,
                         struct ia_err *err)
{
    if (len > IA_JWKS_MAX)
        return ia_fail(err, IA_FORMAT, "JWK set: longer than %d bytes", IA_JWKS_MAX);
    static const struct ia_jwks_report unreported;
    const char *why;
    json_auto_t *root = ia_json_load(text, len, &why);
    if (!root)
        return ia_fail(err, IA_FORMAT, "JWK set: the text %s", why);
    const json_t *array = ia_json_get(root, "keys");
    if (!json_is_array(array))
        return ia_fail(err, IA_FORMAT, "JWK set: no array 'keys'");
    if (json_array_size(array) > IA_JWKS_KEYS_MAX)
        return ia_fail(err, IA_FORMAT, "JWK set: more than %d keys", IA_JWKS_KEYS_MAX);
    ERR_set_mark(); /* OpenSSL's errors about a bad key must not stay in the queue for the next caller */
    enum ia_rc rc = parse_set(array, report ? report : &unreported, out, err);
    ERR_pop_to_mark();
    return rc;
}

void ia_jwks_free(struct ia_jwks *jwks)
{
    for (size_t i = 0; jwks && i < jwks->n; i++)
        ia_jwk_clear(&jwks->keys[i]);
    free(jwks);
}

/* The first key of that kid, or jwks->n. */
static size_t find_kid(const struct ia_jwks *jwks, const char *kid)
{
    size_t low = 0, high = jwks->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(jwks->keys[middle].kid, kid) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < jwks->n && strcmp(jwks->keys[low].kid, kid) == 0 ? low : jwks->n;
}

/* The only key that fits, whatever its kid; the same key under two kids is one. */
static enum ia_jwks_found find_only(const struct ia_jwks *jwks, unsigned algs, const struct ia_jwk **out)
{
    const struct ia_jwk *only = NULL;
    for (size_t i = 0; jwks && i < jwks->n; i++) {
        const struct ia_jwk *key = &jwks->keys[i];
        if (!(key->algs & algs))
            continue;
        if (only && memcmp(only->key_id, key->key_id, IA_KEY_ID_LEN) != 0)
            return IA_JWKS_AMBIGUOUS;
        only = key;
    }
    if (!only)
        return IA_JWKS_NO_KID;
    *out = only;
    return IA_JWKS_FOUND;
}

enum ia_jwks_found ia_jwks_find(const struct ia_jwks *jwks, const char *kid, unsigned algs, const struct ia_jwk **out)
{
    if (!kid)
        return find_only(jwks, algs, out);
    if (!*kid)
        return IA_JWKS_NO_KID; /* keys without a kid are not named by an empty one */
    enum ia_jwks_found found = IA_JWKS_NO_KID;
    for (size_t i = jwks ? find_kid(jwks, kid) : 0; jwks && i < jwks->n; i++) {
        const struct ia_jwk *key = &jwks->keys[i];
        if (strcmp(key->kid, kid) != 0)
            break;
        if (key->algs & ~key->ambiguous & algs) {
            *out = key;
            return IA_JWKS_FOUND;
        }
        if (key->algs & algs)
            found = IA_JWKS_AMBIGUOUS;
        else if (found == IA_JWKS_NO_KID)
            found = IA_JWKS_NO_ALG;
    }
    return found;
}

size_t ia_jwks_listed(const struct ia_jwks *jwks)
{
    return jwks ? jwks->listed : 0;
}

size_t ia_jwks_count(const struct ia_jwks *jwks)
{
    size_t n = 0;
    for (size_t i = 0; jwks && i < jwks->n; i++)
        n += (jwks->keys[i].algs & ~jwks->keys[i].ambiguous) != 0;
    return n;
}
