// SPDX-License-Identifier: ISC
/* The registered CAs of one snapshot, ACTIVE or not, with parents and CRLs.  Built once by the worker, then
 * read-only. */
#pragma once

#include "common/error.h"
#include "common/problem.h"
#include "x509/cert.h"
#include "x509/crl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_ca_set;

struct ia_ca_spec {
    int64_t ca_id;
    bool active;                /* status ACTIVE */
    struct ia_cert *cert;       /* borrowed; the set takes its own reference */
    struct ia_crl *const *crls; /* borrowed likewise, any order */
    size_t n_crls;
};

struct ia_ca_set_input {
    const struct ia_ca_spec *cas;
    size_t n;
    int64_t now;
    /* Called for each CA, or CRL of it, that cannot be used, and for each CRL past its nextUpdate: by ca_id, with the
     * text for `ca.problem`.  NULL: no use for them. */
    const struct ia_problem_callback *problems;
};

/* Build the set.  A CA that fails ia_cert_check_ca at `now` is kept (its keys still count as 'registered, not usable')
 * but admits nobody.  Any number of CAs may share a subject if they have key identifiers, 32 without.  A bad CRL is
 * reported and left out, the others stay.  IA_NOMEM is the only failure.  Reference-counted: the caller owns one
 * reference of *out. */
IA_MUST_USE enum ia_rc ia_ca_set_build(const struct ia_ca_set_input *in, struct ia_ca_set **out, struct ia_err *err);
struct ia_ca_set *ia_ca_set_ref(struct ia_ca_set *set);
void ia_ca_set_free(struct ia_ca_set *set);
