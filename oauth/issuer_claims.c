// SPDX-License-Identifier: ISC
/* The settings of an issuer that say which claims mean what: pointers compiled, required values parsed. */
#include "common/hash.h"
#include "oauth/issuer_set.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void mark_bad_claim(struct ia_issuer *issuer, struct ia_remarks *problems, const char *setting, const char *text)
{
    issuer->invalid = true;
    ia_remarks_add(problems, "%s: %s", setting, text);
}

/* Compile `text` into *out, which stays NULL when it is not a pointer; false without memory. */
static bool parse_pointer(struct ia_issuer *issuer, const char *setting, const char *text, struct ia_pointer **out,
                          struct ia_remarks *problems)
{
    struct ia_err err = {0};
    enum ia_rc rc = ia_pointer_parse(text ? text : "", out, &err);
    if (rc == IA_FORMAT)
        mark_bad_claim(issuer, problems, setting, err.msg);
    return rc != IA_NOMEM;
}

/* ---- lists of pointers */

struct pointer_setting {
    const char *name;
    const char *const *texts;
    size_t n;
};

static bool parse_pointers(struct ia_issuer *issuer, const struct pointer_setting *from, struct ia_pointer_list *out,
                           struct ia_remarks *problems)
{
    size_t n = from->n <= IA_CLAIM_POINTERS_MAX ? from->n : 0;
    if (n != from->n)
        mark_bad_claim(issuer, problems, from->name, "more than 16 pointers");
    out->items = calloc(n + 1, sizeof(struct ia_pointer *));
    if (!out->items)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!parse_pointer(issuer, from->name, from->texts[i], &out->items[out->n], problems))
            return false;
        out->n += out->items[out->n] != NULL;
    }
    return true;
}

static bool load_pointers(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_remarks *problems)
{
    static const char *const usual_scopes[] = {"/scope", "/scp"}, *const usual_audience[] = {"/aud"};
    struct pointer_setting scopes = {"scope_claims", spec->scope_claims, spec->n_scope_claims};
    struct pointer_setting audience = {"audience_claims", spec->audience_claims, spec->n_audience_claims};
    if (scopes.n == 0)
        scopes = (struct pointer_setting){"scope_claims", usual_scopes, 2};
    if (audience.n == 0)
        audience = (struct pointer_setting){"audience_claims", usual_audience, 1};
    /* An app_id_claim that begins with a slash is a JSON Pointer, any other one the name of a claim. */
    if (issuer->app_id_claim && issuer->app_id_claim[0] == '/' &&
        !parse_pointer(issuer, "app_id_claim", issuer->app_id_claim, &issuer->app_id_pointer, problems))
        return false;
    return parse_pointers(issuer, &scopes, &issuer->scope_claims, problems) &&
           parse_pointers(issuer, &audience, &issuer->audience_claims, problems);
}

/* ---- required claims */

static bool values_are_scalars(const json_t *values)
{
    size_t i;
    json_t *value;
    json_array_foreach(values, i, value) {
        if (!json_is_string(value) && !json_is_number(value) && !json_is_boolean(value))
            return false;
    }
    return json_array_size(values) > 0 && json_array_size(values) <= IA_REQUIRED_VALUES_MAX && ia_json_readable(values);
}

/* The values as an array of the caller's; NULL without memory. */
static json_t *list_of(json_t *value)
{
    if (json_is_array(value))
        return json_incref(value);
    json_t *list = json_array();
    if (list && json_array_append(list, value) != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static bool add_required(struct ia_issuer *issuer, const char *pointer, json_t *value, struct ia_remarks *problems)
{
    struct ia_required_claim *claim = &issuer->required[issuer->n_required++];
    claim->values = list_of(value);
    if (!claim->values || !parse_pointer(issuer, "required_claims", pointer, &claim->pointer, problems))
        return false;
    if (!values_are_scalars(claim->values))
        mark_bad_claim(issuer, problems, "required_claims",
                       "a value is neither a string, a number, a boolean nor a list of 1 to 64 of these");
    return true;
}

static bool load_required(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_remarks *problems)
{
    const char *name, *why = NULL, *text = spec->required_claims;
    json_t *value;
    if (!text || strcmp(text, "{}") == 0)
        return true;
    json_auto_t *object = ia_json_load(text, strlen(text), &why);
    issuer->required = calloc(json_object_size(object) + 1, sizeof *issuer->required);
    if (!issuer->required)
        return false;
    if (!object) {
        mark_bad_claim(issuer, problems, "required_claims", why);
        return true;
    }
    if (json_object_size(object) > IA_CLAIM_POINTERS_MAX) {
        mark_bad_claim(issuer, problems, "required_claims", "more than 16 pointers");
        return true;
    }
    json_object_foreach(object, name, value) {
        if (!add_required(issuer, name, value, problems))
            return false;
    }
    return true;
}

/* ---- all of it */

static uint64_t hash_list(uint64_t hash, const struct ia_pointer_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        hash = ia_hash_text(hash, ia_pointer_text(list->items[i]));
    return ia_hash_text(hash, "\n");
}

static uint64_t hash_rules(const struct ia_issuer *issuer, const struct ia_issuer_spec *spec)
{
    uint64_t hash = hash_list(hash_list(0, &issuer->scope_claims), &issuer->audience_claims);
    hash = ia_hash_text(hash, spec->required_claims ? spec->required_claims : "{}");
    return issuer->app_id_claim ? ia_hash_text(hash + 1, issuer->app_id_claim) : hash;
}

bool ia_issuer_load_claims(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_remarks *problems)
{
    if (!load_pointers(issuer, spec, problems) || !load_required(issuer, spec, problems))
        return false;
    issuer->max_lifetime_s = spec->max_lifetime_s;
    if (spec->max_lifetime_s < 0 || spec->max_lifetime_s > IA_LIFETIME_MAX)
        mark_bad_claim(issuer, problems, "max_lifetime_s", "must be 1 to 315360000 seconds");
    issuer->claim_rules = hash_rules(issuer, spec);
    return true;
}

static void clear_pointers(struct ia_pointer_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        ia_pointer_free(list->items[i]);
    free(list->items);
}

void ia_issuer_clear_claims(struct ia_issuer *issuer)
{
    ia_pointer_free(issuer->app_id_pointer);
    clear_pointers(&issuer->scope_claims);
    clear_pointers(&issuer->audience_claims);
    for (size_t i = 0; i < issuer->n_required; i++) {
        ia_pointer_free(issuer->required[i].pointer);
        json_decref(issuer->required[i].values);
    }
    free(issuer->required);
}
