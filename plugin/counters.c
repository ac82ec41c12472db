// SPDX-License-Identifier: ISC
#include "plugin/counters.h"

#include <stdio.h>

static void each_reason(const char *prefix, const uint64_t *values, ia_counter_fn *fn, void *ctx)
{
    char name[64];
    for (unsigned i = 1; i < IA_REASON_COUNT; i++) {
        if (!values[i])
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", prefix, ia_reason_name((enum ia_reason)i));
        fn(ctx, name, (int64_t)values[i]);
    }
}

void ia_counters_each(const struct ia_counters *counters, ia_counter_fn *fn, void *ctx)
{
    const struct {
        const char *name;
        uint64_t value;
    } plain[] = {
        {"connects/accepted/devices", counters->accepted_devices},
        {"connects/accepted/apps", counters->accepted_apps},
        {"registrations", counters->registrations},
        {"acl/allowed", counters->acl_allowed},
        {"acl/denied", counters->acl_denied},
        {"cache/hits", counters->cache_hits},
        {"cache/misses", counters->cache_misses},
        {"parked/total", counters->parked},
        {"parked/expired", counters->parked_expired},
        {"events/dropped", counters->events_dropped},
    };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        fn(ctx, plain[i].name, (int64_t)plain[i].value);
    each_reason("connects/refused", counters->refused, fn, ctx);
    each_reason("sessions/ended", counters->ended, fn, ctx);
}
