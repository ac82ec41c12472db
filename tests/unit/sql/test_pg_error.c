// SPDX-License-Identifier: ISC
#include "sql/pg_error.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Messages of connection attempts, as libpq gives them with PQERRORS_VERBOSE, a row a case. */
static const struct {
    const char *message;
    const char *what;
    enum ia_rc rc;
    const char *text;
} messages[] = {
    {"connection to server at \"db\" (10.0.0.1), port 5432 failed: FATAL:  28P01: password authentication failed for "
     "user "
     "\"x\"\nLOCATION:  auth_failed, auth.c:335\n",
     "authentication failed", IA_USAGE, "password authentication failed for user \"x\""},
    {"connection to server at \"db\", port 5432 failed: FATALE:  28P01: autenticazione con password fallita\n",
     "authentication failed", IA_USAGE, "autenticazione con password fallita"},
    {"connection to server on socket \"/tmp/.s.PGSQL.5432\" failed: FATAL:  3D000: database \"y\" does not exist\n",
     "no such database", IA_USAGE, "database \"y\" does not exist"},
    {"connection to server at \"db\", port 5432 failed: FATAL:  53300: sorry, too many clients already\n",
     "too many connections", IA_UNAVAILABLE, "sorry, too many clients already"},
    {"connection to server at \"db\", port 5432 failed: FATAL:  57P03: the database system is starting up\n",
     "starting up or shutting down", IA_UNAVAILABLE, "the database system is starting up"},
    {"connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running on that host "
     "and "
     "accepting TCP/IP connections?\n",
     "cannot be reached", IA_UNAVAILABLE, "Connection refused"},
    {"connection to server at \"db\", port 5432 failed: session is read-only\n", "read-only", IA_UNAVAILABLE,
     "session is read-only"},
    {"connection to server at \"db\", port 5432 failed: server is in hot standby mode\n", "read-only", IA_UNAVAILABLE,
     "server is in hot standby mode"},
    {"connection to server at \"db\", port 5432 failed: fe_sendauth: no password supplied\n", "authentication failed",
     IA_USAGE, "fe_sendauth: no password supplied"},
    {"connection to server at \"db\", port 5432 failed: server does not support SSL, but SSL was required\n",
     "TLS failed", IA_USAGE, "server does not support SSL, but SSL was required"},
    {"connection to server at \"db\", port 5432 failed: SSL error: certificate verify failed\n", "TLS failed", IA_USAGE,
     "SSL error: certificate verify failed"},
    {"connection to server at \"db\", port 80 failed: expected authentication request from server, but received H\n",
     "no PostgreSQL there", IA_UNAVAILABLE, "expected authentication request from server, but received H"},
    {"connection to server at \"db\", port 80 failed: received invalid response to SSL negotiation: H\n",
     "no PostgreSQL there", IA_UNAVAILABLE, "received invalid response to SSL negotiation: H"},
    {"could not translate host name \"authentication\" to address: Name or service not known\n", "cannot be reached",
     IA_UNAVAILABLE, "could not translate host name \"authentication\" to address: Name or service not known"},
    {"", "cannot be reached", IA_UNAVAILABLE, ""},
};

START_TEST(messages_are_judged_as_listed)
{
    char text[128];
    struct ia_pg_error t = ia_pg_error_of_message(messages[_i].message);
    ia_pg_error_text(messages[_i].message, NULL, text, sizeof text);
    ck_assert_msg(strcmp(t.what, messages[_i].what) == 0, "%s: %s", messages[_i].message, t.what);
    ck_assert_msg(t.rc == messages[_i].rc, "%s", messages[_i].message);
    ck_assert_str_eq(text, messages[_i].text);
}
END_TEST

/* Refused statements: what follows for the caller and for the connection. */
static const struct {
    const char *state;
    enum ia_rc rc;
    bool lost;
} states[] = {
    {"23505", IA_FORMAT, false},      {"22021", IA_FORMAT, false},      {"P0001", IA_FORMAT, false},
    {"42P01", IA_USAGE, false},       {"42501", IA_USAGE, false},       {"3F000", IA_USAGE, false},
    {"57014", IA_UNAVAILABLE, false}, {"57P01", IA_UNAVAILABLE, true},  {"40001", IA_UNAVAILABLE, false},
    {"40P01", IA_UNAVAILABLE, false}, {"55P03", IA_UNAVAILABLE, false}, {"25006", IA_UNAVAILABLE, true},
    {"53100", IA_UNAVAILABLE, false}, {"0A000", IA_UNAVAILABLE, false}, {"26000", IA_UNAVAILABLE, false},
    {"XX000", IA_FORMAT, false},      {"54000", IA_FORMAT, false},      {"58030", IA_UNAVAILABLE, false},
    {"08006", IA_UNAVAILABLE, true},  {"", IA_UNAVAILABLE, true},       {NULL, IA_UNAVAILABLE, true},
};

START_TEST(states_are_judged_as_listed)
{
    struct ia_pg_error t = ia_pg_error_of_state(states[_i].state);
    ck_assert_msg(t.rc == states[_i].rc && t.lost == states[_i].lost, "%s", states[_i].state);
    ck_assert_ptr_nonnull(t.what);
}
END_TEST

START_TEST(text_never_shows_the_password)
{
    char text[64];
    ia_pg_error_text("x failed: bad s3cret and s3cret\n", "s3cret", text, sizeof text);
    ck_assert_str_eq(text, "bad *** and ***");
    ia_pg_error_text("s3cret", "", text, sizeof text);
    ck_assert_str_eq(text, "s3cret");
}
END_TEST

/* Not by the server's words, which may be translated. */
START_TEST(lock_is_recognised_by_its_state)
{
    ck_assert(ia_pg_error_is_lock("55P03") && ia_pg_error_is_lock("40P01"));
    ck_assert(!ia_pg_error_is_lock("57014") && !ia_pg_error_is_lock("") && !ia_pg_error_is_lock(NULL));
}
END_TEST

START_TEST(text_is_one_line_within_its_size)
{
    char text[16];
    memset(text, 'x', sizeof text);
    ia_pg_error_text("a\tb\x1B[31m and much more than fits", NULL, text, sizeof text);
    ck_assert_uint_lt(strlen(text), sizeof text);
    ck_assert_ptr_null(strpbrk(text, "\t\n\x1B"));
    ia_pg_error_text("long enough to be cut: pppppppppppppppp", "pp", text, sizeof text);
    ck_assert_uint_lt(strlen(text), sizeof text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pg_error");
    TCase *c = tcase_create("pg_error");
    tcase_add_loop_test(c, messages_are_judged_as_listed, 0, (int)(sizeof messages / sizeof messages[0]));
    tcase_add_loop_test(c, states_are_judged_as_listed, 0, (int)(sizeof states / sizeof states[0]));
    tcase_add_test(c, text_never_shows_the_password);
    tcase_add_test(c, lock_is_recognised_by_its_state);
    tcase_add_test(c, text_is_one_line_within_its_size);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
