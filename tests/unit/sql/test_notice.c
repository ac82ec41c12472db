// SPDX-License-Identifier: ISC
#include "sql/notice.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Payloads, a row a case.  `keys` joined by '|'. */
static const struct {
    const char *payload;
    enum ia_notice_topic topic;
    bool all;
    const char *keys;
} rows[] = {
    {"ca\n17\n18", IA_NOTICE_CA, false, "17|18"},
    {"device\nsensor 7", IA_NOTICE_DEVICE, false, "sensor 7"},
    {"role\n*", IA_NOTICE_ROLE, true, ""},
    {"issuer", IA_NOTICE_ISSUER, true, ""},
    {"ip\n", IA_NOTICE_IP, true, ""},
    {"event", IA_NOTICE_EVENT, true, ""},
    {"device\na\n*", IA_NOTICE_DEVICE, true, ""},
    {"device\na\n\nb", IA_NOTICE_DEVICE, true, ""},
    {"device\na\n", IA_NOTICE_DEVICE, true, ""},
    {"", IA_NOTICE_UNKNOWN, true, ""},
    {"\n\n\n", IA_NOTICE_UNKNOWN, true, ""},
    {"CA\n17", IA_NOTICE_UNKNOWN, true, ""},
    {"ca \n17", IA_NOTICE_UNKNOWN, true, ""},
    {"certificate\n17", IA_NOTICE_UNKNOWN, true, ""},
    {"\xFF\xFE\x01%n%s", IA_NOTICE_UNKNOWN, true, ""},
    {"ca\n%n%s\xFF", IA_NOTICE_CA, false, "%n%s\xFF"},
};

START_TEST(payload_rows_parse_as_listed)
{
    static struct ia_notice n;
    char keys[256] = "";
    ia_notice_parse(rows[_i].payload, &n);
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
    static struct ia_notice n;
    char payload[2000];
    fill_keys(payload, IA_NOTICE_KEYS);
    ia_notice_parse(payload, &n);
    ck_assert(!n.all && n.n_keys == IA_NOTICE_KEYS);
    fill_keys(payload, IA_NOTICE_KEYS + 1);
    ia_notice_parse(payload, &n);
    ck_assert(n.all && n.n_keys == 0 && n.topic == IA_NOTICE_DEVICE);
}
END_TEST

START_TEST(payload_longer_than_any_of_postgresql_means_all)
{
    static struct ia_notice n;
    char payload[IA_NOTICE_MAX + 1];
    memset(payload, 'x', sizeof payload);
    memcpy(payload, "ca\n", 3);
    payload[IA_NOTICE_MAX] = '\0';
    ia_notice_parse(payload, &n);
    ck_assert(n.all && n.n_keys == 0 && n.topic == IA_NOTICE_UNKNOWN);
    payload[IA_NOTICE_MAX - 1] = '\0';
    ia_notice_parse(payload, &n);
    ck_assert(!n.all && n.n_keys == 1 && n.topic == IA_NOTICE_CA);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("notice");
    TCase *c = tcase_create("notice");
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
