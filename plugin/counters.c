// SPDX-License-Identifier: ISC
#include "plugin/counters.h"

#include <inttypes.h>
#include <stdio.h>

static void each_reason(const char *prefix, const uint64_t *values, ia_counter_fn *fn, void *ctx)
{
    char name[64];
    for (unsigned i = 1; i < IA_REASON_COUNT; i++) {
        (void)snprintf(name, sizeof name, "%s/%s", prefix, ia_reason_name((enum ia_reason)i));
        fn(ctx, name, (int64_t)values[i]);
    }
}

static void each_bound(const char *name, const struct ia_histogram *histogram, ia_counter_fn *fn, void *ctx)
{
    char topic[64];
    for (size_t i = 0; i < IA_HISTOGRAM_BOUNDS; i++) {
        (void)snprintf(topic, sizeof topic, "histogram/%s_us/le_%" PRIu64, name, ia_histogram_bound_us(i));
        fn(ctx, topic, (int64_t)ia_histogram_at_most(histogram, i));
    }
    (void)snprintf(topic, sizeof topic, "histogram/%s_us/count", name);
    fn(ctx, topic, (int64_t)histogram->count);
    (void)snprintf(topic, sizeof topic, "histogram/%s_us/sum", name);
    fn(ctx, topic, (int64_t)histogram->sum_us);
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
        {"parked/total", counters->parked_total},
        {"parked/expired", counters->parked_expired},
        {"database/lost", counters->database_lost},
        {"events/dropped", counters->events_dropped},
    };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        fn(ctx, plain[i].name, (int64_t)plain[i].value);
    each_reason("connects/refused", counters->refused, fn, ctx);
    each_reason("sessions/ended", counters->ended, fn, ctx);
    each_bound("connect", &counters->connect, fn, ctx);
    each_bound("parked", &counters->parked, fn, ctx);
    each_bound("database", &counters->database, fn, ctx);
    each_bound("applied", &counters->applied, fn, ctx);
}
