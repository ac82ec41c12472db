// SPDX-License-Identifier: ISC
#include "plugin/log.h"
#include "tests/unit/plugin/broker_stub.h"
#include "tests/unit/suite.h"

#include <string.h>

static void fill(char text[2001], const char *unit)
{
    size_t size = strlen(unit);
    for (size_t i = 0; i + size <= 2000; i += size)
        memcpy(text + i, unit, size);
    text[2000 / size * size] = '\0';
}

START_TEST(log_line_has_its_prefix_and_is_cut_not_overrun)
{
    char longer[2001];
    fill(longer, "x");
    ia_log_begin(false, "node-1");
    ia_log(MOSQ_LOG_ERR, "%d%%s", 7);
    ck_assert_str_eq(broker.log, "8 iot-auth: 7%s\n");
    broker_forget();
    ia_log(MOSQ_LOG_ERR, "%s", longer);
    ck_assert_uint_eq(strlen(broker.log), strlen("8 iot-auth: \n") + 1023);
}
END_TEST

START_TEST(json_line_is_one_object)
{
    ia_log_begin(true, "node \"1\"");
    ia_log(MOSQ_LOG_WARNING, "the \"database\" is\nbusy %s", "%d");
    ck_assert_ptr_nonnull(strstr(
        broker.log,
        "4 {\"level\":\"warning\",\"message\":\"the \\\"database\\\" is\\u000abusy %d\",\"node\":\"node \\\"1\\\"\",\"at\":\"20"));
    ck_assert_str_eq(broker.log + strlen(broker.log) - 4, "Z\"}\n");
    broker_forget();
    ia_log_begin(true, NULL);
    ia_log(MOSQ_LOG_ERR, "x");
    ck_assert_ptr_nonnull(strstr(broker.log, "8 {\"level\":\"error\",\"message\":\"x\",\"at\":\"20"));
}
END_TEST

/* Mosquitto cuts at 1,000 bytes: an object that is cut is none. */
static const char *const units[] = {"x", "\"", "\x01", "\xC3\xA9", "\xFF", "\xF0\x9F\x98\x80"};

START_TEST(json_line_of_any_message_is_whole)
{
    char longer[2001];
    fill(longer, units[_i]);
    ia_log_begin(true, "node-1");
    ia_log(MOSQ_LOG_ERR, "%s", longer);
    size_t n = strlen(broker.log);
    ck_assert_uint_gt(n, 700);
    ck_assert_uint_le(n, IA_LOG_JSON_MAX + strlen("8 \n"));
    ck_assert_str_eq(broker.log + n - 4, "Z\"}\n");
    ck_assert_ptr_nonnull(strstr(broker.log, "\",\"node\":\"node-1\",\"at\":\""));
}
END_TEST

START_TEST(levels_have_words)
{
    ck_assert_str_eq(ia_log_level_word(MOSQ_LOG_ERR), "error");
    ck_assert_str_eq(ia_log_level_word(MOSQ_LOG_WARNING), "warning");
    ck_assert_str_eq(ia_log_level_word(MOSQ_LOG_NOTICE), "notice");
    ck_assert_str_eq(ia_log_level_word(MOSQ_LOG_INFO), "info");
    ck_assert_str_eq(ia_log_level_word(0), "info");
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, log_line_has_its_prefix_and_is_cut_not_overrun);
    tcase_add_test(c, json_line_is_one_object);
    tcase_add_loop_test(c, json_line_of_any_message_is_whole, 0, (int)(sizeof units / sizeof units[0]));
    tcase_add_test(c, levels_have_words);
}

int main(void)
{
    return run_suite("log", cases);
}
