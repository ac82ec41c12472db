// SPDX-License-Identifier: ISC
/* The registered token issuers of one snapshot, with parsed keys.  Built once, then immutable: any thread. */
#pragma once

#include "common/error.h"
#include "common/problem.h"

#include <stdbool.h>
#include <stddef.h>

/* One row of scope_role. */
struct ia_scope_role {
    const char *scope;
    const char *role;
};

/* One row of oauth_issuer with what belongs to it; all texts are borrowed for the call. */
struct ia_issuer_spec {
    const char *name;
    const char *issuer; /* what `iss` must equal */
    const char *const *audience;
    size_t n_audience;
    const char *const *algorithms;
    size_t n_algorithms;
    const char *jwks; /* the current keys: the column, or the set fetched last; NULL: none yet, every token is
                         token_key_unknown */
    const char *const *client_id_templates;
    size_t n_client_id_templates;
    const char *app_id_claim; /* name of a claim, or a JSON Pointer; NULL: client_id, else azp, else sub */
    const char *const *token_types;
    size_t n_token_types;
    int leeway_s;
    const char *tenant; /* may be NULL */
    bool active;
    const struct ia_scope_role *scopes;
    size_t n_scopes;

    /* JSON Pointers; none: the default. */
    const char *const *scope_claims; /* /scope, /scp: what `scopes` maps */
    size_t n_scope_claims;
    const char *const *audience_claims; /* /aud: what `audience` is compared with */
    size_t n_audience_claims;
    const char
        *required_claims; /* JSON object: pointer, value or list of values of which one must be there; NULL: none */
    int max_lifetime_s;   /* exp - iat at most; 0: no limit */

    const char *principals;      /* what a token makes of a client: "app" or "device"; NULL: "app" */
    const char *device_id_claim; /* JSON Pointer to the device id in the token of a device; NULL: /sub */
    const char *const *roles;    /* of its devices */
    size_t n_roles;
};

#define IA_LEEWAY_MAX          3600      /* seconds */
#define IA_CLAIM_POINTERS_MAX  16        /* of scope_claims, audience_claims and required_claims each */
#define IA_REQUIRED_VALUES_MAX 64        /* of one required claim */
#define IA_LIFETIME_MAX        315360000 /* seconds: ten years */
#define IA_ISSUER_TEXT_MAX     512       /* bytes of an issuer's problem or note, NUL included */

struct ia_issuer_set;

/* Each is called at most once for an issuer, with its index in specs[]. */
struct ia_issuer_report {
    struct ia_problem_callback problem; /* for `oauth_issuer.problem`: everything wrong with the row and its keys */
    struct ia_problem_callback note;    /* for `oauth_issuer.note`: keys of its set that are not used here, which is no
                                           reason for an alarm */
};

/* Build the set of all rows, also those that are not ACTIVE.  An invalid row (an unknown algorithm, a bad template, no
 * audience …) admits no token; an invalid key is only left out.  Several rows may have one `issuer` when their audiences
 * are disjoint; of two that share one the first counts.  IA_NOMEM is the only failure: *out stays NULL.  Reference-counted: the caller owns one
 * reference of *out. */
IA_MUST_USE enum ia_rc ia_issuer_set_build(const struct ia_issuer_spec *specs, size_t n,
                                           const struct ia_issuer_report *report, struct ia_issuer_set **out,
                                           struct ia_err *err);
struct ia_issuer_set *ia_issuer_set_ref(struct ia_issuer_set *set);
void ia_issuer_set_free(struct ia_issuer_set *set); /* gives one reference back */

/* The roles of the devices of issuer `name`: returns how many, *roles borrowed from the set.  None for an issuer that is
 * not registered. */
size_t ia_issuer_set_roles(const struct ia_issuer_set *set, const char *name, const char *const **roles);

/* Is issuer `name` registered, ACTIVE and valid, and do its tokens make devices? */
bool ia_issuer_set_admits_devices(const struct ia_issuer_set *set, const char *name);

/* Is the issuer of that principal, `app:<issuer name>:<app_id>`, registered, ACTIVE and valid? */
bool ia_issuer_set_admits(const struct ia_issuer_set *set, const char *principal);
