// SPDX-License-Identifier: ISC
#include "access/snapshot.h"

#include <stdlib.h>

void ia_snapshot_free(struct ia_snapshot *snapshot)
{
    if (!snapshot)
        return;
    ia_ca_set_free(snapshot->cas);
    ia_ca_settings_set_free(snapshot->ca_settings);
    ia_policy_free(snapshot->policy);
    ia_ip_set_free(snapshot->ips);
    ia_issuer_set_free(snapshot->issuers);
    ia_revocations_free(snapshot->revocations);
    ia_reserved_free(snapshot->reserved);
    free(snapshot);
}
