// SPDX-License-Identifier: ISC
/* The rows that wait to be written: in order, bounded, and no row holds up another.  The database is a double that
 * answers as a test sets it. */
#include "worker/outbox.h"

#include "tests/unit/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the database ------------------------------------------------------------------------------------------------- */

static struct {
    enum ia_rc answer;     /* to every statement … */
    int64_t refused_rule;  /* … but that about this rule, … */
    const char *bad_event; /* … and every batch with an event of this principal */
    bool connected;
    char written[1 << 16]; /* what was written, in order */
    size_t calls, largest;
    size_t unparsed, read_from; /* certificates registered by hand; where they were read from last */
} base;

static void base_clear(void)
{
    memset(&base, 0, sizeof base);
    base.connected = true;
}

static void note(const char *what, const char *name)
{
    size_t n = strlen(base.written);
    (void)snprintf(base.written + n, sizeof base.written - n, "%s %s\n", what, name);
}

static size_t written(void)
{
    size_t lines = 0;
    for (const char *p = base.written; *p; p++)
        lines += *p == '\n';
    return lines;
}

bool ia_db_connected(const struct ia_db *db)
{
    (void)db;
    return base.connected;
}

static enum ia_rc write_one(const char *what, const char *name, struct ia_err *err)
{
    base.calls++;
    if (base.answer != IA_OK)
        return ia_fail(err, base.answer, "as the test wants it");
    note(what, name);
    return IA_OK;
}

enum ia_rc ia_db_set_ca_parsed(struct ia_db *db, int64_t ca_id, const struct ia_cert_info *info, const char *problem,
                               struct ia_err *err)
{
    char name[64];
    (void)db;
    (void)snprintf(name, sizeof name, "%lld %s %s", (long long)ca_id, info ? "parsed" : "unparsed",
                   problem ? problem : "-");
    return write_one("ca", name, err);
}

enum ia_rc ia_db_set_rule_problem(struct ia_db *db, int64_t rule_id, const char *problem, struct ia_err *err)
{
    char name[64];
    (void)db;
    if (rule_id == base.refused_rule) {
        base.calls++;
        return ia_fail(err, IA_UNAVAILABLE, "locked");
    }
    (void)snprintf(name, sizeof name, "%lld %s", (long long)rule_id, problem ? problem : "-");
    return write_one("rule", name, err);
}

enum ia_rc ia_db_set_issuer_problem(struct ia_db *db, const char *name, const char *problem, struct ia_err *err)
{
    (void)db, (void)problem;
    return write_one("issuer", name, err);
}

enum ia_rc ia_db_set_issuer_note(struct ia_db *db, const char *name, const char *note, struct ia_err *err)
{
    char text[256];
    (void)db;
    (void)snprintf(text, sizeof text, "%s %s", name, note);
    return write_one("note", text, err);
}

enum ia_rc ia_db_set_psk_problem(struct ia_db *db, const char *identity, const struct ia_octets *sealed,
                                 const char *problem, struct ia_err *err)
{
    char text[256];
    (void)db;
    (void)snprintf(text, sizeof text, "%s %zu %s", identity, sealed->len, problem ? problem : "-");
    return write_one("psk", text, err);
}

enum ia_rc ia_db_write_events(struct ia_db *db, const char *node, const struct ia_event_row *events, size_t n,
                              struct ia_err *err)
{
    (void)db;
    ck_assert_str_eq(node, "node-1");
    base.calls++;
    base.largest = n > base.largest ? n : base.largest;
    if (base.answer != IA_OK)
        return ia_fail(err, base.answer, "as the test wants it");
    for (size_t i = 0; i < n; i++)
        if (base.bad_event && strcmp(events[i].principal, base.bad_event) == 0)
            return ia_fail(err, IA_FORMAT, "a bad row");
    for (size_t i = 0; i < n; i++)
        note("event", events[i].principal);
    return IA_OK;
}

enum ia_rc ia_db_write_owners(struct ia_db *db, const char *node, const struct ia_owner_row *rows, size_t n,
                              struct ia_err *err)
{
    (void)db;
    ck_assert_str_eq(node, "node-1");
    base.calls++;
    if (base.answer != IA_OK)
        return ia_fail(err, base.answer, "as the test wants it");
    for (size_t i = 0; i < n; i++)
        note(rows[i].principal ? rows[i].principal : "nobody", rows[i].client_id);
    return IA_OK;
}

enum ia_rc ia_db_write_refusals(struct ia_db *db, const char *node, const struct ia_refusal_row *refusals, size_t n,
                                struct ia_err *err)
{
    (void)db;
    ck_assert_str_eq(node, "node-1");
    base.calls++;
    if (base.answer != IA_OK)
        return ia_fail(err, base.answer, "as the test wants it");
    for (size_t i = 0; i < n; i++)
        if (base.bad_event && strcmp(refusals[i].event.principal, base.bad_event) == 0)
            return ia_fail(err, IA_FORMAT, "a bad row");
    for (size_t i = 0; i < n; i++)
        note("refusal", refusals[i].key);
    return IA_OK;
}

enum ia_rc ia_db_connected_devices(struct ia_db *db, const struct ia_connect_row *rows, size_t n, struct ia_err *err)
{
    (void)db;
    base.calls++;
    if (base.answer != IA_OK)
        return ia_fail(err, base.answer, "as the test wants it");
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_gt(rows[i].at_us, 0);
        note("connected", rows[i].device_id);
    }
    return IA_OK;
}

enum ia_rc ia_db_heartbeat(struct ia_db *db, const char *node, const char *counters, struct ia_err *err)
{
    (void)db, (void)node;
    return write_one("beat", counters, err);
}

enum ia_rc ia_db_node_stopped(struct ia_db *db, const char *node, struct ia_err *err)
{
    (void)db;
    return write_one("stopped", node, err);
}

/* Fingerprints are numbers from 1 on in their last two bytes; none of the certificates parses. */
enum ia_rc ia_db_unparsed(struct ia_db *db, const uint8_t after[IA_FINGERPRINT_LEN], struct ia_unparsed_rows **out,
                          struct ia_err *err)
{
    static struct ia_unparsed_row rows[IA_UNPARSED_PAGE];
    size_t from = after[IA_FINGERPRINT_LEN - 2] * 256u + after[IA_FINGERPRINT_LEN - 1], n = 0;
    (void)db, (void)err;
    base.read_from = from;
    for (size_t i = from + 1; i <= base.unparsed && n < IA_UNPARSED_PAGE; i++) {
        struct ia_unparsed_row *row = &rows[n++];
        *row = (struct ia_unparsed_row){.pem = "no PEM"};
        row->fingerprint[IA_FINGERPRINT_LEN - 2] = (uint8_t)(i / 256);
        row->fingerprint[IA_FINGERPRINT_LEN - 1] = (uint8_t)(i % 256);
    }
    *out = calloc(1, sizeof **out);
    **out = (struct ia_unparsed_rows){.rows = rows, .n = n};
    return IA_OK;
}

void ia_unparsed_rows_free(struct ia_unparsed_rows *rows)
{
    free(rows);
}

enum ia_rc ia_db_set_certificate_parsed(struct ia_db *db, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                        const struct ia_cert_info *info, const char *problem, struct ia_err *err)
{
    (void)db, (void)fingerprint, (void)info;
    return write_one("certificate", problem ? problem : "-", err);
}

enum ia_rc ia_db_prune(struct ia_db *db, int64_t age_s, struct ia_err *err)
{
    (void)db;
    ck_assert_int_ge(age_s, 86400);
    return write_one("prune", "-", err);
}

/* --- the outbox --------------------------------------------------------------------------------------------------- */

static struct ia_outbox *outbox;
static struct ia_err err;

static void setup(void)
{
    base_clear();
    outbox = ia_outbox_new("node-1");
    ck_assert_ptr_nonnull(outbox);
}

static void teardown(void)
{
    ia_outbox_free(outbox);
}

static struct ia_request *request(enum ia_request_kind kind, const char *name)
{
    struct ia_request *r = ia_request_new(kind, "{}");
    ck_assert_ptr_nonnull(r);
    if (kind == IA_REQUEST_CONNECTED) {
        r->connected.at_us = 1;
        (void)snprintf(r->connected.device_id, sizeof r->connected.device_id, "%s", name);
    } else {
        r->event.kind = "device/refused";
        r->event.at_us = 1;
        (void)snprintf(r->event.principal, sizeof r->event.principal, "%s", name);
    }
    return r;
}

static void add_events(const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ia_outbox_event(outbox, request(IA_REQUEST_EVENT, names[i]));
}

/* Until nothing is left, or `most` calls have been made. */
static void write_all(int most)
{
    while (most-- > 0 && ia_outbox_due(outbox))
        ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_OK);
}

START_TEST(rows_are_written_in_order_and_once)
{
    const char *names[] = {"a", "b", "c"};
    ck_assert(!ia_outbox_due(outbox));
    add_events(names, 3);
    ia_outbox_connected(outbox, request(IA_REQUEST_CONNECTED, "sensor-1"));
    ia_outbox_connected(outbox, request(IA_REQUEST_CONNECTED, "sensor-2"));
    ia_outbox_ca(outbox, 7, NULL, "bad");
    ia_outbox_rule(outbox, 9, NULL);
    ia_outbox_issuer(outbox, "corp", "no keys");
    ia_outbox_issuer_note(outbox, "corp", "a key of another kind");
    const struct ia_psk_row psk = {.identity = "meter-1", .sealed = {(const uint8_t *)"sealed", 6}};
    ia_outbox_psk(outbox, &psk, "it does not open");
    ia_outbox_psk(outbox, &psk, NULL);
    write_all(10);
    ck_assert_str_eq(
        base.written,
        "event a\nevent b\nevent c\nconnected sensor-1\nconnected sensor-2\nca 7 unparsed bad\nrule 9 "
        "-\nissuer corp\nnote corp a key of another kind\npsk meter-1 6 it does not open\npsk meter-1 6 -\n");
    ck_assert(!ia_outbox_due(outbox));
}
END_TEST

START_TEST(problems_of_a_million_keys_leave_room_for_others)
{
    const struct ia_psk_row psk = {.identity = "meter-1", .sealed = {(const uint8_t *)"sealed", 6}};
    for (int i = 0; i < 1000000; i++)
        ia_outbox_psk(outbox, &psk, "the key file has no key 5");
    write_all(1000);
    size_t calls = base.calls;
    ck_assert(!ia_outbox_due(outbox) && calls < 20000);
    for (int i = 0; i < 1000000; i++)
        ia_outbox_psk(outbox, &psk, "the key file has no key 5");
    ia_outbox_ca(outbox, 7, NULL, "bad");
    write_all(1000);
    ck_assert_uint_eq(base.calls, 2 * calls + 1);
}
END_TEST

/* An app's name is up to twice as long as a device id: truncated, it would belong to another app, or end in the middle
 * of a character, which PostgreSQL refuses. */
START_TEST(event_of_the_longest_app_name_has_it_whole)
{
    char name[IA_PRINCIPAL_MAX + 1], line[IA_PRINCIPAL_MAX + 16];
    memset(name, 'a', IA_PRINCIPAL_MAX);
    name[IA_PRINCIPAL_MAX] = '\0';
    const char *const names[] = {name};
    add_events(names, 1);
    write_all(1);
    (void)snprintf(line, sizeof line, "event %s\n", name);
    ck_assert_str_eq(base.written, line);
}
END_TEST

START_TEST(what_cannot_be_written_now_stays)
{
    const char *names[] = {"a", "b"};
    add_events(names, 2);
    ia_outbox_connected(outbox, request(IA_REQUEST_CONNECTED, "sensor-1"));
    ia_outbox_rule(outbox, 9, "bad");
    for (int connected = 0; connected < 2; connected++) {
        base.answer = IA_UNAVAILABLE;
        base.connected = connected;
        ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_UNAVAILABLE);
        ck_assert(ia_outbox_due(outbox));
    }
    base.answer = IA_OK;
    write_all(10);
    ck_assert_str_eq(base.written, "event a\nevent b\nconnected sensor-1\nrule 9 bad\n");
}
END_TEST

START_TEST(bad_event_costs_no_other)
{
    const char *names[] = {"a", "bad", "b", "c"};
    add_events(names, 4);
    base.bad_event = "bad";
    write_all(20);
    ck_assert_str_eq(base.written, "event a\nevent b\nevent c\n");
    ck_assert(!ia_outbox_due(outbox));
}
END_TEST

static void add_refusal(const char *principal)
{
    struct ia_request *r = request(IA_REQUEST_REFUSAL, principal);
    r->refusal.key_kind = "app";
    (void)snprintf(r->refusal.key, sizeof r->refusal.key, "%s", principal);
    ia_outbox_refusal(outbox, r);
}

START_TEST(owners_are_written_before_all_else)
{
    const char *names[] = {"a"};
    add_events(names, 1);
    struct ia_request *owner = ia_request_new(IA_REQUEST_OWNER, "shared");
    (void)snprintf(owner->owner.principal, sizeof owner->owner.principal, "dev-1");
    ia_outbox_owner(outbox, owner);
    ia_outbox_owner(outbox, ia_request_new(IA_REQUEST_OWNER, "free"));
    write_all(10);
    ck_assert_str_eq(base.written, "dev-1 shared\nnobody free\nevent a\n");
}
END_TEST

START_TEST(bad_refusal_costs_no_other)
{
    add_refusal("a");
    add_refusal("bad");
    add_refusal("b");
    base.bad_event = "bad";
    write_all(20);
    ck_assert_str_eq(base.written, "refusal a\nrefusal b\n");
    ck_assert(!ia_outbox_due(outbox));
}
END_TEST

START_TEST(oldest_refusals_go_first)
{
    char name[16];
    for (int i = 0; i < 6100; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        add_refusal(name);
    }
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_OK);
    ck_assert_int_eq(strncmp(base.written, "refusal 100\n", 12), 0);
}
END_TEST

START_TEST(refused_column_goes_and_the_next_is_written)
{
    ia_outbox_rule(outbox, 1, "bad");
    base.answer = IA_FORMAT;
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_OK);
    ck_assert(!ia_outbox_due(outbox));
    ck_assert_uint_eq(base.calls, 1);
}
END_TEST

START_TEST(locked_row_waits_behind_the_others)
{
    ia_outbox_rule(outbox, 1, "locked");
    ia_outbox_rule(outbox, 2, "free");
    base.refused_rule = 1;
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_UNAVAILABLE);
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_UNAVAILABLE);
    ck_assert_str_eq(base.written, "rule 2 free\n");
    base.refused_rule = 0;
    write_all(10);
    ck_assert_str_eq(base.written, "rule 2 free\nrule 1 locked\n");
}
END_TEST

START_TEST(one_call_writes_a_bounded_batch)
{
    for (int i = 0; i < 1200; i++)
        ia_outbox_event(outbox, request(IA_REQUEST_EVENT, "e"));
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_OK);
    ck_assert_uint_le(base.largest, 500);
    ck_assert(ia_outbox_due(outbox));
    write_all(10);
    ck_assert_uint_eq(written(), 1200);
}
END_TEST

/* During a long outage the newest are worth more than the oldest, and memory is bounded. */
START_TEST(oldest_events_go_first)
{
    char name[16];
    for (int i = 0; i < 10100; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        ia_outbox_event(outbox, request(IA_REQUEST_EVENT, name));
    }
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_OK);
    ck_assert_int_eq(strncmp(base.written, "event 100\n", 10), 0);
}
END_TEST

START_TEST(oldest_connects_go_first)
{
    char name[16];
    for (int i = 0; i < 100007; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        ia_outbox_connected(outbox, request(IA_REQUEST_CONNECTED, name));
    }
    ck_assert(ia_outbox_write(outbox, NULL, &err) == IA_OK);
    ck_assert_int_eq(strncmp(base.written, "connected 7\n", 12), 0);
}
END_TEST

START_TEST(connects_are_collected_before_they_are_written)
{
    ck_assert_int_eq(ia_outbox_wait_ms(outbox), -1);
    for (int i = 0; i < 499; i++)
        ia_outbox_connected(outbox, request(IA_REQUEST_CONNECTED, "sensor-1"));
    int64_t wait_ms = ia_outbox_wait_ms(outbox);
    ck_assert_msg(wait_ms > 0 && wait_ms <= 3000, "%lld", (long long)wait_ms);
    ck_assert(!ia_outbox_due(outbox));
    ia_outbox_connected(outbox, request(IA_REQUEST_CONNECTED, "sensor-2")); /* a whole batch */
    ck_assert(ia_outbox_due(outbox));
    write_all(10);
    ck_assert_int_eq(ia_outbox_wait_ms(outbox), -1);
}
END_TEST

START_TEST(heartbeat_has_the_newest_counters_and_prunes_now_and_then)
{
    ck_assert(ia_outbox_heartbeat(outbox, NULL, NULL, &err) == IA_OK);
    ck_assert_str_eq(base.written, "beat {}\nprune -\n");
    base.written[0] = '\0';
    ia_outbox_counters(outbox, ia_request_new(IA_REQUEST_COUNTERS, "{\"old\":1}"));
    ia_outbox_counters(outbox, ia_request_new(IA_REQUEST_COUNTERS, "{\"new\":2}"));
    ck_assert(!ia_outbox_due(outbox));
    ck_assert(ia_outbox_heartbeat(outbox, NULL, NULL, &err) == IA_OK);
    ck_assert_str_eq(base.written, "beat {\"new\":2}\n");
}
END_TEST

START_TEST(certificates_that_never_parse_do_not_hold_up_the_others)
{
    static const size_t from[] = {0, 1000, 2000, 0, 1000};
    base.unparsed = 2500;
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
        ck_assert(ia_outbox_heartbeat(outbox, NULL, NULL, &err) == IA_OK);
        ck_assert_uint_eq(base.read_from, from[i]);
    }
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, rows_are_written_in_order_and_once);
    tcase_add_test(c, problems_of_a_million_keys_leave_room_for_others);
    tcase_add_test(c, event_of_the_longest_app_name_has_it_whole);
    tcase_add_test(c, what_cannot_be_written_now_stays);
    tcase_add_test(c, bad_event_costs_no_other);
    tcase_add_test(c, owners_are_written_before_all_else);
    tcase_add_test(c, bad_refusal_costs_no_other);
    tcase_add_test(c, oldest_refusals_go_first);
    tcase_add_test(c, refused_column_goes_and_the_next_is_written);
    tcase_add_test(c, locked_row_waits_behind_the_others);
    tcase_add_test(c, one_call_writes_a_bounded_batch);
    tcase_add_test(c, oldest_events_go_first);
    tcase_add_test(c, oldest_connects_go_first);
    tcase_add_test(c, connects_are_collected_before_they_are_written);
    tcase_add_test(c, heartbeat_has_the_newest_counters_and_prunes_now_and_then);
    tcase_add_test(c, certificates_that_never_parse_do_not_hold_up_the_others);
}

int main(void)
{
    return run_suite("outbox", cases);
}
