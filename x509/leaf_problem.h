// SPDX-License-Identifier: ISC
/* What an administrator should know of a device certificate that was registered by hand, before its device connects. */
#pragma once

#include "x509/ca_set.h"

#define IA_LEAF_PROBLEM_MAX 256

/* Why no device can be admitted with this certificate, or "" where nothing is wrong with it: for the row's `problem`.
 * What can change without the certificate (expiry, revocation, the status of a CA) is not a problem of the row.  Costs a
 * chain verification.  Any thread. */
void ia_leaf_problem(const struct ia_ca_set *set, X509 *leaf, int64_t now, char out[IA_LEAF_PROBLEM_MAX]);
