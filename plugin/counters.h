// SPDX-License-Identifier: ISC
/* Counters: published under $SYS/broker/iot-auth/ and kept in iot_auth.node.  Broker thread. */
#pragma once

#include "common/histogram.h"
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
    uint64_t parked_total, parked_expired; /* connections held back for the registry's answer; … for auth_wait_ms */
    uint64_t database_lost;                /* connections to PostgreSQL that ended while they were needed */
    uint64_t events_dropped;               /* sampled away, or no room */
    struct ia_histogram connect;           /* the decision about one CONNECT, without the TLS handshake */
    struct ia_histogram parked;            /* how long a connection was held back before it was served */
    struct ia_histogram database;          /* from a question about a device to its answer */
    struct ia_histogram applied;           /* from the notification of a change until it is in force */
};

/* Call fn with the topic below $SYS/broker/iot-auth/ and the value of each counter, also where it is 0: a rate can be
 * computed from the first refusal on.  Of a histogram NAME/le_N is the number of durations of at most N microseconds. */
typedef void ia_counter_fn(void *ctx, const char *name, int64_t value);
void ia_counters_each(const struct ia_counters *counters, ia_counter_fn *fn, void *ctx);
