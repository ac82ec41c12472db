// SPDX-License-Identifier: ISC
#include "plugin/counters.h"

#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static char reported[16384]; /* "name=value\n" … */

static void note(void *ctx, const char *name, int64_t value)
{
    size_t n = strlen(reported);
    ck_assert_ptr_eq(ctx, reported);
    (void)snprintf(reported + n, sizeof reported - n, "%s=%lld\n", name, (long long)value);
}

static const char *each(const struct ia_counters *counters)
{
    reported[0] = '\0';
    ia_counters_each(counters, note, reported);
    return reported;
}

/* Prometheus computes no rate from a series whose first value is that of the first refusal. */
START_TEST(counters_begin_at_nought_with_every_reason)
{
    const struct ia_counters counters = {0};
    const char *text = each(&counters);
    ck_assert_ptr_nonnull(strstr(text, "connects/accepted/devices=0\n"));
    ck_assert_ptr_nonnull(strstr(text, "registrations=0\n"));
    for (int i = 1; i < IA_REASON_COUNT; i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "connects/refused/%s=0\n", ia_reason_name((enum ia_reason)i));
        ck_assert_msg(strstr(text, line) != NULL, "%s", line);
    }
}
END_TEST

START_TEST(counters_are_reported_by_their_names)
{
    struct ia_counters counters = {.accepted_devices = 1,
                                   .accepted_apps = 2,
                                   .registrations = 3,
                                   .acl_allowed = 4,
                                   .acl_denied = 5,
                                   .cache_hits = 6,
                                   .cache_misses = 7,
                                   .parked_total = 8,
                                   .parked_expired = 9,
                                   .events_dropped = 10};
    static const char *const lines[] = {"connects/accepted/devices=1\n",
                                        "connects/accepted/apps=2\n",
                                        "registrations=3\n",
                                        "acl/allowed=4\n",
                                        "acl/denied=5\n",
                                        "cache/hits=6\n",
                                        "cache/misses=7\n",
                                        "parked/total=8\n",
                                        "parked/expired=9\n",
                                        "events/dropped=10\n"};
    const char *text = each(&counters);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        ck_assert_msg(strstr(text, lines[i]) != NULL, "%s in %s", lines[i], text);
}
END_TEST

START_TEST(histograms_count_upwards)
{
    struct ia_counters counters = {0};
    static const char *const names[] = {"connect", "parked", "database", "applied"};
    struct ia_histogram *const histograms[] = {&counters.connect, &counters.parked, &counters.database,
                                               &counters.applied};
    for (size_t i = 0; i < 4; i++) {
        ia_histogram_note(histograms[i], 100);
        ia_histogram_note(histograms[i], 9000000);
    }
    const char *text = each(&counters);
    for (size_t i = 0; i < 4; i++) {
        char lines[256];
        (void)snprintf(lines, sizeof lines, "histogram/%s_us/le_64=0\nhistogram/%s_us/le_128=1\n", names[i], names[i]);
        ck_assert_msg(strstr(text, lines) != NULL, "%s", lines);
        (void)snprintf(lines, sizeof lines,
                       "histogram/%s_us/le_4194304=1\nhistogram/%s_us/count=2\nhistogram/%s_us/sum=9000100\n", names[i],
                       names[i], names[i]);
        ck_assert_msg(strstr(text, lines) != NULL, "%s", lines);
    }
}
END_TEST

START_TEST(every_reason_has_its_counter)
{
    struct ia_counters counters = {0};
    char line[128];
    for (int i = 1; i < IA_REASON_COUNT; i++) {
        counters.refused[i] = (uint64_t)i;
        counters.ended[i] = (uint64_t)i + 100;
    }
    const char *text = each(&counters);
    for (int i = 1; i < IA_REASON_COUNT; i++) {
        (void)snprintf(line, sizeof line, "connects/refused/%s=%d\n", ia_reason_name((enum ia_reason)i), i);
        ck_assert_msg(strstr(text, line) != NULL, "%s", line);
        (void)snprintf(line, sizeof line, "sessions/ended/%s=%d\n", ia_reason_name((enum ia_reason)i), i + 100);
        ck_assert_msg(strstr(text, line) != NULL, "%s", line);
    }
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, counters_begin_at_nought_with_every_reason);
    tcase_add_test(c, histograms_count_upwards);
    tcase_add_test(c, counters_are_reported_by_their_names);
    tcase_add_test(c, every_reason_has_its_counter);
}

int main(void)
{
    return run_suite("counters", cases);
}
