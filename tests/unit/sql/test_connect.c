// SPDX-License-Identifier: ISC
/* Connecting, waiting and losing the connection, against a real PostgreSQL (with_postgres.sh). */
#include "pg_kit.h"
#include "sql/private.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct kit kit;

static void setup(void)
{
    kit_init(&kit);
}

static void teardown(void)
{
    kit_clear(&kit);
}

/* Connect with these options: what comes of it, and within which time. */
static enum ia_rc try_connect(const char *options, int most_ms, struct ia_err *err)
{
    struct ia_db *db = kit_db(&kit, options);
    int64_t start = kit_now_ms();
    enum ia_rc rc = ia_db_connect(db, err);
    int64_t took = kit_now_ms() - start;
    ck_assert_msg(took <= most_ms, "%s: took %d ms", options, (int)took);
    ck_assert(ia_db_connected(db) == (rc == IA_OK));
    ia_db_free(db);
    return rc;
}

static void assert_refused(const char *options, enum ia_rc rc, const char *words)
{
    struct ia_err err = {0};
    ck_assert_msg(try_connect(options, 3000, &err) == rc, "%s: %d: %s", options, (int)err.rc, err.msg);
    ck_assert_msg(strstr(err.msg, words), "%s: %s", options, err.msg);
    ck_assert_ptr_null(strpbrk(err.msg, "\n\t"));
}

START_TEST(connection_is_usable_and_named)
{
    struct ia_db *db = kit_connected(&kit);
    ck_assert(kit_ping(db, NULL) == IA_OK);
    ck_assert_ptr_nonnull(strstr(db->peer, ":5432"));
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                     "'mosquitto-iot-auth test-node'"),
                     "1");
    ia_db_disconnect(db);
    ck_assert_str_eq(db->peer, "");
    ck_assert(kit_ping(db, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_connect(db, NULL) == IA_OK);
    ia_db_free(db);
}
END_TEST

static void assert_setting(struct ia_db *db, const char *name, const char *value)
{
    char sql[64];
    snprintf(sql, sizeof sql, "SHOW %s", name);
    PGresult *result = PQexec(db->conn, sql);
    ck_assert_str_eq(PQgetvalue(result, 0, 0), value);
    PQclear(result);
}

START_TEST(session_is_pinned_and_bounded)
{
    struct ia_db *db = kit_connected(&kit);
    assert_setting(db, "search_path", "pg_catalog");
    assert_setting(db, "client_encoding", "UTF8");
    assert_setting(db, "statement_timeout", "1s");
    assert_setting(db, "lock_timeout", "300ms");
    ia_db_free(db);
}
END_TEST

START_TEST(session_keeps_the_users_timeouts_but_not_his_search_path)
{
    struct ia_db *db = kit_db(&kit, "options='-c statement_timeout=1234 -c search_path=public -c lock_timeout=77 "
                                    "-c standard_conforming_strings=off'");
    ck_assert(ia_db_connect(db, NULL) == IA_OK);
    assert_setting(db, "search_path", "pg_catalog");
    assert_setting(db, "statement_timeout", "1234ms");
    assert_setting(db, "lock_timeout", "77ms");
    assert_setting(db, "standard_conforming_strings", "on"); /* the functions of the schema are written for it */
    ia_db_free(db);
}
END_TEST

/* A database for people has such; the session that waits for notifications is idle by design. */
START_TEST(session_is_not_ended_by_timeouts_against_forgotten_sessions)
{
    struct ia_db *db =
        kit_db(&kit, "options='-c idle_session_timeout=10min -c idle_in_transaction_session_timeout=1s'");
    ck_assert(ia_db_connect(db, NULL) == IA_OK);
    assert_setting(db, "idle_session_timeout", "0");
    assert_setting(db, "idle_in_transaction_session_timeout", "0");
    ia_db_free(db);
}
END_TEST

START_TEST(wrong_password_is_reported_and_not_shown)
{
    struct ia_err err = {0};
    kit_run(&kit, "DO $$ BEGIN CREATE ROLE with_password LOGIN PASSWORD 'right' IN ROLE iot_auth_broker; "
                  "EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    ck_assert(try_connect("user=with_password password=s3cret", 3000, &err) == IA_USAGE);
    ck_assert_ptr_nonnull(strstr(err.msg, "authentication failed"));
    ck_assert_ptr_null(strstr(err.msg, "s3cret"));
    assert_refused("user=with_password passfile=/nonexistent", IA_USAGE, "authentication failed");
    ck_assert(try_connect("user=with_password password=right", 3000, &err) == IA_OK);
}
END_TEST

START_TEST(what_an_administrator_must_fix_is_named)
{
    assert_refused("user=no_such_role", IA_USAGE, "authentication failed");
    assert_refused("dbname=no_such_database", IA_USAGE, "no such database");
    assert_refused("dbname=postgres", IA_USAGE, "apply sql/migrations");
    char options[64];
    snprintf(options, sizeof options, "host=127.0.0.1 port=%d sslmode=require", kit_strange_host(KIT_NO_TLS));
    assert_refused(options, IA_USAGE, "TLS failed");
}
END_TEST

START_TEST(old_schema_names_versions_and_remedy)
{
    kit_run(&kit, "UPDATE iot_auth.schema_version SET version = version - 1000");
    assert_refused("", IA_USAGE, "apply sql/migrations");
    assert_refused("", IA_USAGE, "is at version -");
    kit_run(&kit, "DELETE FROM iot_auth.schema_version");
    assert_refused("", IA_USAGE, "is at version 0");
}
END_TEST

START_TEST(incomplete_schema_names_the_remedy)
{
    kit_run(&kit, "DROP VIEW iot_auth.broker_device CASCADE");
    assert_refused("", IA_USAGE, "apply sql/migrations");
}
END_TEST

START_TEST(role_without_rights_names_the_remedy)
{
    kit_run(&kit, "DO $$ BEGIN CREATE ROLE ungranted LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    assert_refused("user=ungranted", IA_USAGE, "grant iot_auth_broker");
}
END_TEST

START_TEST(read_only_server_is_refused_as_retryable)
{
    assert_refused("options='-c default_transaction_read_only=on'", IA_UNAVAILABLE, "read-only");
    assert_refused("options='-c default_transaction_read_only=on' target_session_attrs=any", IA_UNAVAILABLE,
                   "read-only");
}
END_TEST

START_TEST(too_many_connections_is_retryable)
{
    struct ia_err err = {0};
    kit_run(&kit, "DO $$ BEGIN CREATE ROLE narrow LOGIN CONNECTION LIMIT 0 IN ROLE iot_auth_broker; "
                  "EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    ck_assert_msg(try_connect("user=narrow", 3000, &err) == IA_UNAVAILABLE, "%s", err.msg);
    ck_assert_ptr_nonnull(strstr(err.msg, "too many connections"));
}
END_TEST

START_TEST(nobody_there_is_retryable_at_once)
{
    assert_refused("host=/nonexistent", IA_UNAVAILABLE, "cannot be reached");
    assert_refused("host=127.0.0.1 port=1", IA_UNAVAILABLE, "cannot be reached");
}
END_TEST

static const struct {
    enum kit_host kind;
    const char *label;
    const char *words;
} strange[] = {
    {KIT_SILENT, "silent", "timeout"},
    {KIT_HOLE, "black hole", "timeout"},
    {KIT_CLOSES, "closes", "cannot be reached"},
    {KIT_BABBLES, "babbles", "no PostgreSQL there"},
};

START_TEST(strange_host_is_given_up_in_time)
{
    struct ia_err err = {0};
    char options[64];
    snprintf(options, sizeof options, "host=127.0.0.1 port=%d", kit_strange_host(strange[_i].kind));
    ck_assert_msg(try_connect(options, 1500, &err) == IA_UNAVAILABLE, "%s: %s", strange[_i].label, err.msg);
    ck_assert_msg(strstr(err.msg, strange[_i].words), "%s: %s", strange[_i].label, err.msg);
}
END_TEST

START_TEST(next_host_takes_over_from_a_strange_one)
{
    char options[256];
    snprintf(options, sizeof options, "host=127.0.0.1,/nonexistent,%s port=%d,1,5432 target_session_attrs=read-write",
             getenv("PGHOST"), kit_strange_host(strange[_i].kind));
    struct ia_err err = {0};
    struct ia_db *db = kit_db(&kit, options);
    ck_assert_msg(ia_db_connect(db, &err) == IA_OK, "%s: %s", strange[_i].label, err.msg);
    ck_assert_ptr_nonnull(strstr(db->peer, getenv("PGHOST")));
    ia_db_free(db);
}
END_TEST

START_TEST(next_address_of_a_name_takes_over_from_a_black_hole)
{
    struct ia_err err = {0};
    char options[64];
    snprintf(options, sizeof options, "host=two-faces port=%d", kit_two_faces(KIT_BABBLES));
    ck_assert(try_connect(options, 1500, &err) == IA_UNAVAILABLE);
    ck_assert_msg(strstr(err.msg, "no PostgreSQL there"), "%s", err.msg);
}
END_TEST

START_TEST(several_failures_report_the_most_specific)
{
    char options[128];
    snprintf(options, sizeof options, "host=%s,/nonexistent dbname=postgres", getenv("PGHOST"));
    assert_refused(options, IA_USAGE, "apply sql/migrations");
}
END_TEST

START_TEST(stop_ends_connecting_at_once)
{
    char options[64];
    struct ia_err err = {0};
    struct kit_later later = {.kit = &kit, .delay_ms = 50, .stop = true};
    snprintf(options, sizeof options, "host=127.0.0.1,127.0.0.1 port=%d", kit_strange_host(KIT_SILENT));
    kit_later(&later);
    ck_assert(try_connect(options, 300, &err) == IA_UNAVAILABLE);
    kit_join(&later);
    ck_assert_msg(strstr(err.msg, "stopped"), "%s", err.msg);
}
END_TEST

/* ---- waiting ---- */

static int64_t timed_wait(struct ia_db *db, int timeout_ms, enum ia_rc rc)
{
    int64_t start = kit_now_ms();
    struct ia_err err = {0};
    ck_assert_msg(ia_db_wait(db, -1, timeout_ms, &err) == rc, "%s", err.msg);
    return kit_now_ms() - start;
}

START_TEST(wait_ends_with_a_notification)
{
    static struct ia_notification n;
    struct ia_db *db = kit_connected(&kit);
    ck_assert(!ia_db_notification(db, &n));
    kit_run(&kit, "NOTIFY iot_auth, E'ca\\n17\\n18'");
    ck_assert_int_lt(timed_wait(db, 5000, IA_OK), 2000);
    ck_assert(ia_db_notification(db, &n));
    ck_assert(n.topic == IA_NOTIFICATION_CA && n.n_keys == 2 && !n.all);
    ck_assert_str_eq(n.keys[1], "18");
    ck_assert(!ia_db_notification(db, &n));
    ia_db_free(db);
}
END_TEST

/* libcurl's sockets, say: the wait ends, with or without a connection, and does not read them. */
START_TEST(another_descriptor_ends_the_wait)
{
    struct ia_err err = {0};
    uint64_t one = 1;
    int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct ia_db *db = kit_connected(&kit);
    ck_assert_int_eq(write(other, &one, sizeof one), sizeof one);
    for (int connected = 1; connected >= 0; connected--) {
        int64_t start = kit_now_ms();
        if (!connected)
            ia_db_disconnect(db);
        ck_assert_msg(ia_db_wait(db, other, 5000, &err) == IA_OK, "%s", err.msg);
        ck_assert_int_lt(kit_now_ms() - start, 2000);
    }
    ck_assert_int_eq(read(other, &one, sizeof one), sizeof one);
    ck_assert_int_ge(timed_wait(db, 50, IA_OK), 40);
    ia_db_free(db);
    close(other);
}
END_TEST

START_TEST(notification_during_a_statement_is_kept)
{
    static struct ia_notification n;
    struct ia_db *db = kit_connected(&kit);
    kit_run(&kit, "NOTIFY iot_auth, 'role'");
    ck_assert(kit_ping(db, NULL) == IA_OK);
    ck_assert(kit_ping(db, NULL) == IA_OK);
    ck_assert_int_lt(timed_wait(db, 5000, IA_OK), 2000);
    ck_assert(ia_db_notification(db, &n));
    ck_assert(n.topic == IA_NOTIFICATION_ROLE && n.all);
    ia_db_free(db);
}
END_TEST

START_TEST(hostile_notifications_are_hints_only)
{
    static struct ia_notification n;
    struct ia_db *db = kit_connected(&kit);
    kit_run(&kit, "NOTIFY iot_auth");
    kit_run(&kit, "NOTIFY iot_auth, 'drop table'");
    kit_run(&kit, "SELECT pg_notify('iot_auth', 'device' || repeat(E'\\nx', 3900))");
    for (int i = 0; i < 3; i++) {
        while (!ia_db_notification(db, &n))
            timed_wait(db, 5000, IA_OK);
        ck_assert(n.all && n.n_keys == 0);
    }
    ck_assert(n.topic == IA_NOTIFICATION_DEVICE);
    ia_db_free(db);
}
END_TEST

START_TEST(change_committed_after_connect_is_notified)
{
    static struct ia_notification n;
    struct ia_db *db = kit_connected(&kit);
    kit_run(&kit, "INSERT INTO iot_auth.role (role) VALUES ('meter')");
    timed_wait(db, 5000, IA_OK);
    ck_assert(ia_db_notification(db, &n));
    ck_assert(n.topic == IA_NOTIFICATION_ROLE && n.n_keys == 1);
    ck_assert_str_eq(n.keys[0], "meter");
    ia_db_free(db);
}
END_TEST

START_TEST(wait_ends_in_time)
{
    struct ia_db *db = kit_connected(&kit);
    int64_t took = timed_wait(db, 60, IA_OK);
    ck_assert_int_ge(took, 59);
    ck_assert_int_lt(took, 1000);
    ck_assert_int_lt(timed_wait(db, 0, IA_OK), 50);
    ia_db_disconnect(db);
    took = timed_wait(db, 60, IA_OK);
    ck_assert_int_ge(took, 59);
    ck_assert_int_lt(took, 1000);
    ia_db_free(db);
}
END_TEST

START_TEST(wake_up_ends_wait_with_and_without_connection)
{
    struct ia_db *db = kit_connected(&kit);
    for (int i = 0; i < 2; i++) {
        struct kit_later later = {.kit = &kit, .delay_ms = 30};
        kit_later(&later);
        ck_assert_int_lt(timed_wait(db, 5000, IA_OK), 2000);
        kit_join(&later);
        ia_db_disconnect(db);
    }
    ia_db_free(db);
}
END_TEST

START_TEST(wake_up_during_a_statement_ends_the_next_wait_once)
{
    uint64_t one = 1;
    struct ia_db *db = kit_connected(&kit);
    ck_assert(write(kit.wake_fd, &one, sizeof one) == sizeof one);
    ck_assert(kit_ping(db, NULL) == IA_OK);
    ck_assert_int_lt(timed_wait(db, 5000, IA_OK), 2000);
    ck_assert_int_ge(timed_wait(db, 60, IA_OK), 59);
    ia_db_free(db);
}
END_TEST

START_TEST(stop_ends_wait_at_once)
{
    struct ia_db *db = kit_connected(&kit);
    struct kit_later later = {.kit = &kit, .delay_ms = 30, .stop = true};
    kit_later(&later);
    ck_assert_int_lt(timed_wait(db, 5000, IA_UNAVAILABLE), 2000);
    kit_join(&later);
    ck_assert(kit_ping(db, NULL) == IA_UNAVAILABLE);
    ia_db_free(db);
}
END_TEST

/* ---- losing it ---- */

START_TEST(connection_ended_by_the_server_is_noticed_while_waiting)
{
    char sql[64];
    struct ia_db *db = kit_connected(&kit);
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d)", (int)kit_backend(db));
    kit_run(&kit, sql);
    ck_assert_int_lt(timed_wait(db, 5000, IA_UNAVAILABLE), 2000);
    ck_assert(!ia_db_connected(db));
    ck_assert(ia_db_connect(db, NULL) == IA_OK);
    ia_db_free(db);
}
END_TEST

START_TEST(connection_ended_by_the_server_is_noticed_by_a_statement)
{
    char sql[64];
    struct ia_err err = {0};
    struct ia_db *db = kit_connected(&kit);
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d, 5000)", (int)kit_backend(db));
    kit_run(&kit, sql);
    ck_assert(kit_ping(db, &err) == IA_UNAVAILABLE);
    ck_assert(!ia_db_connected(db));
    ck_assert_ptr_null(strpbrk(err.msg, "\n\t"));
    ia_db_free(db);
}
END_TEST

START_TEST(hung_server_is_given_up_at_the_deadline)
{
    struct ia_err err = {0};
    struct ia_db *db = kit_connected(&kit);
    pid_t backend = kit_backend(db);
    ck_assert_int_eq(kill(backend, SIGSTOP), 0);
    int64_t start = kit_now_ms();
    enum ia_rc rc = kit_ping(db, &err);
    int64_t took = kit_now_ms() - start;
    kill(backend, SIGCONT);
    ck_assert(rc == IA_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(err.msg, "timeout"));
    ck_assert_int_ge(took, 990);
    ck_assert_int_lt(took, 2000);
    ck_assert(!ia_db_connected(db));
    ck_assert(ia_db_connect(db, NULL) == IA_OK);
    ia_db_free(db);
}
END_TEST

START_TEST(stop_ends_a_statement_of_a_hung_server_at_once)
{
    struct ia_db *db = kit_connected(&kit);
    pid_t backend = kit_backend(db);
    struct kit_later later = {.kit = &kit, .delay_ms = 50, .stop = true};
    ck_assert_int_eq(kill(backend, SIGSTOP), 0);
    kit_later(&later);
    int64_t start = kit_now_ms();
    enum ia_rc rc = kit_ping(db, NULL);
    ia_db_free(db);
    int64_t took = kit_now_ms() - start;
    kill(backend, SIGCONT);
    kit_join(&later);
    ck_assert(rc == IA_UNAVAILABLE);
    ck_assert_int_lt(took, 500);
}
END_TEST

START_TEST(killed_server_process_is_noticed_and_the_server_found_again)
{
    struct ia_err err = {0};
    struct ia_db *db = kit_connected(&kit);
    ck_assert_int_eq(kill(kit_backend(db), SIGKILL), 0);
    ck_assert_int_lt(timed_wait(db, 5000, IA_UNAVAILABLE), 3000);
    for (int64_t end = kit_now_ms() + 10000; ia_db_connect(db, &err) != IA_OK;) {
        ck_assert_msg(kit_now_ms() < end && err.rc == IA_UNAVAILABLE, "%s", err.msg);
        ck_assert(ia_db_wait(db, -1, 50, NULL) == IA_OK);
    }
    ck_assert(kit_ping(db, NULL) == IA_OK);
    ia_db_free(db);
    PQreset(kit.admin); /* the server has ended all others too */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("connect");
    TCase *c = tcase_create("connect");
    int n_strange = (int)(sizeof strange / sizeof strange[0]);
    tcase_set_timeout(c, 30);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, connection_is_usable_and_named);
    tcase_add_test(c, session_is_pinned_and_bounded);
    tcase_add_test(c, session_keeps_the_users_timeouts_but_not_his_search_path);
    tcase_add_test(c, wrong_password_is_reported_and_not_shown);
    tcase_add_test(c, what_an_administrator_must_fix_is_named);
    tcase_add_test(c, old_schema_names_versions_and_remedy);
    tcase_add_test(c, incomplete_schema_names_the_remedy);
    tcase_add_test(c, role_without_rights_names_the_remedy);
    tcase_add_test(c, session_is_not_ended_by_timeouts_against_forgotten_sessions);
    tcase_add_test(c, read_only_server_is_refused_as_retryable);
    tcase_add_test(c, too_many_connections_is_retryable);
    tcase_add_test(c, nobody_there_is_retryable_at_once);
    tcase_add_loop_test(c, strange_host_is_given_up_in_time, 0, n_strange);
    tcase_add_loop_test(c, next_host_takes_over_from_a_strange_one, 0, n_strange);
    tcase_add_test(c, next_address_of_a_name_takes_over_from_a_black_hole);
    tcase_add_test(c, several_failures_report_the_most_specific);
    tcase_add_test(c, stop_ends_connecting_at_once);
    tcase_add_test(c, wait_ends_with_a_notification);
    tcase_add_test(c, another_descriptor_ends_the_wait);
    tcase_add_test(c, notification_during_a_statement_is_kept);
    tcase_add_test(c, hostile_notifications_are_hints_only);
    tcase_add_test(c, change_committed_after_connect_is_notified);
    tcase_add_test(c, wait_ends_in_time);
    tcase_add_test(c, wake_up_ends_wait_with_and_without_connection);
    tcase_add_test(c, wake_up_during_a_statement_ends_the_next_wait_once);
    tcase_add_test(c, stop_ends_wait_at_once);
    tcase_add_test(c, connection_ended_by_the_server_is_noticed_while_waiting);
    tcase_add_test(c, connection_ended_by_the_server_is_noticed_by_a_statement);
    tcase_add_test(c, hung_server_is_given_up_at_the_deadline);
    tcase_add_test(c, stop_ends_a_statement_of_a_hung_server_at_once);
    tcase_add_test(c, killed_server_process_is_noticed_and_the_server_found_again);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
