// SPDX-License-Identifier: ISC
/* The worker's thread and the broker's, between them a real PostgreSQL (under with_postgres.sh), or none. */
#include "worker/worker.h"

#include "common/clock.h"
#include "sql/rows.h"
#include "tests/unit/sql/pg_kit.h"
#include "tests/unit/suite.h"
#include "tests/unit/x509/make_cert.h"
#include "worker/inbox.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_US 30000000 /* for what must come: a busy machine is no failure */
#define RATIONED_US 1500000  /* two pauses between resyncs, and more */

static struct ia_worker *worker;
static struct ia_worker_options options;
static char conninfo[128];
static int64_t resync_s;

static void start(const char *database)
{
    struct ia_err err = {0};
    (void)snprintf(conninfo, sizeof conninfo, "%s", database);
    options = (struct ia_worker_options){.db_conninfo = conninfo, .node_name = (char *)"node-1", .resync_s = resync_s};
    ck_assert_msg(ia_worker_start(&options, &worker, &err) == IA_OK, "%s", err.msg);
}

static void stop_in_time(void)
{
    int64_t begun = ia_monotonic_us();
    ck_assert(ia_worker_stop(worker));
    ck_assert_int_lt(ia_monotonic_us() - begun, 2500000);
}

/* The next reply of that kind; others are dropped.  NULL: none came in time. */
static struct ia_reply *next(enum ia_reply_kind kind)
{
    int64_t until = ia_monotonic_us() + PATIENCE_US;
    for (int64_t left; (left = until - ia_monotonic_us()) > 0;) {
        struct ia_reply *reply = ia_worker_reply_wait(worker, left);
        if (reply && reply->kind == kind)
            return reply;
        ia_reply_free(reply);
    }
    return NULL;
}

/* The next reply of one of two kinds. */
static struct ia_reply *next_of(enum ia_reply_kind one, enum ia_reply_kind other)
{
    int64_t until = ia_monotonic_us() + PATIENCE_US;
    for (int64_t left; (left = until - ia_monotonic_us()) > 0;) {
        struct ia_reply *reply = ia_worker_reply_wait(worker, left);
        if (reply && (reply->kind == one || reply->kind == other))
            return reply;
        ia_reply_free(reply);
    }
    return NULL;
}

/* How many replies of that kind come until none has come for a second. */
static int count_replies(enum ia_reply_kind kind)
{
    int n = 0;
    for (struct ia_reply *reply; (reply = ia_worker_reply_wait(worker, 1000000)); ia_reply_free(reply))
        n += reply->kind == kind;
    return n;
}

static void await(enum ia_reply_kind kind)
{
    struct ia_reply *reply = next(kind);
    ck_assert_msg(reply != NULL, "no reply of kind %d", kind);
    ia_reply_free(reply);
}

static void fill_request(struct ia_request *request, const struct ia_cert_info *info, int64_t ca_id, const char *name)
{
    switch (request->kind) {
    case IA_REQUEST_REGISTER:
        request->registration.info = *info;
        request->registration.ca_id = ca_id;
        (void)snprintf(request->registration.device_id, sizeof request->registration.device_id, "%s", name);
        break;
    case IA_REQUEST_EVENT:
        request->event.at_us = ia_wall_us();
        request->event.kind = "device/refused";
        request->event.reason = IA_R_DEVICE_PENDING;
        (void)snprintf(request->event.principal, sizeof request->event.principal, "%s", name);
        break;
    default:
        break;
    }
}

static void ask(enum ia_request_kind kind, const struct ia_cert_info *info, int64_t ca_id, const char *name)
{
    struct ia_request *request = ia_request_new(kind, "{\"detail\":\"x\"}");
    ck_assert_ptr_nonnull(request);
    fill_request(request, info, ca_id, name);
    ck_assert(ia_worker_ask(worker, request));
}

/* --- no database
 * ---------------------------------------------------------------------------------------------------- */

static const char *const nowhere[] = {
    "host=/nonexistent dbname=x",
    "host=127.0.0.1 port=1 dbname=x",
    "host=two.invalid dbname=x",
};

START_TEST(worker_without_database_says_so_refuses_and_stops)
{
    struct ia_cert_info info = {.serial = "01"};
    start(nowhere[_i]);
    struct ia_reply *state = next(IA_REPLY_STATE), *log = next(IA_REPLY_LOG);
    ck_assert(state && !state->connected);
    ck_assert_msg(log && strstr(log->text, "no database"), "%s", log ? log->text : "");
    ask(IA_REQUEST_REGISTER, &info, 1, "dev-1");
    struct ia_reply *answer = next(IA_REPLY_ANSWER);
    ck_assert(answer && answer->answer.reason == IA_R_REGISTRY_UNAVAILABLE);
    ask(IA_REQUEST_EVENT, NULL, 0, "dev-1"); /* is queued, and given up at the end */
    ia_reply_free(state);
    ia_reply_free(log);
    ia_reply_free(answer);
    stop_in_time();
}
END_TEST

START_TEST(worker_stops_at_once_whatever_it_is_doing)
{
    for (int i = 0; i < 20; i++) {
        start(_i ? "host=127.0.0.1 port=1 dbname=x" : "dbname=iot_auth user=iot_auth_broker");
        for (int k = 0; k < i; k++)
            ask(IA_REQUEST_EVENT, NULL, 0, "dev-1");
        stop_in_time();
    }
}
END_TEST

/* --- a database
 * ----------------------------------------------------------------------------------------------------- */

struct ia_reply *__real_ia_reply_new(enum ia_reply_kind kind, const char *text);
struct ia_reply *__wrap_ia_reply_new(enum ia_reply_kind kind, const char *text);

static _Atomic(enum ia_reply_kind) scarce =
    IA_REPLY_LOG; /* for the next of this kind there is no memory; LOG: for all */

struct ia_reply *__wrap_ia_reply_new(enum ia_reply_kind kind, const char *text)
{
    enum ia_reply_kind fails = kind;
    if (kind != IA_REPLY_LOG && atomic_compare_exchange_strong(&scarce, &fails, IA_REPLY_LOG))
        return NULL;
    return __real_ia_reply_new(kind, text);
}

enum ia_rc __real_ia_db_wait(struct ia_db *db, int also_fd, int timeout_ms, struct ia_err *err);
enum ia_rc __wrap_ia_db_wait(struct ia_db *db, int also_fd, int timeout_ms, struct ia_err *err);

static atomic_int n_waits;

enum ia_rc __wrap_ia_db_wait(struct ia_db *db, int also_fd, int timeout_ms, struct ia_err *err)
{
    n_waits++;
    return __real_ia_db_wait(db, also_fd, timeout_ms, err);
}

enum ia_rc __real_ia_inbox_finish(struct ia_inbox *inbox, struct ia_err *err);
enum ia_rc __wrap_ia_inbox_finish(struct ia_inbox *inbox, struct ia_err *err);

static atomic_bool finish_fails; /* with the connection sound */

enum ia_rc __wrap_ia_inbox_finish(struct ia_inbox *inbox, struct ia_err *err)
{
    enum ia_rc rc = __real_ia_inbox_finish(inbox, err);
    return rc == IA_OK && finish_fails ? ia_fail(err, IA_UNAVAILABLE, "refused for now") : rc;
}

static struct kit kit;
static X509 *ca, *leaf;
static struct ia_cert_info info;

static int64_t register_ca(void)
{
    char *pem = mc_pem(ca), sql[8192];
    (void)snprintf(sql, sizeof sql,
                   "SELECT iot_auth.register_ca(pem => $pem$%s$pem$, name => 'acme', auto_registration => true)", pem);
    free(pem);
    return strtoll(kit_value(&kit, sql), NULL, 10);
}

static void set_up(void)
{
    int64_t now = (int64_t)time(NULL);
    const struct mc_cert root = {
        .subject = "/CN=Root", .key = "p256:root", .ext = MC_ROOT, .from = now - MC_DAY, .to = now + MC_DAY};
    ca = mc_cert(&root);
    const struct mc_cert device = {.subject = "/CN=dev-1",
                                   .key = "p256:leaf",
                                   .issuer = ca,
                                   .issuer_key = "p256:root",
                                   .ext = MC_DEVICE,
                                   .from = now - MC_DAY,
                                   .to = now + MC_DAY};
    leaf = mc_cert(&device);
    ck_assert_int_eq(ia_cert_info_read(leaf, &info, NULL), IA_OK);
    kit_init(&kit);
}

static void tear_down(void)
{
    kit_clear(&kit);
    X509_free(leaf);
    X509_free(ca);
}

static void start_on_kit(void)
{
    char database[128];
    (void)snprintf(database, sizeof database, "dbname=%s user=iot_auth_broker", kit.database);
    start(database);
}

/* In this order: no device is registered under a configuration that the broker does not have yet. */
START_TEST(worker_begins_with_snapshot_state_and_all_devices)
{
    start_on_kit();
    struct ia_reply *snapshot = next(IA_REPLY_SNAPSHOT), *state = next(IA_REPLY_STATE);
    ck_assert(snapshot && snapshot->snapshot && snapshot->snapshot->policy);
    ck_assert_int_eq(snapshot->heard_us, 0); /* what a connection begins with is no change */
    ck_assert(state && state->connected);
    ia_reply_free(snapshot);
    ia_reply_free(state);
    await(IA_REPLY_RESYNC_BEGIN);
    await(IA_REPLY_RESYNC_END);
    stop_in_time();
}
END_TEST

/* The reply says when its change was notified: from then on the time is measured until the change is in force. */
static void expect_heard_lately(const struct ia_reply *reply)
{
    int64_t now = ia_monotonic_us();
    ck_assert_int_gt(reply->heard_us, now - 10000000);
    ck_assert_int_le(reply->heard_us, now);
}

START_TEST(device_is_registered_found_and_followed)
{
    int64_t ca_id = register_ca();
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    for (int i = 0; i < 2; i++) { /* the second time it is known */
        ask(IA_REQUEST_REGISTER, &info, ca_id, "dev-1");
        struct ia_reply *reply = next(IA_REPLY_ANSWER);
        ck_assert(reply && reply->answer.registered == (i == 0) && reply->answer.device);
        ck_assert_str_eq(ia_device_id(reply->answer.device), "dev-1");
        ck_assert_mem_eq(reply->answer.fingerprint, info.fingerprint, IA_FINGERPRINT_LEN);
        ia_reply_free(reply);
    }
    kit_run(&kit, "SELECT iot_auth.set_device_status('dev-1', 'REVOKED')");
    struct ia_reply *reply = next(IA_REPLY_DEVICES);
    ck_assert(reply && reply->records.n_ids == 1 && reply->records.n == 1);
    expect_heard_lately(reply);
    ck_assert_int_eq(reply->records.items[0]->status, IA_DEVICE_REVOKED);
    ia_reply_free(reply);
    kit_run(&kit, "DELETE FROM iot_auth.device WHERE device_id = 'dev-1'");
    reply = next(IA_REPLY_DEVICES);
    ck_assert(reply && reply->records.n_ids == 1 && reply->records.n == 0);
    ck_assert_str_eq(reply->records.ids[0], "dev-1");
    ia_reply_free(reply);
    stop_in_time();
}
END_TEST

#define STORM 1000

/* A revocation does not wait for the devices that are being registered. */
START_TEST(change_is_sent_before_the_registrations_of_a_storm_are_done)
{
    int64_t ca_id = register_ca();
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    ask(IA_REQUEST_REGISTER, &info, ca_id, "dev-1");
    await(IA_REPLY_ANSWER);
    struct ia_cert_info other = info;
    for (unsigned i = 0; i < STORM; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "storm-%u", i);
        memcpy(other.fingerprint, &i, sizeof i);
        ask(IA_REQUEST_REGISTER, &other, ca_id, id);
    }
    kit_run(&kit, "SELECT iot_auth.set_device_status('dev-1', 'REVOKED')");
    unsigned answered = 0, before = STORM;
    while (answered < STORM) {
        struct ia_reply *reply = ia_worker_reply_wait(worker, PATIENCE_US);
        ck_assert_ptr_nonnull(reply);
        if (reply->kind == IA_REPLY_ANSWER) {
            ck_assert_msg(reply->answer.registered, "%s", reply->text);
            answered++;
        }
        if (reply->kind == IA_REPLY_DEVICES)
            before = answered;
        ia_reply_free(reply);
    }
    ck_assert_uint_lt(before, STORM);
    stop_in_time();
}
END_TEST

/* The role is created without a notification, and granted to dev-1: the snapshot with the role must come before the
 * device's record. */
static void expect_role_before_holder(void)
{
    kit_run(&kit, "ALTER TABLE iot_auth.role DISABLE TRIGGER USER");
    kit_run(&kit, "INSERT INTO iot_auth.role (role) VALUES ('fresh')");
    kit_run(&kit, "SELECT iot_auth.grant_device_role('dev-1', 'fresh')");
    bool has_role = false;
    for (struct ia_reply *reply; (reply = ia_worker_reply_wait(worker, PATIENCE_US)) != NULL; ia_reply_free(reply)) {
        if (reply->kind == IA_REPLY_SNAPSHOT)
            has_role = ia_policy_role(reply->snapshot->policy, "fresh") != NULL;
        if (reply->kind == IA_REPLY_DEVICES && ia_device_role(reply->records.items[0], NULL)) {
            ck_assert(has_role);
            ia_reply_free(reply);
            break;
        }
    }
    ck_assert(has_role);
}

static void start_with_dev_1(void)
{
    int64_t ca_id = register_ca();
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    ask(IA_REQUEST_REGISTER, &info, ca_id, "dev-1");
    await(IA_REPLY_ANSWER);
}

START_TEST(new_role_comes_before_those_who_hold_it)
{
    start_with_dev_1();
    expect_role_before_holder();
    stop_in_time();
}
END_TEST

/* A reload that took long is followed by a pause as long, so that notifications cannot keep the worker busy. */
START_TEST(new_role_comes_before_its_holders_also_while_reloads_pause)
{
    kit_run(&kit, "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) SELECT 'device', 'ALLOW', "
                  "'{PUBLISH}', 'a/' || n FROM generate_series(1, 30000) n");
    start_with_dev_1();
    kit_run(&kit, "NOTIFY iot_auth, 'role'");
    await(IA_REPLY_SNAPSHOT);
    expect_role_before_holder();
    stop_in_time();
}
END_TEST

START_TEST(refused_registration_has_the_registrys_reason)
{
    int64_t ca_id = register_ca();
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    kit_run(&kit, "SELECT iot_auth.set_ca_status('acme', 'INACTIVE')");
    ask(IA_REQUEST_REGISTER, &info, ca_id, "dev-1");
    struct ia_reply *reply = next(IA_REPLY_ANSWER);
    ck_assert(reply && reply->answer.reason == IA_R_CA_INACTIVE && !reply->answer.device);
    ia_reply_free(reply);
    stop_in_time();
}
END_TEST

START_TEST(change_of_configuration_brings_a_snapshot)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    int64_t ca_id = register_ca();
    struct ia_reply *reply = next(IA_REPLY_SNAPSHOT);
    ck_assert(reply && ia_ca_settings_find(reply->snapshot->ca_settings, ca_id));
    expect_heard_lately(reply);
    ck_assert_str_eq(ia_ca_settings_find(reply->snapshot->ca_settings, ca_id)->name, "acme");
    ask(IA_REQUEST_RETIRE, NULL, 0, "");
    ia_reply_free(reply);
    stop_in_time();
}
END_TEST

START_TEST(events_are_written_also_those_of_the_last_moment)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    for (int i = 0; i < 500; i++)
        ask(IA_REQUEST_EVENT, NULL, 0, "dev-1");
    stop_in_time();
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM iot_auth.event WHERE kind = 'device/refused'"), "500");
    ck_assert_str_eq(kit_value(&kit, "SELECT stopped_at IS NOT NULL FROM iot_auth.node"), "t");
}
END_TEST

/* A full queue must not prevent the end of the thread. */
START_TEST(worker_stops_while_its_replies_are_not_taken)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    for (int i = 0; i < 2000; i++)
        ask(IA_REQUEST_REGISTER, &info, 999, "dev-1");
    int64_t until = ia_monotonic_us() + PATIENCE_US;
    while (!ia_worker_has_reply(worker) && ia_monotonic_us() < until)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    ck_assert(ia_worker_has_reply(worker));
    stop_in_time();
}
END_TEST

static void cut(void)
{
    kit_run(&kit, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                  "WHERE usename = 'iot_auth_broker' AND datname = current_database()");
}

START_TEST(connection_that_is_cut_is_reported_and_made_again)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    cut();
    struct ia_reply *down = next(IA_REPLY_STATE);
    ck_assert(down && !down->connected);
    await(IA_REPLY_SNAPSHOT); /* whatever was missed meanwhile … */
    struct ia_reply *up = next(IA_REPLY_STATE);
    ck_assert(up && up->connected);
    await(IA_REPLY_RESYNC_END); /* … and all devices */
    ia_reply_free(down);
    ia_reply_free(up);
    stop_in_time();
}
END_TEST

static void await_state(bool up)
{
    struct ia_reply *state = next(IA_REPLY_STATE);
    ck_assert(state && state->connected == up);
    ia_reply_free(state);
}

static void lock_rules(void)
{
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "LOCK TABLE iot_auth.role_rule IN ACCESS EXCLUSIVE MODE");
}

/* Revocations and new devices do not stand still behind a lock on a rule. */
START_TEST(connection_goes_on_under_the_last_rules_while_they_are_locked)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    lock_rules();
    cut();
    await_state(false);
    await_state(true);
    await(IA_REPLY_RESYNC_END);
    kit_run(&kit, "COMMIT");
    await(IA_REPLY_SNAPSHOT);
    stop_in_time();
}
END_TEST

/* A CA that is no longer ACTIVE must not wait for the rules, nor for the lists of CRLs. */
static const char *const tables[] = {"role_rule", "role", "crl", "ip_rule", "oauth_issuer", "scope_role"};

START_TEST(other_parts_are_in_force_while_one_table_is_locked)
{
    char sql[128];
    kit_run(&kit, "INSERT INTO iot_auth.role (role) VALUES ('meter')");
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    kit_run(&kit, "BEGIN");
    snprintf(sql, sizeof sql, "LOCK TABLE iot_auth.%s IN ACCESS EXCLUSIVE MODE", tables[_i]);
    kit_run(&kit, sql);
    int64_t start_us = ia_monotonic_us();
    kit_run_apart(&kit, "NOTIFY iot_auth, 'ca'");
    await(IA_REPLY_SNAPSHOT);
    ck_assert_int_lt(ia_monotonic_us() - start_us, 5000000);
    kit_run(&kit, "COMMIT");
    stop_in_time();
}
END_TEST

static const char *const joined_tables[] = {"ca", "device_role"};

/* The record is joined from these tables; the statuses are sent without them, and the record follows. */
START_TEST(revocation_does_not_wait_for_a_table_that_the_record_is_joined_from)
{
    char sql[128];
    int64_t ca_id = register_ca();
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    ask(IA_REQUEST_REGISTER, &info, ca_id, "dev-1");
    await(IA_REPLY_ANSWER);
    kit_run(&kit, "ALTER TABLE iot_auth.device DISABLE TRIGGER USER");
    kit_run(&kit, "UPDATE iot_auth.device SET status = 'REVOKED'");
    kit_run(&kit, "BEGIN");
    snprintf(sql, sizeof sql, "LOCK TABLE iot_auth.%s IN ACCESS EXCLUSIVE MODE", joined_tables[_i]);
    kit_run(&kit, sql);
    kit_run_apart(&kit, "NOTIFY iot_auth, 'device\ndev-1'");
    struct ia_reply *states = next(IA_REPLY_STATES);
    ck_assert(states && states->records.n_ids == 1 && states->records.n == 1);
    ck_assert_str_eq(states->records.ids[0], "dev-1");
    ck_assert_int_eq(states->records.items[0]->status, IA_DEVICE_REVOKED);
    ck_assert_mem_eq(states->records.items[0]->fingerprint, info.fingerprint, IA_FINGERPRINT_LEN);
    ia_reply_free(states);
    kit_run(&kit, "COMMIT");
    struct ia_reply *record = next(IA_REPLY_DEVICES);
    ck_assert(record && record->records.n == 1 && record->records.items[0]->certificate_ca_id == ca_id);
    ia_reply_free(record);
    stop_in_time();
}
END_TEST

START_TEST(registrations_that_cannot_be_finished_hold_up_no_other_step)
{
    int64_t ca_id = register_ca();
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    ask(IA_REQUEST_REGISTER, &info, ca_id, "dev-1");
    await(IA_REPLY_ANSWER);
    finish_fails = true;
    kit_run(&kit, "UPDATE iot_auth.device SET status = 'REVOKED'");
    await(IA_REPLY_DEVICES);
    finish_fails = false;
    stop_in_time();
}
END_TEST

START_TEST(first_configuration_that_is_locked_is_reported_and_waited_for)
{
    lock_rules();
    start_on_kit();
    struct ia_reply *log = next(IA_REPLY_LOG);
    ck_assert_msg(log && strstr(log->text, "cannot be read completely: rules: "), "%s", log ? log->text : "");
    ck_assert_msg(strstr(log->text, "timeout waiting for a lock"), "%s", log->text);
    ia_reply_free(log);
    await_state(true);
    kit_run(&kit, "COMMIT");
    await(IA_REPLY_SNAPSHOT);
    stop_in_time();
}
END_TEST

/* Any role can notify: what is no topic of ours costs nothing, and all devices are not read at each notification. */
START_TEST(junk_notifications_cost_no_resync)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    for (int i = 0; i < 20; i++)
        kit_run(&kit, "NOTIFY iot_auth, 'junk'; NOTIFY iot_auth, ''; NOTIFY iot_auth, 'certificate\n*'");
    kit_run(&kit, "NOTIFY iot_auth, 'ca'");
    struct ia_reply *reply = next_of(IA_REPLY_SNAPSHOT, IA_REPLY_RESYNC_BEGIN);
    ck_assert(reply && reply->kind == IA_REPLY_SNAPSHOT);
    ia_reply_free(reply);
    stop_in_time();
}
END_TEST

START_TEST(resyncs_that_notifications_ask_for_are_rationed)
{
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    int64_t start_us = ia_monotonic_us();
    while (ia_monotonic_us() - start_us < RATIONED_US)
        kit_run(&kit, "NOTIFY iot_auth, E'device\\n*'");
    int resyncs = count_replies(IA_REPLY_RESYNC_BEGIN);
    ck_assert_int_ge(resyncs, 1);
    ck_assert_int_le(resyncs, 2 + (int)((ia_monotonic_us() - start_us) / 500000));
    stop_in_time();
}
END_TEST

/* A change that no notification says is seen all the same. */
START_TEST(everything_is_read_again_from_time_to_time)
{
    resync_s = 1;
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    for (int i = 0; i < 2; i++) {
        await(IA_REPLY_SNAPSHOT);
        await(IA_REPLY_RESYNC_BEGIN);
        await(IA_REPLY_RESYNC_END);
    }
    stop_in_time();
}
END_TEST

static const enum ia_reply_kind needed[] = {IA_REPLY_RESYNC_BEGIN, IA_REPLY_RESYNC_END, IA_REPLY_STATE};

/* Without these replies deleted devices would stay in memory, and new ones be refused until the next outage. */
START_TEST(reply_that_finds_no_memory_is_made_good_by_a_new_connection)
{
    scarce = needed[_i];
    start_on_kit();
    await_state(_i < 2);
    if (_i < 2)
        await_state(false);
    await_state(true);
    await(IA_REPLY_RESYNC_BEGIN);
    await(IA_REPLY_RESYNC_END);
    stop_in_time();
}
END_TEST

/* The worker's descriptors are numbers in a table of its own; in the broker's they may be its clients'. */
START_TEST(worker_closes_no_file_of_the_brokers)
{
    int files[16];
    kit_run(&kit, "SELECT iot_auth.register_issuer(name => 'corp', issuer => 'https://127.0.0.1:1', "
                  "audience => '{mqtt}')");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        ck_assert_int_ge(files[i] = open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    while (kit_value(&kit, "SELECT problem FROM iot_auth.oauth_issuer")[0] == '\0') /* it has tried to fetch */
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    stop_in_time();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        ck_assert_msg(close(files[i]) == 0, "descriptor %d has been closed", files[i]);
    ck_assert_str_eq(kit_value(&kit, "SELECT 'still connected'"), "still connected");
}
END_TEST

/* The worker polls the transfers' descriptor together with the database's: it used to wake up 50 times a second for as
 * long as a provider kept it waiting. */
START_TEST(fetch_from_a_silent_provider_ends_in_time_and_costs_no_wake_ups)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "SELECT iot_auth.register_issuer(name => 'corp', issuer => 'https://idp.example/', "
                   "audience => '{mqtt}', jwks_url => 'http://127.0.0.1:%d/jwks')",
                   kit_strange_host(KIT_SILENT));
    kit_run(&kit, sql);
    start_on_kit();
    await(IA_REPLY_RESYNC_END);
    int64_t begun = ia_monotonic_ms();
    int before = n_waits;
    struct ia_reply *log = next(IA_REPLY_LOG);
    ck_assert_msg(log && strncmp(log->text, "issuer corp: ", 13) == 0, "%s", log ? log->text : "");
    ck_assert_int_ge(ia_monotonic_ms() - begun, 1000); /* else nothing has been measured */
    ck_assert_int_lt(n_waits - before, 50);
    ia_reply_free(log);
    stop_in_time();
}
END_TEST

static void add_cases(Suite *s)
{
    TCase *without = tcase_create("without database"), *with = tcase_create("with database");
    tcase_set_timeout(without, 60);
    tcase_set_timeout(with, 60);
    tcase_add_loop_test(without, worker_without_database_says_so_refuses_and_stops, 0,
                        (int)(sizeof nowhere / sizeof nowhere[0]));
    tcase_add_loop_test(without, worker_stops_at_once_whatever_it_is_doing, 0, 2);
    tcase_add_checked_fixture(with, set_up, tear_down);
    tcase_add_test(with, worker_begins_with_snapshot_state_and_all_devices);
    tcase_add_test(with, device_is_registered_found_and_followed);
    tcase_add_test(with, change_is_sent_before_the_registrations_of_a_storm_are_done);
    tcase_add_test(with, new_role_comes_before_those_who_hold_it);
    tcase_add_test(with, new_role_comes_before_its_holders_also_while_reloads_pause);
    tcase_add_test(with, refused_registration_has_the_registrys_reason);
    tcase_add_test(with, change_of_configuration_brings_a_snapshot);
    tcase_add_test(with, events_are_written_also_those_of_the_last_moment);
    tcase_add_test(with, worker_stops_while_its_replies_are_not_taken);
    tcase_add_test(with, connection_that_is_cut_is_reported_and_made_again);
    tcase_add_test(with, connection_goes_on_under_the_last_rules_while_they_are_locked);
    tcase_add_loop_test(with, other_parts_are_in_force_while_one_table_is_locked, 0,
                        (int)(sizeof tables / sizeof tables[0]));
    tcase_add_test(with, junk_notifications_cost_no_resync);
    tcase_add_test(with, resyncs_that_notifications_ask_for_are_rationed);
    tcase_add_test(with, everything_is_read_again_from_time_to_time);
    tcase_add_loop_test(with, revocation_does_not_wait_for_a_table_that_the_record_is_joined_from, 0, 2);
    tcase_add_test(with, registrations_that_cannot_be_finished_hold_up_no_other_step);
    tcase_add_test(with, first_configuration_that_is_locked_is_reported_and_waited_for);
    tcase_add_loop_test(with, reply_that_finds_no_memory_is_made_good_by_a_new_connection, 0,
                        (int)(sizeof needed / sizeof needed[0]));
    tcase_add_test(with, worker_closes_no_file_of_the_brokers);
    tcase_add_test(with, fetch_from_a_silent_provider_ends_in_time_and_costs_no_wake_ups);
    suite_add_tcase(s, without);
    suite_add_tcase(s, with);
}

int main(void)
{
    Suite *s = suite_create("worker");
    add_cases(s);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
