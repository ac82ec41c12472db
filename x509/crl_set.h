// SPDX-License-Identifier: ISC
/* Which of the CRLs of one CA key are in force. */
#pragma once

#include "common/problem.h"
#include "x509/crl.h"

#include <stddef.h>
#include <stdint.h>

/* A usable list, signed by the key, and the row of iot_auth.ca that it was added to. */
struct ia_crl_candidate {
    struct ia_crl_spec spec;
    int64_t ca_id;
    bool in_force; /* set by ia_crl_select */
};

/* Mark the lists in force at `now` among all lists of one key:
 * - of one scope (distribution point), the newest thisUpdate; at equal dates the higher CRL number; lists that are equal
 *   in both all count, so that a revocation wins;
 * - a complete list supersedes partitioned lists that are older;
 * - a partitioned list past its nextUpdate no longer counts once a newer list of the key exists (a distribution point
 *   that moved); a complete one continues to count, because an old list must not let a revoked device in;
 * - a list whose thisUpdate is in the future counts, but supersedes nothing before its time.
 * What is revoked is the union of the lists in force.  Date and number that contradict each other, and lists in force
 * that are past their time or before it, are reported. */
void ia_crl_select(struct ia_crl_candidate *lists, size_t n, int64_t now, const struct ia_problem_callback *problems);
