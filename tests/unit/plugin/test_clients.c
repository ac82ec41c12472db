// SPDX-License-Identifier: ISC
#include "plugin/clients.h"

#include "tests/unit/failing_alloc.h"
#include "tests/unit/plugin/broker_stub.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static struct ia_clients *sessions;
static struct mosquitto clients[8];

static void set_up(void)
{
    sessions = ia_clients_new();
    ck_assert_ptr_nonnull(sessions);
}

static void tear_down(void)
{
    ia_clients_free(sessions);
}

static struct ia_client *open_device(size_t n, const char *client_id, const char *username)
{
    struct ia_client *s = ia_client_open(sessions, &clients[n], IA_CLIENT_DEVICE, client_id, username);
    ck_assert_ptr_nonnull(s);
    return s;
}

static struct ia_device *record(const char *id, uint8_t fingerprint)
{
    struct ia_device_row row = {.device_id = id};
    row.fingerprint[0] = fingerprint;
    struct ia_device *device = ia_device_new(&row);
    ck_assert_ptr_nonnull(device);
    return device;
}

/* A login with a certificate of that device. */
static void came_with(struct ia_client *s, struct ia_device *device)
{
    ck_assert(ia_client_set_facts(sessions, s, &(struct ia_client_facts){.device = device}));
}

/* --- open, find, end
 * ------------------------------------------------------------------------------------------------ */

START_TEST(session_is_found_by_its_connection)
{
    ck_assert_ptr_null(ia_client_find(sessions, &clients[0]));
    struct ia_client *s = open_device(0, "id", "dev-1");
    ck_assert_ptr_eq(ia_client_find(sessions, &clients[0]), s);
    ck_assert_ptr_null(ia_client_find(sessions, &clients[1]));
    ck_assert(s->live && s->expires_at == INT64_MAX && s->disconnect_reason == IA_R_NONE);
    ck_assert_str_eq(s->client_id, "id");
    ck_assert_str_eq(ia_client_username(s), "dev-1");
    ck_assert_uint_eq(ia_clients_live(sessions), 1);
}
END_TEST

/* Contexts lie close together: thousands of pointers, each its own session. */
START_TEST(sessions_of_many_connections_do_not_mix)
{
    enum { MANY = 5000 };
    static struct mosquitto many[MANY];
    char id[24];
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof id, "c%d", i);
        ck_assert_ptr_nonnull(ia_client_open(sessions, &many[i], IA_CLIENT_DEVICE, id, id));
    }
    for (int round = 0; round < 2; round++) {
        for (int i = MANY - 1; i >= 0; i--) {
            (void)snprintf(id, sizeof id, "c%d", i);
            struct ia_client *s = ia_client_find(sessions, &many[i]);
            ck_assert(s && strcmp(s->client_id, id) == 0);
            ck_assert_ptr_eq(ia_client_owner(sessions, id), s);
        }
    }
    for (int i = 0; i < MANY; i += 2)
        ia_client_end(sessions, ia_client_find(sessions, &many[i]), IA_KEEP_YES);
    ia_clients_tidy(sessions);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(ia_client_find(sessions, &many[i]) != NULL, i % 2);
    ck_assert_uint_eq(ia_clients_live(sessions), MANY / 2);
}
END_TEST

/* Mosquitto allocates contexts again. */
START_TEST(session_of_a_reused_pointer_replaces_the_old_one)
{
    (void)open_device(0, "old", "dev-1");
    struct ia_client *s = open_device(0, "new", "dev-2");
    ck_assert_ptr_eq(ia_client_find(sessions, &clients[0]), s);
    ck_assert_ptr_null(ia_client_owner(sessions, "old"));
    ck_assert_uint_eq(ia_clients_live(sessions), 1);
}
END_TEST

START_TEST(ended_session_stays_until_tidy_unless_it_may_persist)
{
    struct ia_client *s = open_device(0, "clean", "dev-1"), *kept = open_device(1, "kept", "dev-2");
    kept->keep = IA_KEEP_YES;
    ia_client_end(sessions, s, IA_KEEP_YES);
    ia_client_end(sessions, s, IA_KEEP_YES); /* DISCONNECT may come twice */
    ia_client_end(sessions, kept, IA_KEEP_YES);
    ck_assert_uint_eq(ia_clients_live(sessions), 0);
    ck_assert_ptr_eq(ia_client_find(sessions, &clients[0]), s); /* its will is yet to be checked */
    ia_clients_tidy(sessions);
    ck_assert_ptr_null(ia_client_find(sessions, &clients[0]));
    ck_assert_ptr_null(ia_client_owner(sessions, "clean"));
    ck_assert_ptr_eq(ia_client_find(sessions, &clients[1]), kept);
    ck_assert_ptr_eq(ia_client_owner(sessions, "kept"), kept);
}
END_TEST

START_TEST(dropped_session_leaves_no_trace)
{
    struct ia_client *s = open_device(0, "id", "dev-1");
    came_with(s, record("dev-1", 1));
    ia_client_mark_disconnect(sessions, s, IA_R_DEVICE_INACTIVE);
    ia_client_drop(sessions, s);
    ck_assert_ptr_null(ia_client_find(sessions, &clients[0]));
    ck_assert_ptr_null(ia_client_owner(sessions, "id"));
    ck_assert_ptr_null(ia_clients_next_disconnect(sessions));
    ck_assert_uint_eq(ia_clients_live(sessions), 0);
}
END_TEST

/* --- client ids
 * ----------------------------------------------------------------------------------------------------- */

START_TEST(owner_is_the_live_session_whatever_came_and_went)
{
    struct ia_client *first = open_device(0, "id", "dev-1"), *second = open_device(1, "id", "dev-1");
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), second);
    ia_client_end(sessions, first, IA_KEEP_YES); /* taken over */
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), second);
    struct ia_client *third = open_device(2, "id", "dev-1");
    ia_client_end(sessions, third, IA_KEEP_YES); /* the newest goes first */
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), second);
    ia_clients_tidy(sessions);
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), second);
    struct ia_client *fourth = open_device(3, "id", "dev-1");
    ia_client_drop(sessions, fourth);
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), second);
}
END_TEST

START_TEST(owner_is_the_newest_ended_session_where_none_lives)
{
    struct ia_client *first = open_device(0, "id", "dev-1"), *second = open_device(1, "id", "dev-1");
    first->keep = second->keep = IA_KEEP_YES;
    ia_client_end(sessions, second, IA_KEEP_YES);
    ia_client_end(sessions, first, IA_KEEP_YES);
    ia_clients_tidy(sessions);
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), second);
    ck_assert_ptr_null(ia_client_owner(sessions, "other"));
}
END_TEST

START_TEST(unauthenticated_client_owns_nothing_and_leaves_nothing)
{
    struct ia_client *s = ia_client_open(sessions, &clients[0], IA_CLIENT_UNAUTHENTICATED, "id", NULL);
    ck_assert_str_eq(ia_client_username(s), "");
    ck_assert_ptr_null(ia_client_owner(sessions, "id"));
    struct ia_client *owner = open_device(1, "id", "dev-1");
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), owner);
    ia_client_end(sessions, s, IA_KEEP_YES);
    ck_assert_ptr_eq(ia_client_find(sessions, &clients[0]), s); /* its will is checked yet */
    ia_clients_tidy(sessions);
    ck_assert_ptr_null(ia_client_find(sessions, &clients[0])); /* nothing is kept of it */
    ck_assert_ptr_eq(ia_client_owner(sessions, "id"), owner);
}
END_TEST

/* --- is it the same client?
 * ----------------------------------------------------------------------------------------- */

START_TEST(ended_session_is_its_clients_by_id)
{
    struct ia_client *s = open_device(0, "id", "dev-1");
    struct mosquitto same = {.id = "id"}, other = {.id = "id2"}, nameless = {.id = NULL};
    ck_assert(ia_client_is_of(s, &same));
    ck_assert(!ia_client_is_of(s, &other));
    ck_assert(!ia_client_is_of(s, &nameless));
    ck_assert(!ia_client_has_certificate(s, NULL));
}
END_TEST

/* --- devices
 * -------------------------------------------------------------------------------------------------------- */

static char seen[64];

static void note(void *ctx, struct ia_client *s)
{
    ck_assert_ptr_eq(ctx, sessions);
    strncat(seen, s->client_id, sizeof seen - strlen(seen) - 1);
}

static const char *of_device(const char *id)
{
    seen[0] = '\0';
    ia_clients_of_device(sessions, id, note, sessions);
    return seen;
}

START_TEST(sessions_of_a_device_are_those_that_came_with_it)
{
    struct ia_client *a = open_device(0, "a", "dev-1"), *b = open_device(1, "b", "app:idp:x"),
                     *c = open_device(2, "c", "dev-2");
    came_with(a, record("dev-1", 1));
    came_with(b, record("dev-1", 2)); /* an app, bound to it */
    came_with(c, record("dev-2", 3));
    ck_assert_str_eq(of_device("dev-1"), "ab");
    ck_assert_str_eq(of_device("dev-2"), "c");
    ck_assert_str_eq(of_device("app:idp:x"), "");
    ia_client_end(sessions, a, IA_KEEP_YES);
    ck_assert_str_eq(of_device("dev-1"), "ab"); /* its will may be yet to come */
    ia_client_drop(sessions, b);
    ck_assert_str_eq(of_device("dev-1"), "a");
    ia_clients_tidy(sessions);
    ck_assert_str_eq(of_device("dev-1"), "");
}
END_TEST

START_TEST(each_session_is_each_one)
{
    (void)open_device(0, "a", "dev-1");
    ia_client_end(sessions, open_device(1, "b", "dev-2"), IA_KEEP_YES);
    (void)open_device(2, "c", "dev-3");
    seen[0] = '\0';
    ia_clients_each(sessions, note, sessions);
    ck_assert_str_eq(seen, "abc");
}
END_TEST

/* --- the session scan
 * -------------------------------------------------------------------------------------------------------- */

START_TEST(scan_survives_whatever_ends_meanwhile)
{
    for (size_t i = 0; i < 6; i++)
        (void)open_device(i, (const char *[]){"a", "b", "c", "d", "e", "f"}[i], "dev-1");
    ia_clients_scan_begin(sessions);
    ck_assert_str_eq(ia_clients_scan(sessions)->client_id, "a");
    ia_client_end(sessions, ia_client_find(sessions, &clients[0]), IA_KEEP_YES); /* the one just returned */
    ia_client_drop(sessions, ia_client_find(sessions, &clients[1]));             /* the next one */
    ia_client_end(sessions, ia_client_find(sessions, &clients[2]), IA_KEEP_YES);
    ia_clients_tidy(sessions);
    ck_assert_str_eq(ia_clients_scan(sessions)->client_id, "d");
    (void)open_device(4, "e2", "dev-2"); /* replaced: scanned at its new place */
    ck_assert_str_eq(ia_clients_scan(sessions)->client_id, "f");
    ck_assert_str_eq(ia_clients_scan(sessions)->client_id, "e2");
    ck_assert_ptr_null(ia_clients_scan(sessions));
    ia_clients_scan_begin(sessions);
    ck_assert_str_eq(ia_clients_scan(sessions)->client_id, "d");
}
END_TEST

START_TEST(scan_of_nothing_ends_at_once)
{
    ck_assert_ptr_null(ia_clients_scan(sessions));
    ia_clients_scan_begin(sessions);
    ck_assert_ptr_null(ia_clients_scan(sessions));
    ia_clients_free(NULL);
}
END_TEST

/* --- marked for disconnect
 * ------------------------------------------------------------------------------------------------------ */

START_TEST(marked_clients_wait_in_their_order_and_once)
{
    struct ia_client *a = open_device(0, "a", "dev-1"), *b = open_device(1, "b", "dev-2"),
                     *c = open_device(2, "c", "dev-3"), *d = open_device(3, "d", "dev-4");
    ia_client_mark_disconnect(sessions, b, IA_R_DEVICE_REVOKED);
    ia_client_mark_disconnect(sessions, a, IA_R_TOKEN_EXPIRED);
    ia_client_mark_disconnect(sessions, c, IA_R_CA_INACTIVE);
    ia_client_mark_disconnect(sessions, b, IA_R_ADDRESS_DENIED); /* the first reason stands */
    ck_assert_int_eq(b->disconnect_reason, IA_R_DEVICE_REVOKED);
    ia_client_end(sessions, a, IA_KEEP_YES); /* it left by itself: never kick one that is not connected */
    ia_client_mark_disconnect(sessions, a, IA_R_DEVICE_REVOKED);
    ia_client_end(sessions, d, IA_KEEP_YES);
    ia_client_mark_disconnect(sessions, d, IA_R_DEVICE_REVOKED);
    ck_assert_int_eq(d->disconnect_reason, IA_R_NONE);
    ck_assert_ptr_eq(ia_clients_next_disconnect(sessions), b);
    ck_assert_ptr_eq(ia_clients_next_disconnect(sessions), c);
    ck_assert_ptr_null(ia_clients_next_disconnect(sessions));
    ia_client_mark_disconnect(sessions, b, IA_R_DEVICE_REVOKED); /* its websocket closes a little later */
    ck_assert_ptr_null(ia_clients_next_disconnect(sessions));
}
END_TEST

/* ---- memory */

START_TEST(session_without_memory_is_not_opened_and_leaves_nothing)
{
    struct ia_client *s = NULL;
    long n = 0;
    for (; n < 20 && !s; n++) {
        countdown = n;
        s = ia_client_open(sessions, &clients[0], IA_CLIENT_DEVICE, "id", "dev-1");
        countdown = -1;
        ck_assert_uint_eq(ia_clients_live(sessions), s != NULL);
        ck_assert_int_eq(ia_client_owner(sessions, "id") != NULL, s != NULL);
    }
    ck_assert_int_gt(n, 3);
    struct ia_device *device = record("dev-1", 1);
    countdown = 0;
    ck_assert(!ia_client_set_facts(sessions, s, &(struct ia_client_facts){.device = device}));
    countdown = -1;
    ia_client_drop(sessions, s); /* and the record with it */
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, session_is_found_by_its_connection);
    tcase_add_test(c, sessions_of_many_connections_do_not_mix);
    tcase_add_test(c, session_of_a_reused_pointer_replaces_the_old_one);
    tcase_add_test(c, ended_session_stays_until_tidy_unless_it_may_persist);
    tcase_add_test(c, dropped_session_leaves_no_trace);
    tcase_add_test(c, owner_is_the_live_session_whatever_came_and_went);
    tcase_add_test(c, owner_is_the_newest_ended_session_where_none_lives);
    tcase_add_test(c, unauthenticated_client_owns_nothing_and_leaves_nothing);
    tcase_add_test(c, ended_session_is_its_clients_by_id);
    tcase_add_test(c, sessions_of_a_device_are_those_that_came_with_it);
    tcase_add_test(c, each_session_is_each_one);
    tcase_add_test(c, scan_survives_whatever_ends_meanwhile);
    tcase_add_test(c, scan_of_nothing_ends_at_once);
    tcase_add_test(c, marked_clients_wait_in_their_order_and_once);
    tcase_add_test(c, session_without_memory_is_not_opened_and_leaves_nothing);
}

int main(void)
{
    return run_suite("session", cases);
}
