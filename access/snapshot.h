// SPDX-License-Identifier: ISC
/* The snapshot: all configuration that decisions need, immutable.  The worker builds it from rows; the broker thread
 * adopts it and gives it back to be freed.  Parts that did not change are shared with the snapshot before by reference;
 * no pointer leads from one part into another. */
#pragma once

#include "access/reserved.h"
#include "acl/ip.h"
#include "acl/policy.h"
#include "jitr/ca_settings.h"
#include "oauth/issuer.h"
#include "oauth/revocation.h"
#include "x509/ca_set.h"

#include <stdint.h>

struct ia_snapshot {
    uint64_t generation;    /* counts snapshots of this broker, from 1 */
    uint64_t ca_generation; /* changes when `cas` does */
    struct ia_ca_set *cas;
    struct ia_ca_settings_set *ca_settings;
    struct ia_policy *policy;
    struct ia_ip_set *ips;
    struct ia_issuer_set *issuers;
    struct ia_revocation_set *revocations; /* of tokens */
    struct ia_reserved_names *reserved;    /* NULL: no names are reserved */
};

void ia_snapshot_free(struct ia_snapshot *snapshot);
