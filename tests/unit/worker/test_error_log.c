// SPDX-License-Identifier: ISC
/* Each error is logged once until everything works again. */
#include "worker/error_log.h"

#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static char lines[4096];

static void record_line(void *ctx, struct ia_reply *reply)
{
    (void)ctx;
    size_t n = strlen(lines);
    ck_assert_int_eq(reply->kind, IA_REPLY_LOG);
    (void)snprintf(lines + n, sizeof lines - n, "%d %s\n", reply->level, reply->text);
    ia_reply_free(reply);
}

static const struct ia_sink sink = {.send = record_line};

static void report(struct ia_error_log *log, const char *text)
{
    struct ia_err err = {0};
    (void)snprintf(err.msg, sizeof err.msg, "%s", text);
    ia_error_log_report(log, IA_LOG_ERROR, "no database", &err);
}

START_TEST(error_is_logged_once_until_the_recovery)
{
    struct ia_error_log *log = ia_error_log_new(&sink);
    lines[0] = '\0';
    ia_error_log_recovered(log, "the database is back"); /* no error was logged */
    for (int i = 0; i < 3; i++) {
        report(log, "connection refused");
        report(log, "timeout"); /* alternating errors are each logged once */
    }
    ia_error_log_recovered(log, "the database is back");
    report(log, "timeout");
    ck_assert_str_eq(lines, "2 no database: connection refused\n2 no database: timeout\n0 the database is back\n"
                            "2 no database: timeout\n");
    ia_error_log_free(log);
}
END_TEST

START_TEST(errors_with_changing_texts_are_bounded)
{
    struct ia_error_log *log = ia_error_log_new(&sink);
    lines[0] = '\0';
    for (int i = 0; i < 1000; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "error %d", i);
        report(log, text);
    }
    size_t n = 0;
    for (const char *p = lines; *p; p++)
        n += *p == '\n';
    ck_assert_uint_ge(n, 2);
    ck_assert_uint_le(n, 20);
    ia_error_log_free(log);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, error_is_logged_once_until_the_recovery);
    tcase_add_test(c, errors_with_changing_texts_are_bounded);
}

int main(void)
{
    return run_suite("error_log", cases);
}
