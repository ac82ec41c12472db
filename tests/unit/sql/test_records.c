// SPDX-License-Identifier: ISC
/* What a broker writes, and the tail of the events, against a real PostgreSQL (with_postgres.sh). */
#include "pg_kit.h"

#include "common/clock.h"
#include "sql/private.h"
#include "sql/records.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kit kit;
static struct ia_db *db;

static void setup(void)
{
    kit_init(&kit);
    kit_run(&kit, "SET session_replication_role = replica"); /* PEM is not looked into here */
    kit_run(&kit, "INSERT INTO iot_auth.ca (ca_id, name, pem, fingerprint) VALUES (1, 'acme', 'x', sha256('1'))");
    kit_run(&kit, "INSERT INTO iot_auth.device (device_id, ca_id) VALUES ('d-1', 1), ('d-2', 1)");
    kit_run(&kit, "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, pem) "
                  "VALUES (sha256('a'), 'd-1', 1, 'the pem'), (sha256('b'), 'd-2', 1, NULL)");
    kit_run(&kit, "SET session_replication_role = origin");
    db = kit_connected(&kit);
}

static void teardown(void)
{
    ia_db_free(db);
    kit_clear(&kit);
}

static const struct ia_cert_info info = {
    .serial = "-0a", .subject = "CN=x", .not_before = 1700000000, .not_after = 1893456000};

START_TEST(ca_columns_and_problem_are_written_and_cleared)
{
    static const char columns[] = "SELECT concat_ws('/', subject, extract(epoch from not_before)::bigint, "
                                  "extract(epoch from not_after)::bigint, problem) FROM iot_auth.ca";
    ck_assert(ia_db_set_ca_parsed(db, 1, &info, "stale CRL", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, columns), "CN=x/1700000000/1893456000/stale CRL");
    ck_assert(ia_db_set_ca_parsed(db, 1, &info, NULL, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, columns), "CN=x/1700000000/1893456000");
    /* Subject and dates are written once: a broker cannot change what another has read. */
    ck_assert(ia_db_set_ca_parsed(db, 1, NULL, "does not parse", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, columns), "CN=x/1700000000/1893456000/does not parse");
    ck_assert(ia_db_set_ca_parsed(db, 99, &info, NULL, NULL) == IA_OK);
}
END_TEST

START_TEST(ca_that_is_valid_from_1970_has_its_date)
{
    struct ia_cert_info early = info;
    early.not_before = 0;
    ck_assert(ia_db_set_ca_parsed(db, 1, &early, NULL, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT extract(epoch from not_before)::bigint FROM iot_auth.ca"), "0");
}
END_TEST

START_TEST(unparsed_certificates_are_listed_until_they_are_filled)
{
    static const uint8_t first[IA_FINGERPRINT_LEN];
    struct ia_unparsed_rows *rows = NULL;
    ck_assert(ia_db_unparsed(db, first, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 1);
    ck_assert_str_eq(rows->rows[0].pem, "the pem");
    struct ia_cert_info filled = info;
    memcpy(filled.fingerprint, rows->rows[0].fingerprint, sizeof filled.fingerprint);
    ia_unparsed_rows_free(rows);
    ck_assert(ia_db_unparsed(db, filled.fingerprint, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 0);
    ia_unparsed_rows_free(rows);
    ck_assert(ia_db_set_certificate_parsed(db, filled.fingerprint, &filled, NULL, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT serial || subject || extract(epoch from not_after)::bigint FROM "
                                     "iot_auth.device_certificate WHERE device_id = 'd-1'"),
                     "-0aCN=x1893456000");
    ck_assert(ia_db_unparsed(db, first, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 0);
    ia_unparsed_rows_free(rows);
    ia_unparsed_rows_free(NULL);
}
END_TEST

START_TEST(problems_of_rules_and_issuers_are_written_and_cleared)
{
    static const char rule[] = "SELECT problem FROM iot_auth.role_rule WHERE rule_id = 1";
    static const char issuer[] = "SELECT problem FROM iot_auth.oauth_issuer";
    kit_run(&kit, "INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, jwks_url) VALUES ('idp', "
                  "'https://idp.example', '{a}', 'https://idp.example/jwks')");
    ck_assert(ia_db_set_rule_problem(db, 1, "bad filter", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, rule), "bad filter");
    ck_assert(ia_db_set_rule_problem(db, 1, NULL, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, rule), "");
    ck_assert(ia_db_set_issuer_problem(db, "idp", "no keys", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, issuer), "no keys");
    static const char note[] = "SELECT note FROM iot_auth.oauth_issuer";
    ck_assert(ia_db_set_issuer_note(db, "idp", "key 'a': kty 'AKP' is not used here", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, note), "key 'a': kty 'AKP' is not used here");
    ck_assert_str_eq(kit_value(&kit, issuer), "no keys"); /* each by itself */
    ck_assert(ia_db_set_issuer_problem(db, "idp", NULL, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, issuer), "");
    ck_assert_str_ne(kit_value(&kit, note), "");
    ck_assert(ia_db_set_issuer_note(db, "idp", NULL, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, note), "");
}
END_TEST

START_TEST(events_are_written_with_all_columns_and_nulls)
{
    const int64_t at = ia_wall_us() - 3600000000; /* events are of the last days */
    const struct ia_event_row events[] = {
        {at, "device/refused", "d-1", 1, "10.0.0.1", "device_inactive", "{\"rule\": 7}"},
        {at + 1, "session/ended", NULL, 0, NULL, NULL, NULL},
        {at + 2, "app/refused", "app:x:\"y\"\\{},NULL", 0, "::1", "token_expired", "not json"},
    };
    ck_assert(ia_db_write_events(db, "node-1", events, 3, NULL) == IA_OK);
    char expected[32];
    snprintf(expected, sizeof expected, "%lld", (long long)at);
    ck_assert_str_eq(kit_value(&kit, "SELECT (extract(epoch from min(at)) * 1000000)::bigint FROM iot_auth.event"),
                     expected);
    ck_assert_str_eq(
        kit_value(&kit, "SELECT string_agg(concat_ws('|', node, kind, "
                        "coalesce(principal, '-'), coalesce(ca_id, 0), coalesce(address, '-'), coalesce(reason, '-'), "
                        "coalesce(detail::text, '-')), E'\\n' ORDER BY event_id) FROM iot_auth.event"),
        "node-1|device/refused|d-1|1|10.0.0.1|device_inactive|{\"rule\": 7}\n"
        "node-1|session/ended|-|0|-|-|-\n"
        "node-1|app/refused|app:x:\"y\"\\{},NULL|0|::1|token_expired|{\"text\": \"not json\"}");
    ck_assert(ia_db_write_events(db, "node-1", NULL, 0, NULL) == IA_OK);
}
END_TEST

START_TEST(refusals_are_written_and_counted)
{
    const int64_t at = ia_wall_us() - 3600000000;
    const struct ia_event_row event = {at, "device/refused", NULL, 0, "192.0.2.1", "ca_unknown", "{\"cn\": \"x\"}"};
    const struct ia_refusal_row rows[] = {
        {"fingerprint", "00ff", at, 3, event},
        {"address", "192.0.2.1", at, 4, event},
    };
    for (int i = 0; i < 2; i++)
        ck_assert(ia_db_write_refusals(db, "node-1", rows, 2, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT string_agg(concat_ws('|', node_name, key_kind, key, count, kind, "
                                     "coalesce(principal, '-'), address, reason, detail), E'\\n' ORDER BY key) "
                                     "FROM iot_auth.last_refusal"),
                     "node-1|fingerprint|00ff|6|device/refused|-|192.0.2.1|ca_unknown|{\"cn\": \"x\"}\n"
                     "node-1|address|192.0.2.1|8|device/refused|-|192.0.2.1|ca_unknown|{\"cn\": \"x\"}");
    ck_assert(ia_db_write_refusals(db, "node-1", NULL, 0, NULL) == IA_OK);
}
END_TEST

START_TEST(batch_with_a_bad_event_is_refused_whole)
{
    struct ia_event_row events[] = {{1893456000000000, "device/refused", "d-1", 0, NULL, NULL, NULL},
                                    {1893456000000000, "device/refused", "\xFF", 0, NULL, NULL, NULL}};
    ck_assert(ia_db_write_events(db, "node-1", events, 2, NULL) == IA_FORMAT);
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM iot_auth.event"), "0");
    ck_assert(ia_db_write_events(db, "node-1", events, 1, NULL) == IA_OK);
}
END_TEST

START_TEST(heartbeat_writes_and_refreshes_the_node)
{
    ck_assert(ia_db_heartbeat(db, "node-1", "{\"connects\": 1}", NULL) == IA_OK);
    ck_assert(ia_db_heartbeat(db, "node-1", "{\"connects\": 2}", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT node_name || counters FROM iot_auth.node"), "node-1{\"connects\": 2}");
    ck_assert_str_eq(kit_value(&kit, "SELECT stopped_at IS NULL FROM iot_auth.node"), "t");
    ck_assert(ia_db_node_stopped(db, "node-1", NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT stopped_at IS NOT NULL FROM iot_auth.node"), "t");
}
END_TEST

START_TEST(last_connections_are_written)
{
    static const struct ia_connect_row rows[] = {
        {"d-2", NULL, 1577836800000000}, {"no such", "no such", 1}, {"d-1", "meter-1", 1577836801000000}};
    kit_run(&kit, "INSERT INTO iot_auth.device_psk (identity, device_id, key_id, sealed) "
                  "VALUES ('meter-1', 'd-1', 1, decode(repeat('00', 60), 'hex')), "
                  "('meter-2', 'd-2', 1, decode(repeat('00', 60), 'hex'))");
    ck_assert(ia_db_connected_devices(db, rows, 3, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit,
                               "SELECT string_agg(device_id || extract(epoch from last_connected_at)::bigint, ' ' "
                               "ORDER BY device_id) FROM iot_auth.device"),
                     "d-11577836801 d-21577836800");
    ck_assert_str_eq(kit_value(&kit,
                               "SELECT string_agg(identity || coalesce(extract(epoch from last_used_at)::bigint, 0), "
                               "' ' ORDER BY identity) FROM iot_auth.device_psk"),
                     "meter-11577836801 meter-20");
    ck_assert(ia_db_connected_devices(db, NULL, 0, NULL) == IA_OK);
}
END_TEST

/* What is kept is data of the registry: the age that a broker names counts for nothing. */
START_TEST(prune_removes_what_retention_says)
{
    kit_run(&kit, "INSERT INTO iot_auth.event (at, kind) VALUES (now() - interval '3 days', 'app/refused'), "
                  "(now() - interval '1 hour', 'app/refused')");
    kit_run(&kit, "UPDATE iot_auth.retention SET keep = '4 days' WHERE kind = 'event'");
    ck_assert(ia_db_prune(db, 1, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM iot_auth.event"), "2");
    kit_run(&kit, "UPDATE iot_auth.retention SET keep = '2 days' WHERE kind = 'event'");
    ck_assert(ia_db_prune(db, 1, NULL) == IA_OK);
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM iot_auth.event"), "1");
}
END_TEST

START_TEST(tail_gives_status_changes_in_order_once)
{
    struct ia_tail_rows *rows = NULL;
    int64_t last = -1;
    ck_assert(ia_db_last_event(db, &last, NULL) == IA_OK);
    ck_assert_int_eq(last, 0);
    kit_run(&kit, "UPDATE iot_auth.device SET status = 'INACTIVE' WHERE device_id = 'd-1'");
    kit_run(&kit, "INSERT INTO iot_auth.event (kind) VALUES ('app/refused')");
    kit_run(&kit, "UPDATE iot_auth.ca SET status = 'INACTIVE'");
    ck_assert(ia_db_event_tail(db, last, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 2);
    ck_assert_str_eq(rows->rows[0].kind, "device/status");
    ck_assert_ptr_nonnull(strstr(rows->rows[0].detail, "\"d-1\""));
    ck_assert_ptr_nonnull(strstr(rows->rows[0].detail, "\"INACTIVE\""));
    ck_assert_str_eq(rows->rows[1].kind, "ca/status");
    ck_assert_ptr_null(strstr(rows->rows[1].detail, "\"device_id\""));
    ck_assert_int_gt(rows->rows[1].event_id, rows->rows[0].event_id);
    int64_t newest = rows->rows[1].event_id;
    ia_tail_rows_free(rows);
    ck_assert(ia_db_last_event(db, &last, NULL) == IA_OK);
    ck_assert_int_eq(last, newest);
    ck_assert(ia_db_event_tail(db, last, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 0);
    ia_tail_rows_free(rows);
    ia_tail_rows_free(NULL);
}
END_TEST

START_TEST(large_batches_pass_through_a_full_socket)
{
    enum { MANY = 4000 };
    struct ia_event_row *events = calloc(MANY, sizeof *events);
    char detail[400];
    memset(detail, 'x', sizeof detail - 1);
    detail[0] = detail[sizeof detail - 2] = '"';
    detail[sizeof detail - 1] = '\0';
    for (int i = 0; i < MANY; i++)
        events[i] = (struct ia_event_row){.at_us = 1893456000000000, .kind = "device/refused", .detail = detail};
    struct ia_err err = {0};
    struct ia_db *patient = kit_db(&kit, "options='-c statement_timeout=20s'");
    patient->query_timeout_ms = 20000;
    ck_assert(ia_db_connect(patient, NULL) == IA_OK);
    enum ia_rc rc = ia_db_write_events(patient, "node-1", events, MANY, &err);
    ck_assert_msg(rc == IA_OK, "%s", err.msg);
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM iot_auth.event"), "4000");
    ia_db_free(patient);
    free(events);
}
END_TEST

/* The server's own time-out comes first: the statement is cancelled, and the connection is as good as before. */
START_TEST(statement_that_takes_too_long_keeps_the_connection)
{
    struct ia_err err = {0};
    kit_run(&kit, "CREATE OR REPLACE VIEW iot_auth.broker_unparsed AS SELECT fingerprint, pem "
                  "FROM iot_auth.device_certificate CROSS JOIN pg_sleep(20)");
    struct ia_unparsed_rows *rows = NULL;
    int64_t last = 0;
    ck_assert(ia_db_unparsed(db, info.fingerprint, &rows, &err) == IA_UNAVAILABLE);
    ck_assert_msg(strstr(err.msg, "timeout"), "%s", err.msg);
    ck_assert(ia_db_connected(db));
    ck_assert(ia_db_last_event(db, &last, NULL) == IA_OK);
}
END_TEST

START_TEST(every_call_without_a_connection_says_so)
{
    struct ia_tail_rows *tail = NULL;
    struct ia_unparsed_rows *unparsed = NULL;
    int64_t last;
    static const struct ia_connect_row connect = {"d-1", NULL, 1};
    static const struct ia_event_row event = {.kind = "x"};
    ia_db_disconnect(db);
    ck_assert(ia_db_set_ca_parsed(db, 1, &info, NULL, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_set_certificate_parsed(db, info.fingerprint, &info, NULL, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_set_rule_problem(db, 1, NULL, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_set_issuer_problem(db, "x", NULL, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_write_events(db, "n", &event, 1, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_heartbeat(db, "n", "{}", NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_connected_devices(db, &connect, 1, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_prune(db, 1, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_unparsed(db, info.fingerprint, &unparsed, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_event_tail(db, 0, &tail, NULL) == IA_UNAVAILABLE);
    ck_assert(ia_db_last_event(db, &last, NULL) == IA_UNAVAILABLE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("records");
    TCase *c = tcase_create("records");
    tcase_set_timeout(c, 30);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, ca_columns_and_problem_are_written_and_cleared);
    tcase_add_test(c, ca_that_is_valid_from_1970_has_its_date);
    tcase_add_test(c, unparsed_certificates_are_listed_until_they_are_filled);
    tcase_add_test(c, problems_of_rules_and_issuers_are_written_and_cleared);
    tcase_add_test(c, events_are_written_with_all_columns_and_nulls);
    tcase_add_test(c, refusals_are_written_and_counted);
    tcase_add_test(c, batch_with_a_bad_event_is_refused_whole);
    tcase_add_test(c, heartbeat_writes_and_refreshes_the_node);
    tcase_add_test(c, last_connections_are_written);
    tcase_add_test(c, prune_removes_what_retention_says);
    tcase_add_test(c, tail_gives_status_changes_in_order_once);
    tcase_add_test(c, large_batches_pass_through_a_full_socket);
    tcase_add_test(c, statement_that_takes_too_long_keeps_the_connection);
    tcase_add_test(c, every_call_without_a_connection_says_so);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
