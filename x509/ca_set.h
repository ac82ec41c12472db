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
    bool active;                    /* status ACTIVE */
    bool revoked;                   /* status REVOKED; the client then gets another alert than for INACTIVE */
    struct ia_cert *cert;           /* borrowed; the set takes its own reference */
    const struct ia_crl_spec *crls; /* borrowed, any order; the set takes references to serial numbers */
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

/* Build the set.  A CA that fails ia_cert_check_ca at in->now is kept (its key still counts as 'registered, not usable')
 * but admits nobody.  All certificates of one subject and key are one CA: of those that can be used the first is the
 * anchor, a certificate that cannot be used disables no other, but one that is not ACTIVE disables the key.  A CRL counts
 * for the key, whichever of its certificates it was added to; a bad one is reported and left out.  The serial numbers of
 * lists that are not in force are dropped.  IA_NOMEM is the only failure.  Reference-counted: the caller owns one
 * reference of *out.  One thread builds all sets of the same certificates and CRLs. */
IA_MUST_USE enum ia_rc ia_ca_set_build(const struct ia_ca_set_input *in, struct ia_ca_set **out, struct ia_err *err);
struct ia_ca_set *ia_ca_set_ref(struct ia_ca_set *set);
void ia_ca_set_free(struct ia_ca_set *set);

/* The CA of that id and every registered CA above it, nearest first: how many there are in *ids, which the set owns.  0: it
 * is not in the set.  Takes time in proportion to the number of CAs. */
size_t ia_ca_set_above(const struct ia_ca_set *set, int64_t ca_id, const int64_t **ids);
