// SPDX-License-Identifier: ISC
#include "sql/notification.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Payloads, a row a case.  `keys` joined by '|'. */
static const struct {
    const char *payload;
    enum ia_notification_topic topic;
    bool all;
    const char *keys;
} rows[] = {
    {"ca\n17\n18", IA_NOTIFICATION_CA, false, "17|18"},
    {"device\nsensor 7", IA_NOTIFICATION_DEVICE, false, "sensor 7"},
    {"role\n*", IA_NOTIFICATION_ROLE, true, ""},
    {"issuer", IA_NOTIFICATION_ISSUER, true, ""},
    {"ip\n", IA_NOTIFICATION_IP, true, ""},
    {"event", IA_NOTIFICATION_EVENT, true, ""},
    {"device\na\n*", IA_NOTIFICATION_DEVICE, true, ""},
    {"device\na\n\nb", IA_NOTIFICATION_DEVICE, true, ""},
    {"device\na\n", IA_NOTIFICATION_DEVICE, true, ""},
    {"", IA_NOTIFICATION_UNKNOWN, true, ""},
    {"\n\n\n", IA_NOTIFICATION_UNKNOWN, true, ""},
    {"CA\n17", IA_NOTIFICATION_UNKNOWN, true, ""},
    {"ca \n17", IA_NOTIFICATION_UNKNOWN, true, ""},
    {"certificate\n17", IA_NOTIFICATION_UNKNOWN, true, ""},
    {"\xFF\xFE\x01%n%s", IA_NOTIFICATION_UNKNOWN, true, ""},
    {"ca\n%n%s\xFF", IA_NOTIFICATION_CA, false, "%n%s\xFF"},
};

START_TEST(payload_rows_parse_as_listed)
{
    static struct ia_notification n;
    char keys[256] = "";
    ia_notification_parse(rows[_i].payload, &n);
    for (size_t i = 0; i < n.n_keys; i++) {
        strcat(keys, i ? "|" : "");
        strcat(keys, n.keys[i]);
    }
    ck_assert_msg(n.topic == rows[_i].topic, "%s: topic %d", rows[_i].payload, (int)n.topic);
    ck_assert_msg(n.all == rows[_i].all, "%s: all", rows[_i].payload);
    ck_assert_msg(strcmp(keys, rows[_i].keys) == 0, "%s: keys %s", rows[_i].payload, keys);
}
END_TEST

static void fill_keys(char *payload, size_t n)
{
    char *p = stpcpy(payload, "device");
    for (size_t i = 0; i < n; i++)
        p = stpcpy(p, "\nx");
}

START_TEST(more_keys_than_fit_mean_all)
{
    static struct ia_notification n;
    char payload[2000];
    fill_keys(payload, IA_NOTIFICATION_KEYS);
    ia_notification_parse(payload, &n);
    ck_assert(!n.all && n.n_keys == IA_NOTIFICATION_KEYS);
    fill_keys(payload, IA_NOTIFICATION_KEYS + 1);
    ia_notification_parse(payload, &n);
    ck_assert(n.all && n.n_keys == 0 && n.topic == IA_NOTIFICATION_DEVICE);
}
END_TEST

START_TEST(payload_longer_than_any_of_postgresql_means_all)
{
    static struct ia_notification n;
    char payload[IA_NOTIFICATION_MAX + 1];
    memset(payload, 'x', sizeof payload);
    memcpy(payload, "ca\n", 3);
    payload[IA_NOTIFICATION_MAX] = '\0';
    ia_notification_parse(payload, &n);
    ck_assert(n.all && n.n_keys == 0 && n.topic == IA_NOTIFICATION_UNKNOWN);
    payload[IA_NOTIFICATION_MAX - 1] = '\0';
    ia_notification_parse(payload, &n);
    ck_assert(!n.all && n.n_keys == 1 && n.topic == IA_NOTIFICATION_CA);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("notification");
    TCase *c = tcase_create("notification");
    tcase_add_loop_test(c, payload_rows_parse_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, more_keys_than_fit_mean_all);
    tcase_add_test(c, payload_longer_than_any_of_postgresql_means_all);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
