// SPDX-License-Identifier: ISC
/* What the registry says of each CA, besides its certificate: who may register, under which ids, with which roles. Part
 * of a snapshot: built once by the worker, then read-only. */
#pragma once

#include "common/error.h"
#include "common/problem.h"
#include "common/template.h"
#include "sql/records_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_provisioning; /* jitr/provisioning.h */

struct ia_ca_settings {
    int64_t ca_id;
    int64_t replaces; /* the predecessor of the same tenant, 0: none */
    const char *name;
    const char *tenant; /* NULL: none */
    bool active, auto_registration;
    const struct ia_template *device_id;
    const struct ia_template *const *client_ids;
    size_t n_client_ids;
    const char *const *roles;
    size_t n_roles;
    const char *terms;                          /* which templates device_id and provisioning are */
    const struct ia_provisioning *provisioning; /* what a registration gives its devices; NULL: nothing */
};

struct ia_ca_settings_set;

/* Build from the rows, which are copied.  `problems` (may be NULL) gets each CA whose templates do not parse, by its
 * ca_id, with the text for `ca.problem`: such a CA has no settings and admits no device.  IA_NOMEM is the only failure.
 * The caller owns one reference of *out. */
IA_MUST_USE enum ia_rc ia_ca_settings_set_build(const struct ia_ca_row *rows, size_t n,
                                                const struct ia_problem_callback *problems,
                                                struct ia_ca_settings_set **out, struct ia_err *err);
struct ia_ca_settings_set *ia_ca_settings_set_ref(struct ia_ca_settings_set *set);
void ia_ca_settings_set_free(struct ia_ca_settings_set *set);

/* The CA of that id, or NULL: borrowed from the set. */
const struct ia_ca_settings *ia_ca_settings_find(const struct ia_ca_settings_set *set, int64_t ca_id);

/* Are both the same CA, or does one replace the other, directly or through others in between? */
bool ia_ca_settings_in_line(const struct ia_ca_settings_set *set, int64_t a, int64_t b);

size_t ia_ca_settings_count(const struct ia_ca_settings_set *set);
