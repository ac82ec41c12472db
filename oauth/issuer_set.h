// SPDX-License-Identifier: ISC
/* The inside of an issuer set.  Internal to oauth/. */
#pragma once

#include "common/template.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"
#include "oauth/token.h"

#include <stdatomic.h>

struct ia_texts {
    char **at;
    size_t n;
};

struct ia_issuer {
    char *name;
    char *issuer;
    char *tenant;       /* or NULL */
    char *app_id_claim; /* or NULL */
    struct ia_texts audience;
    struct ia_texts token_types;
    struct ia_template **templates;
    size_t n_templates;
    struct ia_scope_role *scopes; /* sorted by role */
    size_t n_scopes;
    unsigned algorithms; /* set of 1 << enum ia_alg */
    int leeway_s;
    bool active;
    bool unfit;           /* something is wrong with the row: it admits nobody */
    struct ia_jwks *jwks; /* or NULL */
};

struct ia_issuer_set {
    atomic_uint refs;
    size_t n;
    struct ia_issuer **by_issuer; /* sorted; of two rows with one `issuer` only the first */
    size_t n_by_issuer;
    struct ia_issuer **by_name; /* sorted */
    struct ia_issuer issuers[];
};

/* Everything that is wrong with one issuer, as one line; what does not fit is cut. */
struct ia_problems {
    char text[IA_ISSUER_TEXT_MAX];
    size_t used;
};
void ia_problems_add(struct ia_problems *p, const char *fmt, ...) IA_PRINTF(2, 3);

/* Load one row into the zeroed *issuer; what is wrong with it goes to `p` and marks it unfit.  False without memory:
 * what is there is then to be cleared all the same. */
bool ia_issuer_load(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_problems *p);
void ia_issuer_clear(struct ia_issuer *issuer);

/* The issuer of that exact `iss`, or row name; NULL when there is none. */
const struct ia_issuer *ia_issuer_by_iss(const struct ia_issuer_set *set, const char *iss);
const struct ia_issuer *ia_issuer_by_name(const struct ia_issuer_set *set, const char *name);

bool ia_texts_have(const struct ia_texts *texts, const char *text);

/* Is `typ` ("" when the token has none, which counts as JWT) one of the issuer's token types?  Case does not count, nor
 * does a leading `application/` (RFC 7515 section 4.1.9). */
bool ia_issuer_accepts_type(const struct ia_issuer *issuer, const char *typ);

/* IA_R_NONE, or issuer_inactive: the row is not ACTIVE, or unfit. */
enum ia_reason ia_issuer_admits(const struct ia_issuer *issuer, struct ia_token_refusal *why);
