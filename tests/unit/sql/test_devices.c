// SPDX-License-Identifier: ISC
/* Device records: look-up, parts, registration, against a real PostgreSQL (with_postgres.sh). */
#include "pg_kit.h"
#include "sql/batch.h"
#include "sql/devices.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kit kit;
static struct ia_db *db;

static void setup(void)
{
    kit_init(&kit);
    kit_run(&kit, "SET session_replication_role = replica"); /* PEM is not looked into here */
    kit_run(&kit, "INSERT INTO iot_auth.ca (ca_id, name, pem, fingerprint, auto_registration, tenant) VALUES "
                  "(1, 'acme', 'x', sha256('1'), true, 'acme-t'), (2, 'other', 'x', sha256('2'), false, NULL)");
    db = kit_connected(&kit);
}

static void teardown(void)
{
    ia_db_free(db);
    kit_clear(&kit);
}

/* Device d-1 with two certificates (one of them REVOKED), d-2 with one. */
static void put_devices(void)
{
    kit_run(&kit, "INSERT INTO iot_auth.role (role) VALUES ('meter')");
    kit_run(&kit, "INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, attributes) VALUES "
                  "('d-1', 1, 'mine', 'ACTIVE', '{\"site\": \"north\", \"floor\": 3, \"none\": null, \"list\": [1]}'), "
                  "('d-2', 2, NULL, 'PENDING', '{}')");
    kit_run(&kit, "INSERT INTO iot_auth.device_role (device_id, role) VALUES ('d-1', 'meter')");
    kit_run(&kit, "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, not_after, status) "
                  "VALUES (sha256('a'), 'd-1', 1, '01', '2030-01-01+00', 'ACTIVE'), "
                  "(sha256('b'), 'd-1', 1, '02', NULL, 'REVOKED'), (sha256('c'), 'd-2', 2, '03', NULL, 'ACTIVE')");
}

static const uint8_t sha256_of_a[32] = "\xca\x97\x81\x12\xca\x1b\xbd\xca\xfa\xc2\x31\xb3\x9a\x23\xdc\x4d"
                                       "\xa7\x86\xef\xf8\x14\x7c\x4e\x72\xb9\x80\x77\x85\xaf\xee\x48\xbb";

static const char *attr(const struct ia_device_row *row, const char *name)
{
    for (size_t i = 0; i + 1 < row->attrs.n; i += 2)
        if (strcmp(row->attrs.items[i], name) == 0)
            return row->attrs.items[i + 1];
    return "(unset)";
}

START_TEST(certificate_is_found_with_all_that_its_device_is)
{
    struct ia_device_rows *rows = NULL;
    put_devices();
    ck_assert(ia_db_device_by_fingerprint(db, sha256_of_a, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 1);
    const struct ia_device_row *r = &rows->rows[0];
    ck_assert(memcmp(r->fingerprint, sha256_of_a, 32) == 0);
    ck_assert_str_eq(r->device_id, "d-1");
    ck_assert_str_eq(r->tenant, "mine");
    ck_assert(r->device_status == IA_DEVICE_ACTIVE && r->certificate_status == IA_CERT_ACTIVE);
    ck_assert(r->certificate_ca_id == 1 && r->device_ca_id == 1 && r->not_after == 1893456000);
    ck_assert_str_eq(attr(r, "site"), "north");
    ck_assert_str_eq(attr(r, "floor"), "3");
    ck_assert_str_eq(attr(r, "none"), "(unset)");
    ck_assert_uint_eq(r->roles.n, 1);
    ck_assert_str_eq(r->roles.items[0], "meter");
    ia_device_rows_free(rows);
    ia_device_rows_free(NULL);
}
END_TEST

START_TEST(unknown_certificate_gives_no_row)
{
    struct ia_device_rows *rows = NULL;
    static const uint8_t nobody[32];
    put_devices();
    ck_assert(ia_db_device_by_fingerprint(db, nobody, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 0);
    ia_device_rows_free(rows);
}
END_TEST

START_TEST(devices_are_found_by_id)
{
    struct ia_device_rows *rows = NULL;
    static const char *const ids[] = {"d-1", "no such", "", "d-2", "d-1", "{}\",\\"};
    put_devices();
    ck_assert(ia_db_devices_by_id(db, ids, 6, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 3);
    for (size_t i = 0; i < rows->n; i++) {
        const struct ia_device_row *r = &rows->rows[i];
        bool first = strcmp(r->device_id, "d-1") == 0;
        ck_assert(r->device_status == (first ? IA_DEVICE_ACTIVE : IA_DEVICE_PENDING));
        ck_assert((r->tenant != NULL) == first);
        ck_assert_uint_eq(r->roles.n, first ? 1 : 0);
        ck_assert_uint_eq(r->attrs.n % 2, 0);
    }
    ia_device_rows_free(rows);
    ck_assert(ia_db_devices_by_id(db, NULL, 0, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 0);
    ia_device_rows_free(rows);
}
END_TEST

static int compare_rows(const struct ia_device_row *a, const struct ia_device_row *b)
{
    int order = strcmp(a->device_id, b->device_id);
    return order ? order : memcmp(a->fingerprint, b->fingerprint, IA_FINGERPRINT_LEN);
}

/* The broker searches them by bisection. */
START_TEST(statuses_come_by_the_bytes_of_the_device_id_and_the_fingerprint)
{
    static const char *const ids[] = {"b", "a", "B", "a-1", "A", "a1"};
    struct ia_device_rows *rows = NULL;
    kit_run(&kit, "INSERT INTO iot_auth.device (device_id, ca_id, status) "
                  "SELECT unnest(ARRAY['a1', 'b', 'A', 'a-1', 'B', 'a']), 1, 'ACTIVE'");
    kit_run(&kit, "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id) "
                  "SELECT sha256(convert_to(device_id || n, 'UTF8')), device_id, 1 "
                  "FROM iot_auth.device, generate_series(1, 5) n");
    ck_assert(ia_db_device_states(db, ids, 6, &rows, NULL) == IA_OK);
    ck_assert_uint_eq(rows->n, 30);
    for (size_t i = 1; i < rows->n; i++)
        ck_assert_int_lt(compare_rows(&rows->rows[i - 1], &rows->rows[i]), 0);
    ia_device_rows_free(rows);
}
END_TEST

START_TEST(unknown_statuses_read_as_inactive)
{
    struct ia_device_rows *rows = NULL;
    kit_run(&kit, "ALTER TABLE iot_auth.device DROP CONSTRAINT device_status_known");
    kit_run(&kit, "ALTER TABLE iot_auth.device_certificate DROP CONSTRAINT certificate_status_known");
    put_devices();
    kit_run(&kit, "UPDATE iot_auth.device SET status = 'LOANED'");
    kit_run(&kit, "UPDATE iot_auth.device_certificate SET status = 'FORGOTTEN'");
    ck_assert(ia_db_device_by_fingerprint(db, sha256_of_a, &rows, NULL) == IA_OK);
    ck_assert(rows->rows[0].device_status == IA_DEVICE_INACTIVE);
    ck_assert(rows->rows[0].certificate_status == IA_CERT_INACTIVE);
    ia_device_rows_free(rows);
}
END_TEST

/* What a reading by parts has seen. */
struct seen {
    size_t rows, batches, active, with_role, with_attr;
    size_t stop_after; /* rows, 0: never */
};

static enum ia_rc see(void *ctx, const struct ia_device_rows *batch, struct ia_err *err)
{
    struct seen *seen = ctx;
    for (size_t i = 0; i < batch->n; i++) {
        const struct ia_device_row *r = &batch->rows[i];
        ck_assert(strncmp(r->device_id, "p-", 2) == 0 || strncmp(r->device_id, "d-", 2) == 0);
        ck_assert(r->tenant == NULL || strcmp(r->tenant, "mine") == 0 || strcmp(r->tenant, "acme-t") == 0);
        seen->active += r->certificate_status == IA_CERT_ACTIVE;
        seen->with_role += r->roles.n == 1 && strcmp(r->roles.items[0], "meter") == 0;
        seen->with_attr += strcmp(attr(r, "site"), "north") == 0;
    }
    seen->rows += batch->n;
    seen->batches++;
    if (seen->stop_after && seen->rows >= seen->stop_after)
        return ia_fail(err, IA_NOMEM, "enough");
    return IA_OK;
}

static void put_many(void)
{
    kit_run(&kit,
            "INSERT INTO iot_auth.device (device_id, ca_id) SELECT 'p-' || i, 1 FROM generate_series(1, 20000) i");
    kit_run(&kit, "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial) "
                  "SELECT sha256(i::text::bytea), 'p-' || i, 1, '01' FROM generate_series(1, 20000) i");
}

START_TEST(parts_hold_every_row_once)
{
    struct seen seen = {0};
    struct ia_err err = {0};
    put_devices();
    put_many();
    for (int part = 0; part < IA_DEVICE_PARTS; part++) {
        size_t before = seen.rows;
        ck_assert_msg(ia_db_device_part(db, part, see, &seen, &err) == IA_OK, "%s", err.msg);
        ck_assert_uint_gt(seen.rows - before, 4000);
        ck_assert(kit_ping(db, NULL) == IA_OK);
    }
    ck_assert_uint_eq(seen.rows, 20003);
    ck_assert_uint_eq(seen.active, 20002);
    ck_assert_uint_eq(seen.with_role, 2);
    ck_assert_uint_eq(seen.with_attr, 2);
    ck_assert_uint_ge(seen.batches, 2 * IA_DEVICE_PARTS);
    ck_assert(ia_db_device_part(db, IA_DEVICE_PARTS, see, &seen, NULL) == IA_USAGE);
    ck_assert(ia_db_device_part(db, -1, see, &seen, NULL) == IA_USAGE);
}
END_TEST

START_TEST(empty_registry_has_empty_parts)
{
    struct seen seen = {0};
    for (int part = 0; part < IA_DEVICE_PARTS; part++)
        ck_assert(ia_db_device_part(db, part, see, &seen, NULL) == IA_OK);
    ck_assert_uint_eq(seen.batches, 0);
}
END_TEST

START_TEST(reading_that_its_caller_ends_drops_the_connection)
{
    struct seen seen = {.stop_after = 1};
    struct ia_err err = {0};
    put_many();
    ck_assert(ia_db_device_part(db, 0, see, &seen, &err) == IA_NOMEM);
    ck_assert_str_eq(err.msg, "enough");
    ck_assert_uint_eq(seen.batches, 1);
    ck_assert(!ia_db_connected(db));
    ck_assert(ia_db_device_part(db, 0, see, &seen, &err) == IA_UNAVAILABLE);
}
END_TEST

START_TEST(stream_that_fails_or_hangs_is_given_up)
{
    struct seen seen = {0};
    struct ia_err err = {0};
    put_many();
    kit_run(&kit, "REVOKE SELECT ON iot_auth.broker_device FROM iot_auth_broker");
    ck_assert(ia_db_device_part(db, 0, see, &seen, &err) == IA_USAGE);
    ck_assert_ptr_nonnull(strstr(err.msg, "permission denied"));
    ck_assert(ia_db_connected(db));
    kit_run(&kit, "GRANT SELECT ON iot_auth.broker_device TO iot_auth_broker");
    pid_t backend = kit_backend(db);
    ck_assert_int_eq(kill(backend, SIGSTOP), 0);
    int64_t start = kit_now_ms();
    enum ia_rc rc = ia_db_device_part(db, 0, see, &seen, &err);
    int64_t took = kit_now_ms() - start;
    kill(backend, SIGCONT);
    ck_assert(rc == IA_UNAVAILABLE);
    ck_assert_int_lt(took, 1500);
}
END_TEST

/* A bulk load that begins with TRUNCATE must not cost every broker its connection. */
START_TEST(stream_of_a_locked_table_is_refused_and_keeps_the_connection)
{
    struct seen seen = {0};
    struct ia_err err = {0};
    put_many();
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "LOCK TABLE iot_auth.device IN ACCESS EXCLUSIVE MODE");
    ck_assert(ia_db_device_part(db, 0, see, &seen, &err) == IA_UNAVAILABLE);
    ck_assert(ia_db_connected(db));
    ck_assert_uint_eq(seen.batches, 0);
    kit_run(&kit, "COMMIT");
    ck_assert(ia_db_device_part(db, 0, see, &seen, NULL) == IA_OK);
    ck_assert_uint_gt(seen.batches, 0);
}
END_TEST

/* As a jsonb number of 131,072 digits does it: `bad` is a condition on a row of the view. */
static void poison(const char *bad)
{
    char sql[1024];
    kit_run(&kit, "CREATE OR REPLACE FUNCTION public.poison(boolean) RETURNS text IMMUTABLE LANGUAGE plpgsql AS "
                  "'BEGIN IF $1 THEN RAISE EXCEPTION USING ERRCODE = ''XX000'', MESSAGE = ''invalid memory alloc''; "
                  "END IF; RETURN NULL; END'");
    kit_run(&kit, "ALTER VIEW iot_auth.broker_device RENAME TO sound_device");
    snprintf(
        sql, sizeof sql,
        "CREATE VIEW iot_auth.broker_device AS SELECT fingerprint, device_id, device_status, certificate_status, "
        "certificate_ca_id, device_ca_id, tenant, not_after, CASE WHEN public.poison(%s) IS NULL THEN attrs END AS "
        "attrs, roles FROM iot_auth.sound_device",
        bad);
    kit_run(&kit, sql);
    kit_run(&kit, "GRANT SELECT ON iot_auth.broker_device TO iot_auth_broker");
}

struct paged {
    size_t rows, faults, pages;
};

static struct paged read_pages(void)
{
    struct paged p = {0};
    struct ia_device_cursor cursor = {0};
    struct ia_err err = {0};
    while (!cursor.end) {
        struct ia_device_rows *rows = NULL;
        ck_assert_msg(ia_db_device_page(db, &cursor, &rows, &err) == IA_OK, "%s", err.msg);
        ck_assert_uint_le(rows->n, IA_DEVICE_PAGE);
        for (size_t i = 0; i < rows->n; i++)
            p.faults += rows->rows[i].fault != NULL;
        p.rows += rows->n;
        p.pages++;
        ia_device_rows_free(rows);
    }
    return p;
}

START_TEST(pages_hold_every_row_once)
{
    ck_assert_uint_eq(read_pages().rows, 0);
    put_devices();
    put_many();
    struct paged p = read_pages();
    ck_assert_uint_eq(p.rows, 20003);
    ck_assert_uint_eq(p.faults, 0);
    ck_assert_uint_eq(p.pages, 20003 / IA_DEVICE_PAGE + 2);
}
END_TEST

START_TEST(pages_find_the_rows_that_cannot_be_returned)
{
    put_devices();
    put_many();
    poison("device_id IN ('p-5', 'p-6', 'p-9999', 'd-1')");
    struct paged p = read_pages();
    ck_assert_uint_eq(p.rows, 20003);
    ck_assert_uint_eq(p.faults, 5); /* d-1 has two certificates */
    ck_assert(ia_db_connected(db));
}
END_TEST

/* Half of all: the search must end each page in time, so that others have their turn. */
START_TEST(page_with_many_bad_rows_does_not_hold_the_connection_for_long)
{
    struct ia_device_cursor cursor = {0};
    struct ia_device_rows *rows = NULL;
    put_many();
    poison("ascii(right(device_id, 1)) % 2 = 0");
    int64_t start = kit_now_ms();
    ck_assert(ia_db_device_page(db, &cursor, &rows, NULL) == IA_OK);
    ck_assert_int_lt(kit_now_ms() - start, 5000); /* all of it would take longer */
    ck_assert_uint_gt(rows->n, 0);
    ck_assert(!cursor.end);
    ia_device_rows_free(rows);
}
END_TEST

START_TEST(devices_by_id_come_without_the_bad_one)
{
    static const char *const ids[] = {"d-2", "d-1", "nobody"};
    struct ia_device_rows *rows = NULL;
    struct ia_err err = {0};
    put_devices();
    poison("device_id = 'd-1'");
    ck_assert_msg(ia_db_devices_by_id(db, ids, 3, &rows, &err) == IA_OK, "%s", err.msg);
    ck_assert_uint_eq(rows->n, 3);
    for (size_t i = 0; i < 3; i++) {
        bool bad = strcmp(rows->rows[i].device_id, "d-1") == 0;
        ck_assert(bad == (rows->rows[i].fault != NULL));
        ck_assert(!bad || rows->rows[i].device_status == IA_DEVICE_INACTIVE);
    }
    ia_device_rows_free(rows);
    ck_assert(ia_db_device_by_fingerprint(db, sha256_of_a, &rows, &err) == IA_OK);
    ck_assert_uint_eq(rows->n, 1);
    ck_assert_msg(strstr(rows->rows[0].fault, "invalid memory alloc"), "%s", rows->rows[0].fault);
    ia_device_rows_free(rows);
}
END_TEST

START_TEST(stream_refused_because_of_a_row_keeps_the_connection)
{
    struct seen seen = {0};
    struct ia_err err = {0};
    put_many();
    poison("device_id = 'p-19999'");
    enum ia_rc rc = IA_OK;
    for (int part = 0; part < IA_DEVICE_PARTS && rc == IA_OK; part++)
        rc = ia_db_device_part(db, part, see, &seen, &err);
    ck_assert(rc == IA_FORMAT);
    ck_assert(ia_db_connected(db));
    ck_assert(kit_ping(db, NULL) == IA_OK);
}
END_TEST

/* ---- registration ---- */

static struct ia_cert_info info_of(uint8_t mark)
{
    struct ia_cert_info info = {
        .serial = "0a", .subject = "CN=new \"quoted\"", .not_before = 1700000000, .not_after = 1893456000};
    memset(info.fingerprint, mark, sizeof info.fingerprint);
    return info;
}

/* Register one certificate, as a batch of its own. */
static enum ia_rc register_one(uint8_t mark, const char *device_id, int64_t ca_id, struct ia_registered_items **out,
                               struct ia_err *err)
{
    struct ia_cert_info info = info_of(mark);
    const struct ia_registration what = {.info = &info, .device_id = device_id, .ca_id = ca_id, .address = "10.0.0.1"};
    ck_assert(ia_db_batch_begin(db, NULL) == IA_OK);
    ck_assert(ia_db_batch_register(db, &what, 1, "node-1", NULL) == IA_OK);
    enum ia_rc rc = ia_db_batch_registered(db, 1, out, err);
    ck_assert(ia_db_batch_end(db, NULL) == IA_OK);
    return rc;
}

static struct ia_registered_items *registered(uint8_t mark, const char *device_id, int64_t ca_id)
{
    struct ia_registered_items *out = NULL;
    struct ia_err err = {0};
    ck_assert_msg(register_one(mark, device_id, ca_id, &out, &err) == IA_OK, "%s", err.msg);
    ck_assert_uint_eq(out->n, 1);
    return out;
}

START_TEST(new_device_is_registered_with_its_record)
{
    struct ia_registered_items *items = registered(7, "new-1", 1);
    const struct ia_registered *r = items->items;
    ck_assert_str_eq(r->outcome, "registered");
    ck_assert_ptr_nonnull(strstr(r->detail, "\"new-1\""));
    ck_assert_ptr_nonnull(r->device);
    ck_assert_str_eq(r->device->device_id, "new-1");
    ck_assert_int_eq(r->device->fingerprint[31], 7);
    ck_assert(r->device->device_status == IA_DEVICE_ACTIVE && r->device->not_after == 1893456000);
    ck_assert_str_eq(r->device->tenant, "acme-t");
    ia_registered_items_free(items);
    ck_assert_str_eq(kit_value(&kit, "SELECT serial || '/' || subject || '/' || extract(epoch from not_before)::bigint "
                                     "FROM iot_auth.device_certificate"),
                     "0a/CN=new \"quoted\"/1700000000");
}
END_TEST

START_TEST(repeated_registration_finds_what_is_there)
{
    ia_registered_items_free(registered(7, "new-1", 1));
    struct ia_registered_items *again = registered(7, "new-1", 1);
    ck_assert_str_eq(again->items->outcome, "known");
    ck_assert_ptr_null(again->items->detail);
    ck_assert_str_eq(again->items->device->device_id, "new-1");
    ia_registered_items_free(again);
    ck_assert_str_eq(kit_value(&kit, "SELECT count(*) FROM iot_auth.device"), "1");
}
END_TEST

START_TEST(refused_registration_has_a_reason_and_no_record)
{
    struct ia_registered_items *r = registered(7, "new-1", 2);
    ck_assert_str_eq(r->items->outcome, "device_unknown");
    ck_assert_ptr_nonnull(r->items->detail);
    ck_assert_ptr_null(r->items->device);
    ia_registered_items_free(r);
    r = registered(7, "new-1", 99);
    ck_assert_str_eq(r->items->outcome, "ca_inactive");
    ck_assert_ptr_null(r->items->device);
    ia_registered_items_free(r);
    ia_registered_items_free(NULL);
}
END_TEST

START_TEST(refused_statement_keeps_the_connection)
{
    struct ia_registered_items *out = NULL;
    struct ia_err err = {0};
    ck_assert(register_one(7, "not \xFF utf-8", 1, &out, &err) == IA_FORMAT);
    ck_assert_ptr_null(out);
    ck_assert(ia_db_connected(db));
    ck_assert(kit_ping(db, NULL) == IA_OK);
}
END_TEST

START_TEST(registration_under_a_locked_ca_is_busy_and_does_not_wait)
{
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "SELECT 1 FROM iot_auth.ca WHERE ca_id = 1 FOR UPDATE");
    struct ia_registered_items *r = registered(7, "new-1", 1);
    ck_assert_str_eq(r->items->outcome, "busy");
    ck_assert_ptr_null(r->items->device);
    ia_registered_items_free(r);
    kit_run(&kit, "COMMIT");
    ia_registered_items_free(registered(7, "new-1", 1));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("devices");
    TCase *c = tcase_create("devices");
    tcase_set_timeout(c, 30);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, certificate_is_found_with_all_that_its_device_is);
    tcase_add_test(c, unknown_certificate_gives_no_row);
    tcase_add_test(c, devices_are_found_by_id);
    tcase_add_test(c, statuses_come_by_the_bytes_of_the_device_id_and_the_fingerprint);
    tcase_add_test(c, unknown_statuses_read_as_inactive);
    tcase_add_test(c, parts_hold_every_row_once);
    tcase_add_test(c, empty_registry_has_empty_parts);
    tcase_add_test(c, reading_that_its_caller_ends_drops_the_connection);
    tcase_add_test(c, stream_that_fails_or_hangs_is_given_up);
    tcase_add_test(c, stream_of_a_locked_table_is_refused_and_keeps_the_connection);
    tcase_add_test(c, pages_hold_every_row_once);
    tcase_add_test(c, pages_find_the_rows_that_cannot_be_returned);
    tcase_add_test(c, page_with_many_bad_rows_does_not_hold_the_connection_for_long);
    tcase_add_test(c, devices_by_id_come_without_the_bad_one);
    tcase_add_test(c, stream_refused_because_of_a_row_keeps_the_connection);
    tcase_add_test(c, new_device_is_registered_with_its_record);
    tcase_add_test(c, repeated_registration_finds_what_is_there);
    tcase_add_test(c, refused_registration_has_a_reason_and_no_record);
    tcase_add_test(c, refused_statement_keeps_the_connection);
    tcase_add_test(c, registration_under_a_locked_ca_is_busy_and_does_not_wait);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
