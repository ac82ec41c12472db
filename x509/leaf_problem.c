// SPDX-License-Identifier: ISC
#include "x509/leaf_problem.h"

#include "x509/chain.h"

#include <stdio.h>

void ia_leaf_problem(const struct ia_ca_set *set, X509 *leaf, int64_t now, char out[IA_LEAF_PROBLEM_MAX])
{
    struct ia_chain chain;
    out[0] = '\0';
    ia_chain_verify(set, leaf, NULL, now, &chain);
    if (chain.reason == IA_R_CA_UNKNOWN && X509_self_signed(leaf, 0) == 1)
        (void)snprintf(out, IA_LEAF_PROBLEM_MAX,
                       "it is self-signed: register a certificate that a registered CA has issued");
    else if (chain.reason == IA_R_CA_UNKNOWN)
        (void)snprintf(out, IA_LEAF_PROBLEM_MAX,
                       "no registered CA signed it: register the CA that did, unless the device sends the intermediate "
                       "certificates below a registered one");
    else if (chain.reason == IA_R_CHAIN_INVALID || chain.reason == IA_R_CERTIFICATE_UNFIT)
        (void)snprintf(out, IA_LEAF_PROBLEM_MAX, "%s", chain.detail[0] ? chain.detail : ia_reason_name(chain.reason));
}
