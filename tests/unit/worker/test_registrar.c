// SPDX-License-Identifier: ISC
/* Registrations in batches, on a real PostgreSQL (under with_postgres.sh): each item has an answer of its
 * own, whatever happens to the others of its batch. */
#include "worker/registrar.h"

#include "common/clock.h"
#include "tests/unit/sql/pg_kit.h"
#include "tests/unit/suite.h"
#include "tests/unit/x509/make_cert.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWERS_MAX 2048

static struct kit kit;

/* A registrar with a connection of its own, and the answers that it has sent. */
struct side {
    struct ia_db *db;
    struct ia_registrar *registrar;
    struct ia_sink sink;
    struct ia_reply *answers[ANSWERS_MAX];
    size_t n;
    char log[1024];
};

static struct side side;

static void record_reply(void *ctx, struct ia_reply *reply)
{
    struct side *s = ctx;
    if (reply->kind == IA_REPLY_LOG) {
        size_t n = strlen(s->log);
        (void)snprintf(s->log + n, sizeof s->log - n, "%s\n", reply->text);
        ia_reply_free(reply);
        return;
    }
    ck_assert_int_eq(reply->kind, IA_REPLY_ANSWER);
    ck_assert_uint_lt(s->n, ANSWERS_MAX);
    s->answers[s->n++] = reply;
}

/* With the time-outs of a broker, not those of kit_connected: a busy machine is no failure. */
static struct ia_db *connect_broker(void)
{
    char conninfo[128];
    struct ia_db *db = NULL;
    struct ia_err err = {0};
    (void)snprintf(conninfo, sizeof conninfo, "dbname=%s user=iot_auth_broker", kit.database);
    const struct ia_db_config config = {.conninfo = conninfo, .node_name = "node", .insecure = true, .wake_fd = -1};
    ck_assert_msg(ia_db_new(&config, &db, &err) == IA_OK && ia_db_connect(db, &err) == IA_OK, "%s", err.msg);
    return db;
}

static void side_open(struct side *s, const char *node)
{
    *s = (struct side){.db = connect_broker(), .sink = {.send = record_reply, .ctx = s}};
    s->registrar = ia_registrar_new(s->db, node, &s->sink);
    ck_assert_ptr_nonnull(s->registrar);
}

static void forget_answers(struct side *s)
{
    while (s->n > 0)
        ia_reply_free(s->answers[--s->n]);
}

static void side_close(struct side *s)
{
    forget_answers(s);
    ia_registrar_free(s->registrar);
    ia_db_free(s->db);
}

/* ---- CAs, certificates, requests */

static int64_t register_ca(const char *name, const char *options)
{
    const int64_t now = (int64_t)time(NULL);
    char subject[64], key[64], sql[8192];
    (void)snprintf(subject, sizeof subject, "/CN=%s", name);
    (void)snprintf(key, sizeof key, "p256:%s", name);
    const struct mc_cert spec = {
        .subject = subject, .key = key, .ext = MC_ROOT, .from = now - MC_DAY, .to = now + MC_DAY};
    X509 *ca = mc_cert(&spec);
    char *pem = mc_pem(ca);
    (void)snprintf(sql, sizeof sql,
                   "SELECT iot_auth.register_ca(pem => $pem$%s$pem$, name => '%s', auto_registration => true%s)", pem,
                   name, options);
    free(pem);
    X509_free(ca);
    return strtoll(kit_value(&kit, sql), NULL, 10);
}

static struct ia_cert_info info_of(unsigned number)
{
    struct ia_cert_info info = {.serial = "01", .subject = "CN=device", .not_after = (int64_t)time(NULL) + MC_DAY};
    for (unsigned i = 0; i < 4; i++) /* the numbers are in another order than the fingerprints */
        info.fingerprint[i] = (uint8_t)((number * 2654435761u) >> (8 * i));
    return info;
}

/* Certificate `number` of device "dev-<number>". */
static void add_registration(struct side *s, unsigned number, int64_t ca_id)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_REGISTER, NULL);
    ck_assert_ptr_nonnull(request);
    request->registration.info = info_of(number);
    request->registration.ca_id = ca_id;
    (void)snprintf(request->registration.device_id, sizeof request->registration.device_id, "dev-%u", number);
    ia_registrar_add(s->registrar, request);
}

static void add_registration_of(struct side *s, unsigned number, int64_t ca_id, const char *device_id)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_REGISTER, NULL);
    ck_assert_ptr_nonnull(request);
    request->registration.info = info_of(number);
    request->registration.ca_id = ca_id;
    (void)snprintf(request->registration.device_id, sizeof request->registration.device_id, "%s", device_id);
    ia_registrar_add(s->registrar, request);
}

static void drop_notifications(struct side *s)
{
    struct ia_notification n;
    while (ia_db_notification(s->db, &n))
        ;
}

/* Until n requests are answered. */
static void serve(struct side *s, size_t n)
{
    struct ia_err err = {0};
    while (s->n < n) {
        drop_notifications(s); /* a pending one would end each wait */
        ck_assert_msg(ia_registrar_step(s->registrar, &err) == IA_OK, "%s", err.msg);
        if (!ia_registrar_is_busy(s->registrar) && !ia_registrar_due(s->registrar))
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    ck_assert_msg(ia_registrar_finish(s->registrar, &err) == IA_OK, "%s", err.msg);
}

static const struct ia_device_answer *answer_to(const struct side *s, unsigned number)
{
    const struct ia_cert_info info = info_of(number);
    const struct ia_device_answer *found = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (memcmp(s->answers[i]->answer.fingerprint, info.fingerprint, IA_FINGERPRINT_LEN) == 0)
            found = &s->answers[i]->answer;
    ck_assert_msg(found != NULL, "no answer to %u", number);
    return found;
}

static size_t count_registered(const struct side *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->answers[i]->answer.registered;
    return n;
}

static long value(const char *sql)
{
    return strtol(kit_value(&kit, sql), NULL, 10);
}

static void set_up(void)
{
    kit_init(&kit);
    side_open(&side, "node-1");
}

static void tear_down(void)
{
    side_close(&side);
    kit_clear(&kit);
}

/* ---- batches */

START_TEST(waiting_registrations_are_few_transactions_each_item_with_its_own_answer)
{
    int64_t ca_id = register_ca("acme", "");
    for (unsigned i = 0; i < 200; i++)
        add_registration(&side, i, ca_id);
    serve(&side, 200);
    ck_assert_uint_eq(count_registered(&side), 200);
    for (unsigned i = 0; i < 200; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "dev-%u", i);
        const struct ia_device_answer *answer = answer_to(&side, i);
        ck_assert(answer->reason == IA_R_NONE && answer->device);
        ck_assert_str_eq(ia_device_id(answer->device), id);
        ck_assert_int_eq(answer->device->status, IA_DEVICE_ACTIVE);
    }
    ck_assert_ptr_nonnull(strstr(side.answers[0]->text, "\"device_id\""));
    ck_assert_int_lt(value("SELECT count(DISTINCT xmin::text) FROM iot_auth.device_certificate"), 20);
    ck_assert_int_eq(value("SELECT count(*) FROM iot_auth.event WHERE kind = 'device/registered'"), 200);
}
END_TEST

START_TEST(refusals_leave_the_other_items_of_the_batch_alone)
{
    int64_t acme = register_ca("acme", ""), other = register_ca("other", ""),
            small = register_ca("small", ", max_devices => 1"), closed = register_ca("closed", "");
    kit_run(&kit, "SELECT iot_auth.set_ca_status('closed', 'INACTIVE')");
    add_registration(&side, 1, acme);
    add_registration_of(&side, 2, other, "dev-1"); /* or this one is first: the CAs decide */
    add_registration(&side, 3, small);
    add_registration(&side, 4, small);
    add_registration(&side, 5, closed);
    add_registration(&side, 6, 999);
    add_registration_of(&side, 7, acme, "a/b");
    add_registration(&side, 8, acme);
    add_registration(&side, 8, acme); /* the same again */
    serve(&side, 9);
    ck_assert(answer_to(&side, 1)->registered);
    ck_assert_int_eq(answer_to(&side, 2)->reason, IA_R_DEVICE_CONFLICT);
    ck_assert(answer_to(&side, 3)->registered != answer_to(&side, 4)->registered);
    ck_assert(answer_to(&side, 3)->reason == IA_R_QUOTA_EXCEEDED || answer_to(&side, 4)->reason == IA_R_QUOTA_EXCEEDED);
    ck_assert_int_eq(answer_to(&side, 5)->reason, IA_R_CA_INACTIVE);
    ck_assert_int_eq(answer_to(&side, 6)->reason, IA_R_CA_INACTIVE);
    ck_assert_int_eq(answer_to(&side, 7)->reason, IA_R_IDENTITY_INVALID);
    ck_assert(answer_to(&side, 8)->device && answer_to(&side, 8)->reason == IA_R_NONE);
    ck_assert_uint_eq(count_registered(&side), 3);
}
END_TEST

/* A device id that is not UTF-8 makes PostgreSQL refuse the whole statement. */
START_TEST(item_that_the_database_cannot_take_costs_the_others_nothing)
{
    int64_t ca_id = register_ca("acme", "");
    for (unsigned i = 0; i < 100; i++)
        if (i == 37 || i == 38)
            add_registration_of(&side, i, ca_id, "\xff");
        else
            add_registration(&side, i, ca_id);
    serve(&side, 100);
    ck_assert_uint_eq(count_registered(&side), 98);
    ck_assert_int_eq(answer_to(&side, 37)->reason, IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_int_eq(answer_to(&side, 38)->reason, IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_ptr_nonnull(side.log[0] ? strstr(side.log, "\n") : NULL);
    ck_assert_msg(strchr(side.log, '\n')[1] == '\0', "%s", side.log); /* one line in ten seconds */
}
END_TEST

/* ---- two brokers */

static int64_t cas[2]; /* of certificates with an even and with an odd number */

static unsigned number_of(const uint8_t *fingerprint)
{
    for (unsigned i = 0; i < 500; i++) {
        const struct ia_cert_info info = info_of(i);
        if (memcmp(info.fingerprint, fingerprint, IA_FINGERPRINT_LEN) == 0)
            return i;
    }
    ck_abort_msg("an answer to nothing that was asked");
}

/* As clients do: those that are refused for now come again. */
static void *serve_500(void *arg)
{
    struct side *s = arg;
    serve(s, 500);
    for (size_t i = 0; i < s->n; i++) {
        const struct ia_device_answer *answer = &s->answers[i]->answer;
        if (answer->reason != IA_R_REGISTRY_UNAVAILABLE)
            continue;
        struct ia_reply *refused = s->answers[i];
        s->answers[i--] = s->answers[--s->n];
        add_registration(s, number_of(refused->answer.fingerprint), cas[number_of(refused->answer.fingerprint) % 2]);
        ia_reply_free(refused);
    }
    if (s->n < 500)
        return serve_500(s);
    return NULL;
}

/* Two brokers behind one load balancer see the same storm.  Without an order of locks they would deadlock. */
START_TEST(two_brokers_with_the_same_devices_register_each_once)
{
    static struct side second;
    cas[0] = register_ca("acme", ", max_devices => 1000000");
    cas[1] = register_ca("other", "");
    side_open(&second, "node-2");
    for (unsigned i = 0; i < 500; i++) {
        add_registration(&side, i, cas[i % 2]);
        add_registration(&second, 499 - i, cas[(499 - i) % 2]);
    }
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, serve_500, &second), 0);
    serve_500(&side);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < 500; i++) {
        ck_assert_msg(answer_to(&side, i)->device && answer_to(&second, i)->device, "%u: %s %s", i,
                      ia_reason_name(answer_to(&side, i)->reason), ia_reason_name(answer_to(&second, i)->reason));
        ck_assert(answer_to(&side, i)->registered != answer_to(&second, i)->registered);
    }
    ck_assert_int_eq(value("SELECT count(*) FROM iot_auth.event WHERE kind = 'device/registered'"), 500);
    ck_assert_int_eq(value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), 0);
    side_close(&second);
}
END_TEST

/* ---- locks */

START_TEST(locked_ca_does_not_hold_up_the_devices_of_other_cas)
{
    int64_t locked = register_ca("locked", ""), other = register_ca("other", "");
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "SELECT FROM iot_auth.ca WHERE name = 'locked' FOR UPDATE");
    int64_t begun = ia_monotonic_ms();
    for (unsigned i = 0; i < 100; i++)
        add_registration(&side, i, i < 50 ? locked : other);
    serve(&side, 50);
    for (unsigned i = 50; i < 100; i++)
        ck_assert(answer_to(&side, i)->registered);
    kit_run(&kit, "ROLLBACK");
    bool in_time = ia_monotonic_ms() - begun < 2000; /* on a busy machine they may have waited too long */
    serve(&side, 100);                               /* the devices of the locked CA were not refused, but waited */
    ck_assert(!in_time || count_registered(&side) == 100);
}
END_TEST

START_TEST(lock_that_is_not_released_refuses_for_now)
{
    int64_t locked = register_ca("locked", "");
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "SELECT FROM iot_auth.ca WHERE name = 'locked' FOR UPDATE");
    int64_t begun = ia_monotonic_ms();
    add_registration(&side, 1, locked);
    serve(&side, 1);
    ck_assert_int_eq(answer_to(&side, 1)->reason, IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_int_lt(ia_monotonic_ms() - begun, 6000);
    kit_run(&kit, "ROLLBACK");
}
END_TEST

/* An administrator's transaction on one device is no reason to stop all devices of its CA. */
START_TEST(locked_device_does_not_hold_up_its_ca)
{
    int64_t ca_id = register_ca("acme", "");
    add_registration(&side, 0, ca_id);
    serve(&side, 1);
    forget_answers(&side);
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "UPDATE iot_auth.device SET attributes = '{\"a\":\"b\"}' WHERE device_id = 'dev-0'");
    add_registration_of(&side, 1000, ca_id, "dev-0"); /* a second certificate: it needs the device's row */
    for (unsigned i = 1; i < 100; i++)
        add_registration(&side, i, ca_id);
    serve(&side, 99);
    ck_assert_uint_eq(count_registered(&side), 99);
    kit_run(&kit, "COMMIT");
    bool waits = side.n == 99; /* on a busy machine it may have waited too long */
    serve(&side, 100);
    ck_assert(answer_to(&side, 1000)->registered || !waits);
}
END_TEST

/* ---- the connection */

/* With a notification pending a step sends and does not wait. */
static void step_without_waiting(void)
{
    struct ia_err err = {0};
    kit_run(&kit, "NOTIFY iot_auth, 'device'");
    ck_assert(ia_db_wait(side.db, -1, 10000, &err) == IA_OK);
    ck_assert(ia_registrar_step(side.registrar, &err) == IA_OK);
}

#define LOCKED 16

/* A notified revocation is read after the batches that are under way, of which each waits 100 ms for its lock. */
START_TEST(few_batches_that_wait_for_locks_are_under_way_at_a_time)
{
    int64_t locked[LOCKED], warm = register_ca("warm", "");
    struct ia_err err = {0};
    for (unsigned i = 0; i < LOCKED; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "locked-%u", i);
        locked[i] = register_ca(name, "");
    }
    for (unsigned i = 0; i < 200; i++)
        add_registration(&side, i, warm); /* the pace of a fast server */
    serve(&side, 200);
    for (unsigned i = 200; i < 210;
         i++) { /* and its round trip: the shortest time of a batch, also on a busy machine */
        add_registration(&side, i, warm);
        serve(&side, i + 1);
    }
    step_without_waiting();
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "SELECT FROM iot_auth.ca WHERE name LIKE 'locked-%' FOR UPDATE");
    for (unsigned i = 0; i < LOCKED; i++) {
        add_registration(&side, 1000 + i, locked[i]);
        while (!ia_registrar_due(side.registrar))
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        ck_assert_msg(ia_registrar_step(side.registrar, &err) == IA_OK, "%s", err.msg);
    }
    int64_t begun = ia_monotonic_ms();
    ck_assert_msg(ia_registrar_finish(side.registrar, &err) == IA_OK, "%s", err.msg);
    ck_assert_int_lt(ia_monotonic_ms() - begun, 1100); /* sixteen would take 1.6 s */
    kit_run(&kit, "ROLLBACK");
    serve(&side, 210 + LOCKED);
}
END_TEST

START_TEST(step_does_not_wait_while_a_notification_is_pending)
{
    int64_t ca_id = register_ca("acme", "");
    for (unsigned i = 0; i < 100; i++)
        add_registration(&side, i, ca_id);
    step_without_waiting();
    serve(&side, 100);
    ck_assert_uint_eq(count_registered(&side), 100);
}
END_TEST

START_TEST(connection_that_is_lost_under_a_batch_refuses_for_now_and_a_retry_succeeds)
{
    int64_t ca_id = register_ca("acme", "");
    struct ia_err err = {0};
    for (unsigned i = 0; i < 100; i++)
        add_registration(&side, i, ca_id);
    step_without_waiting();
    ck_assert(ia_registrar_is_busy(side.registrar) || side.n == 100);
    forget_answers(&side);
    kit_run(&kit, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                  "WHERE usename = 'iot_auth_broker' AND datname = current_database()");
    for (unsigned i = 100; i < 200; i++)
        add_registration(&side, i, ca_id);
    enum ia_rc rc = ia_registrar_finish(side.registrar, &err);
    while (rc == IA_OK)
        rc = ia_registrar_step(side.registrar, &err);
    ck_assert_int_eq(rc, IA_UNAVAILABLE);
    ck_assert(!ia_db_connected(side.db));
    ia_registrar_refuse_all(side.registrar, "the database is not connected");
    for (unsigned i = 100; i < 200; i++)
        ck_assert_int_eq(answer_to(&side, i)->reason, IA_R_REGISTRY_UNAVAILABLE);
    forget_answers(&side);
    ck_assert_msg(ia_db_connect(side.db, &err) == IA_OK, "%s", err.msg);
    for (unsigned i = 0; i < 200; i++)
        add_registration(&side, i, ca_id);
    serve(&side, 200);
    for (unsigned i = 0; i < 200; i++)
        ck_assert(answer_to(&side, i)->device && answer_to(&side, i)->reason == IA_R_NONE);
    ck_assert_int_eq(value("SELECT count(*) FROM iot_auth.device"), 200);
}
END_TEST

START_TEST(connection_serves_other_statements_after_the_batches)
{
    int64_t ca_id = register_ca("acme", "");
    struct ia_err err = {0};
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10; i++) {
            add_registration(&side, round * 10 + i, ca_id);
            add_registration(&side, round * 10 + i, ca_id); /* the same again: it is known */
        }
        serve(&side, (round + 1) * 20);
        ck_assert_msg(kit_ping(side.db, &err) == IA_OK, "%s", err.msg);
    }
    ck_assert_uint_eq(count_registered(&side), 200);
}
END_TEST

static void cases(TCase *c)
{
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, waiting_registrations_are_few_transactions_each_item_with_its_own_answer);
    tcase_add_test(c, refusals_leave_the_other_items_of_the_batch_alone);
    tcase_add_test(c, item_that_the_database_cannot_take_costs_the_others_nothing);
    tcase_add_test(c, two_brokers_with_the_same_devices_register_each_once);
    tcase_add_test(c, locked_ca_does_not_hold_up_the_devices_of_other_cas);
    tcase_add_test(c, lock_that_is_not_released_refuses_for_now);
    tcase_add_test(c, locked_device_does_not_hold_up_its_ca);
    tcase_add_test(c, few_batches_that_wait_for_locks_are_under_way_at_a_time);
    tcase_add_test(c, step_does_not_wait_while_a_notification_is_pending);
    tcase_add_test(c, connection_that_is_lost_under_a_batch_refuses_for_now_and_a_retry_succeeds);
    tcase_add_test(c, connection_serves_other_statements_after_the_batches);
}

int main(void)
{
    return run_suite("registrar", cases);
}
