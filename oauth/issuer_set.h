// SPDX-License-Identifier: ISC
/* The structures of an issuer set.  Internal to oauth/. */
#pragma once

#include "common/ref.h"
#include "common/template.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"
#include "oauth/pointer.h"
#include "oauth/remarks.h"

/* Owned texts. */
struct ia_text_list {
    char **items;
    size_t n;
};

/* A claim that tokens must have: one of these values at the pointer, or as an element of an array there. */
struct ia_required_claim {
    struct ia_pointer *pointer;
    json_t *values; /* an array of strings, numbers and booleans */
};

struct ia_pointer_list {
    struct ia_pointer **items; /* owned */
    size_t n;
};

struct ia_issuer {
    char *name;
    char *issuer;
    char *tenant;                      /* or NULL */
    char *app_id_claim;                /* or NULL */
    struct ia_pointer *app_id_pointer; /* compiled from it when it is a JSON Pointer; else NULL */
    struct ia_text_list audience;
    struct ia_text_list token_types;
    struct ia_template **templates;
    size_t n_templates;
    struct ia_scope_role *scopes; /* sorted by role */
    size_t n_scopes;
    struct ia_pointer_list scope_claims;
    struct ia_pointer_list audience_claims;
    struct ia_required_claim *required;
    size_t n_required;
    int max_lifetime_s; /* 0: no limit */
    uint64_t
        claim_rules;     /* hash of the settings that say which claims mean what; a token that was verified under others
                             is to be verified again */
    unsigned algorithms; /* set of 1 << enum ia_alg, fully specified */
    int leeway_s;
    bool active;
    bool invalid;         /* something is wrong with the row: it admits no token */
    struct ia_jwks *jwks; /* or NULL */
};

struct ia_issuer_set {
    struct ia_ref refs;
    size_t n;
    struct ia_issuer **by_issuer; /* sorted; of two rows with one `issuer` that share an audience only the first */
    size_t n_by_issuer;
    struct ia_issuer **by_name; /* sorted */
    struct ia_issuer issuers[];
};

/* What is to be said of one issuer. */
struct ia_issuer_findings {
    struct ia_remarks problems, notes;
};

/* Load one row into the zeroed *issuer; what is wrong with it goes to `findings` and marks it invalid.  False without
 * memory: the caller clears *issuer all the same. */
bool ia_issuer_load(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_issuer_findings *findings);
void ia_issuer_clear(struct ia_issuer *issuer);

/* The part of it that concerns claims (issuer_claims.c). */
bool ia_issuer_load_claims(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_remarks *problems);
void ia_issuer_clear_claims(struct ia_issuer *issuer);

/* May an issuer's row have that name? */
bool ia_issuer_name_valid(const char *name);

/* The rows with that exact `issuer`: returns how many, *first is the first of them (sorted by their order as rows). */
size_t ia_issuers_by_iss(const struct ia_issuer_set *set, const char *iss, struct ia_issuer *const **first);
/* A hash of the other rows with that `iss` which look for the audience under other claims: whether a token fits them as
 * well is known only while its claims are at hand.  0: there are none. */
uint64_t ia_token_rivals(const struct ia_issuer_set *set, const struct ia_issuer *issuer);
/* One whose `issuer` differs from `iss` by a slash at the end alone, for a message; NULL for none. */
const struct ia_issuer *ia_issuer_by_iss_without_slash(const struct ia_issuer_set *set, const char *iss);
/* The issuer with that row name; NULL when there is none. */
const struct ia_issuer *ia_issuer_by_name(const struct ia_issuer_set *set, const char *name);

/* Are the texts equal but for a slash at the end?  Worth naming: it is the usual mistake with `iss` and `aud`. */
bool ia_texts_differ_by_slash(const char *a, const char *b);

bool ia_text_list_has(const struct ia_text_list *list, const char *text);

/* Is `typ` ("" when the token has none, which counts as JWT) one of the issuer's token types?  Case does not count, nor
 * does a leading `application/` (RFC 7515 section 4.1.9). */
bool ia_issuer_accepts_type(const struct ia_issuer *issuer, const char *typ);

/* Why no token of that issuer is admitted (its row is not ACTIVE, or invalid), as a static text; NULL: they are. */
const char *ia_issuer_problem(const struct ia_issuer *issuer);
