// SPDX-License-Identifier: ISC
#include "oauth/claim_values.h"

#include "common/str.h"
#include "oauth/claim_mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- scopes */

/* False where the text is one that JSON could not hold (json.h): a claim that counts is read strictly. */
static bool add_scope(struct ia_claims *out, const char *text, size_t len)
{
    if (memchr(text, IA_JSON_REPLACEMENT, len))
        return false;
    if (out->n_scopes < IA_SCOPE_VALUES_MAX)
        out->scopes[out->n_scopes++] = (struct ia_slice){text, len};
    else
        out->too_many_scopes = true;
    return true;
}

static bool split_scopes(const char *text, struct ia_claims *out)
{
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (!add_scope(out, p, len))
            return false;
        p += len;
    }
    return true;
}

static bool add_scopes(const json_t *value, struct ia_claims *out)
{
    size_t i;
    const char *name;
    json_t *entry;
    if (json_is_string(value))
        return split_scopes(json_string_value(value), out);
    json_array_foreach(value, i, entry) {
        if (json_is_string(entry) && !add_scope(out, json_string_value(entry), json_string_length(entry)))
            return false;
    }
    json_object_foreach((json_t *)value, name, entry) {
        if (!add_scope(out, name, strlen(name)))
            return false;
    }
    return true;
}

static int compare_slices(const void *a, const void *b)
{
    const struct ia_slice *x = a, *y = b;
    int order = memcmp(x->at, y->at, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* Sorted, each value once: ia_token_roles searches them. */
static void sort_scopes(struct ia_claims *out)
{
    size_t kept = 0;
    if (out->n_scopes > 1)
        qsort(out->scopes, out->n_scopes, sizeof out->scopes[0], compare_slices);
    for (size_t i = 0; i < out->n_scopes; i++)
        if (kept == 0 || compare_slices(&out->scopes[kept - 1], &out->scopes[i]) != 0)
            out->scopes[kept++] = out->scopes[i];
    out->n_scopes = kept;
}

static int compare_scope_rows(const void *a, const void *b)
{
    return strcmp(((const struct ia_scope_role *)a)->scope, ((const struct ia_scope_role *)b)->scope);
}

/* How many different values of the token the issuer maps.  A linear pass over its rows and the values, both sorted, for
 * the rare token with more values than may be mapped; `rows` is a copy that is sorted by scope here. */
static size_t count_mapped(const struct ia_claims *claims, struct ia_scope_role *rows, size_t n_rows)
{
    size_t n = 0, at = 0;
    qsort(rows, n_rows, sizeof rows[0], compare_scope_rows);
    for (size_t i = 0; i < claims->n_scopes && at < n_rows;) {
        const struct ia_slice row = {rows[at].scope, strlen(rows[at].scope)};
        int order = compare_slices(&claims->scopes[i], &row);
        n += order == 0;
        i += order <= 0;
        at += order > 0;
    }
    return n;
}

static enum ia_reason check_scope_count(const struct ia_claims *claims, const struct ia_issuer *issuer,
                                        char detail[IA_DETAIL_MAX])
{
    if (claims->n_scopes <= IA_SCOPES_MAX || issuer->n_scopes <= IA_SCOPES_MAX)
        return IA_R_NONE;
    ia_autofree struct ia_scope_role *rows = malloc(issuer->n_scopes * sizeof *rows);
    if (!rows)
        return ia_refusal_set(detail, IA_R_INTERNAL, IA_NOMEM_TEXT);
    memcpy(rows, issuer->scopes, issuer->n_scopes * sizeof *rows);
    if (count_mapped(claims, rows, issuer->n_scopes) <= IA_SCOPES_MAX)
        return IA_R_NONE;
    return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "more than %d different scopes that the issuer maps",
                          IA_SCOPES_MAX);
}

enum ia_reason ia_claims_read_scopes(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *out,
                                     char detail[IA_DETAIL_MAX])
{
    out->n_scopes = 0;
    out->too_many_scopes = false;
    for (size_t i = 0; i < issuer->scope_claims.n; i++) {
        const struct ia_pointer *pointer = issuer->scope_claims.items[i];
        if (!add_scopes(ia_pointer_get(pointer, payload), out))
            return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED,
                                  "%.100s holds a NUL, a lone surrogate or a number out of range",
                                  ia_pointer_text(pointer));
    }
    if (out->too_many_scopes)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "more than %d values under scope_claims", IA_SCOPE_VALUES_MAX);
    sort_scopes(out);
    return check_scope_count(out, issuer, detail);
}

/* ---- required claims */

static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b) && json_typeof(a) != json_typeof(b))
        return json_number_value(a) == json_number_value(b); /* 1 and 1.0 are one number of JSON */
    return json_equal(a, b);
}

static bool is_wanted(const json_t *values, const json_t *claimed)
{
    size_t i;
    json_t *value;
    json_array_foreach(values, i, value) {
        if (same_value(value, claimed))
            return true;
    }
    return false;
}

static bool has_wanted(const json_t *values, const json_t *claimed)
{
    size_t i;
    json_t *entry;
    json_array_foreach(claimed, i, entry) {
        if (is_wanted(values, entry))
            return true;
    }
    return claimed && is_wanted(values, claimed);
}

/* A value as it may be shown, truncated. */
static void show_value(const json_t *value, char out[IA_CLAIMED_MAX])
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    out[0] = '\0';
    ia_claimed_add(out, text ? text : "nothing", text ? strlen(text) : 7);
    free(text);
}

enum ia_reason ia_claims_check_required(const json_t *payload, const struct ia_issuer *issuer,
                                        char detail[IA_DETAIL_MAX])
{
    for (size_t i = 0; i < issuer->n_required; i++) {
        const struct ia_required_claim *claim = &issuer->required[i];
        const json_t *claimed = ia_pointer_get(claim->pointer, payload);
        char wanted_text[IA_CLAIMED_MAX], claimed_text[IA_CLAIMED_MAX];
        if (has_wanted(claim->values, claimed))
            continue;
        bool one = json_array_size(claim->values) == 1;
        show_value(one ? json_array_get(claim->values, 0) : claim->values, wanted_text);
        show_value(claimed, claimed_text);
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "%.60s must be %.50s, and the token has %.50s",
                              ia_pointer_text(claim->pointer), wanted_text, claimed_text);
    }
    return IA_R_NONE;
}

/* ---- variables */

/* The traversal of the payload: the pointer to where it is, and where the claims go. */
struct claim_visit {
    struct ia_claims *out;
    size_t len;
    char pointer[IA_POINTER_MAX + 1]; /* NUL-terminated */
};

/* Append a reference token; false, with the pointer as it was, when it does not fit: such a claim cannot be named. */
static bool push_token(struct claim_visit *visit, const char *name)
{
    size_t len = visit->len;
    char *to = visit->pointer;
    if (len == IA_POINTER_MAX)
        return false;
    to[len++] = '/';
    for (; *name; name++) {
        bool escaped = *name == '~' || *name == '/';
        if (len + 1 + escaped > IA_POINTER_MAX) {
            to[visit->len] = '\0';
            return false;
        }
        if (!escaped) {
            to[len++] = *name;
            continue;
        }
        to[len++] = '~';
        to[len++] = *name == '~' ? '0' : '1';
    }
    to[len] = '\0';
    visit->len = len;
    return true;
}

static void pop_token(struct claim_visit *visit, size_t len)
{
    visit->len = len;
    visit->pointer[len] = '\0';
}

/* The number in decimal.  A token is full of them, and printf costs as much as the rest of a claim. */
static void write_decimal(json_int_t number, char out[24])
{
    char digits[24];
    size_t n = 0, len = 0;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        out[len++] = '-';
    while (n)
        out[len++] = digits[--n];
    out[len] = '\0';
}

/* The text of a scalar; false for real numbers, null and containers. */
static bool read_scalar(const json_t *value, struct ia_kept_claim *out, size_t *len)
{
    if (json_is_string(value))
        out->text = json_string_value(value);
    else if (json_is_boolean(value))
        out->text = json_is_true(value) ? "true" : "false";
    else if (json_is_integer(value))
        write_decimal(json_integer_value(value), out->number);
    else
        return false;
    *len = json_is_string(value) ? json_string_length(value) : strlen(out->text ? out->text : out->number);
    return true;
}

static void add_mark(struct claim_visit *visit, size_t pointer_len, const char *value, size_t len)
{
    struct ia_claims *out = visit->out;
    if (len > IA_MARK_VALUE_MAX)
        return;
    if (out->n_marks == IA_MARKS_MAX ||
        !ia_claim_mark(visit->pointer, pointer_len, value, len, &out->marks[out->n_marks]))
        out->unmarked = true;
    else
        out->n_marks++;
}

static void keep_value(struct claim_visit *visit, const struct ia_kept_claim *scalar, size_t len)
{
    struct ia_claims *out = visit->out;
    struct ia_kept_claim kept = *scalar;
    if (out->n_claims == IA_CLAIMS_MAX || sizeof out->pointers - out->pointers_used <= visit->len ||
        (kept.text && !ia_value_valid(kept.text, len, NULL)))
        return;
    kept.pointer = memcpy(out->pointers + out->pointers_used, visit->pointer, visit->len + 1);
    out->pointers_used += visit->len + 1;
    out->claims[out->n_claims++] = kept;
}

/* `array_len`: length of the pointer of the array that the value is an element of, which the value stands for as well;
 * 0: of none. */
static void take_scalar(struct claim_visit *visit, const json_t *value, size_t array_len)
{
    struct ia_kept_claim scalar = {0};
    size_t len;
    if (!read_scalar(value, &scalar, &len))
        return;
    const char *text = scalar.text ? scalar.text : scalar.number;
    add_mark(visit, visit->len, text, len);
    if (array_len)
        add_mark(visit, array_len, text, len);
    keep_value(visit, &scalar, len);
}

static void visit_container(struct claim_visit *visit, const json_t *container);

static void visit_member(struct claim_visit *visit, const char *name, const json_t *value, bool in_array)
{
    size_t len = visit->len;
    if (!push_token(visit, name))
        return;
    if (json_is_object(value) || json_is_array(value))
        visit_container(visit, value);
    else
        take_scalar(visit, value, in_array ? len : 0);
    pop_token(visit, len);
}

/* Recursion ends: ia_json_load has bounded the depth. */
// NOLINTNEXTLINE(misc-no-recursion)
static void visit_container(struct claim_visit *visit, const json_t *container)
{
    size_t i;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)container, name, value) {
        visit_member(visit, name, value, false);
    }
    json_array_foreach(container, i, value) {
        char index[24];
        write_decimal((json_int_t)i, index);
        visit_member(visit, index, value, true);
    }
}

void ia_claims_keep_values(const json_t *payload, struct ia_claims *out)
{
    const char *name;
    json_t *value;
    struct claim_visit visit = {.out = out};
    out->n_claims = out->pointers_used = out->n_marks = 0;
    out->unmarked = false;
    json_object_foreach((json_t *)payload, name, value) {
        if (!json_is_object(value) && !json_is_array(value))
            visit_member(&visit, name, value, false);
    }
    json_object_foreach((json_t *)payload, name, value) {
        if (json_is_object(value) || json_is_array(value))
            visit_member(&visit, name, value, false);
    }
}
