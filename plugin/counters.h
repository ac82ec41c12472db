// SPDX-License-Identifier: ISC
/* Counters: published under $SYS/broker/iot-auth/ and kept in iot_auth.node.  Broker thread. */
#pragma once

#include "common/reason.h"

#include <stddef.h>
#include <stdint.h>

struct ia_counters {
    uint64_t accepted_devices, accepted_apps;
    uint64_t refused[IA_REASON_COUNT];
    uint64_t ended[IA_REASON_COUNT]; /* live sessions ended by us */
    uint64_t registrations;
    uint64_t acl_allowed, acl_denied;
    uint64_t cache_hits, cache_misses;
    uint64_t parked, parked_expired; /* connections held back for the registry's answer; longer than auth_wait_ms */
    uint64_t events_dropped;         /* sampled away, or no room */
};

/* Call fn with the topic below $SYS/broker/iot-auth/ and the value of each counter that is not 0, or is always
 * shown. */
typedef void ia_counter_fn(void *ctx, const char *name, int64_t value);
void ia_counters_each(const struct ia_counters *counters, ia_counter_fn *fn, void *ctx);
