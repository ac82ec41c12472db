// SPDX-License-Identifier: ISC
/* Live sessions when things change: who has to go, who stays, and what the worker's replies do in their order. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static struct mosquitto device;

static uint64_t ended(enum ia_reason reason)
{
    return world.core->counters.ended[reason];
}

/* --- changes of configuration
 * --------------------------------------------------------------------------------------- */

static void nothing(void)
{
}

static void disable_ca(void)
{
    world.cas[0].status = IA_CA_INACTIVE;
}

static void remove_ca(void)
{
    world.n_cas = 0;
}

static void break_template(void)
{
    world.cas[0].device_id_template = "${nonsense}";
}

static void register_disabled_same_key_ca(void)
{
    world.cas[world.n_cas] = world_ca(2, "same-key", "root");
    world.cas[world.n_cas++].status = IA_CA_REVOKED;
}

static void deny_network(void)
{
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 1, .network = "192.0.2.0/24", .scope = IA_IP_GLOBAL};
}

static void deny_device_network(void)
{
    world.ips[world.n_ips++] =
        (struct ia_ip_rule){.rule_id = 1, .network = "192.0.2.0/24", .scope = IA_IP_DEVICE, .scope_key = "dev-1"};
}

static void allow_another_network(void)
{
    world.ips[world.n_ips++] = (struct ia_ip_rule){
        .rule_id = 1, .allow = true, .network = "198.51.100.0/24", .scope = IA_IP_CA, .scope_key = "acme"};
}

static void change_client_ids(void)
{
    static const char *const others[] = {"meter-${device_id}"};
    world.cas[0].client_id_templates = (struct ia_texts){others, 1};
}

static void deny_by_rule(void)
{
    world.rules[0].allow = false;
}

static const struct {
    const char *label;
    void (*change)(void);
    enum ia_reason reason; /* IA_R_NONE: it stays */
} changes[] = {
    {"nothing", nothing, IA_R_NONE},
    {"CA disabled", disable_ca, IA_R_CA_INACTIVE},
    {"CA deleted", remove_ca, IA_R_CA_UNKNOWN},
    {"CA's template no longer parses", break_template, IA_R_CA_INACTIVE},
    {"the same CA registered again, revoked", register_disabled_same_key_ca, IA_R_CA_INACTIVE},
    {"network denied", deny_network, IA_R_ADDRESS_DENIED},
    {"network denied to the device", deny_device_network, IA_R_ADDRESS_DENIED},
    {"another network allowed to the CA", allow_another_network, IA_R_ADDRESS_DENIED},
    {"client id no longer fits", change_client_ids, IA_R_RIGHTS_CHANGED},
    {"rules changed: rights, not presence", deny_by_rule, IA_R_NONE},
};

START_TEST(session_is_judged_when_the_configuration_changes)
{
    world_start_connected(&device, false);
    changes[_i].change();
    world_snapshot();
    world_tick();
    world_tick();
    bool stays = changes[_i].reason == IA_R_NONE;
    ck_assert_msg(broker.n_kicked == !stays, "%s: %zu kicked, log %s", changes[_i].label, broker.n_kicked, broker.log);
    if (!stays)
        ck_assert_msg(ended(changes[_i].reason) == 1, "%s: %s", changes[_i].label, broker.log);
    ck_assert_uint_eq(broker_published("$iot-auth/events/session/ended"), !stays);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), stays);
    world_stop();
}
END_TEST

/* --- changes of the device
 * ------------------------------------------------------------------------------------------ */

static const struct {
    enum ia_device_status device;
    enum ia_cert_status certificate;
    enum ia_reason reason;
} records[] = {
    {IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, IA_R_NONE},
    {IA_DEVICE_PENDING, IA_CERT_ACTIVE, IA_R_DEVICE_PENDING},
    {IA_DEVICE_INACTIVE, IA_CERT_ACTIVE, IA_R_DEVICE_INACTIVE},
    {IA_DEVICE_REVOKED, IA_CERT_ACTIVE, IA_R_DEVICE_REVOKED},
    {IA_DEVICE_ACTIVE, IA_CERT_INACTIVE, IA_R_CERTIFICATE_INACTIVE},
    {IA_DEVICE_ACTIVE, IA_CERT_REVOKED, IA_R_CERTIFICATE_REVOKED},
};

START_TEST(session_is_judged_when_its_device_changes)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_connected(&device, false);
    row.device_status = records[_i].device;
    row.certificate_status = records[_i].certificate;
    world_device_now("dev-1", &row, 1);
    world_tick();
    bool stays = records[_i].reason == IA_R_NONE;
    ck_assert_uint_eq(broker.n_kicked, !stays);
    if (!stays)
        ck_assert_uint_eq(ended(records[_i].reason), 1);
    world_stop();
}
END_TEST

START_TEST(deleted_device_is_out_and_forgotten)
{
    world_start_connected(&device, false);
    world_device_now("dev-1", NULL, 0);
    world_tick();
    ck_assert_uint_eq(ended(IA_R_DEVICE_UNKNOWN), 1);
    ck_assert_uint_eq(ia_device_cache_count(world.core->devices), 0);
    world_stop();
}
END_TEST

/* Of two certificates one is deleted: only the session that came with it goes. */
START_TEST(deleted_certificate_ends_its_own_session_only)
{
    static const char *const any[] = {"*"};
    struct ia_device_row rows[] = {world_device("plain_leaf", "dev-1"), world_device("both_eku_leaf", "dev-1")};
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){any, 1};
    world_start();
    world_device_now("dev-1", rows, 2);
    struct mosquitto one = world_client("a", "plain_leaf"), two = world_client("b", "both_eku_leaf");
    ck_assert_int_eq(world_connect(&one), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_connect(&two), MOSQ_ERR_SUCCESS);
    world_kicks(&one);
    world_kicks(&two);
    world_device_now("dev-1", &rows[1], 1);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_str_eq(broker.kicked[0], "a");
    ck_assert_uint_eq(ia_device_cache_count(world.core->devices), 1);
    world_stop();
}
END_TEST

START_TEST(device_of_another_name_is_not_concerned)
{
    struct ia_device_row other = world_device("leaf_of_root", "dev-2");
    world_start_connected(&device, false);
    other.device_status = IA_DEVICE_REVOKED;
    world_device_now("dev-2", &other, 1);
    world_device_now("dev-3", NULL, 0);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_stop();
}
END_TEST

/* --- ends
 * ----------------------------------------------------------------------------------------------------------- */

/* RFC 5280 4.1.2.5: the validity period includes notAfter. */
START_TEST(session_ends_in_the_second_after_its_certificates_notafter)
{
    world_start_connected(&device, false);
    int64_t left_s = world_session(&device)->chain->not_after - ia_wall_s();
    clock_advance_ms(left_s * 1000);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_database(true); /* else the snapshot is stale */
    struct mosquitto in_time = world_client("dev-1/b", "plain_leaf");
    ck_assert_int_eq(world_connect(&in_time), MOSQ_ERR_SUCCESS);
    world_disconnect(&in_time);
    clock_advance_ms(1000);
    world_tick();
    ck_assert_uint_eq(ended(IA_R_CERTIFICATE_EXPIRED), 1);
    world_stop();
}
END_TEST

/* Neither the worker nor the database has a part in it. */
START_TEST(session_ends_with_the_address_rule_that_it_stands_on)
{
    int64_t until = MC_NOW + 60;
    world_start_connected(&device, false);
    allow_another_network();
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 2,
                                                   .allow = true,
                                                   .network = "192.0.2.0/24",
                                                   .scope = IA_IP_CA,
                                                   .scope_key = "acme",
                                                   .expires_at = until};
    world_snapshot();
    clock_advance_ms((until - ia_wall_s() - 1) * 1000);
    world_tick();
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    clock_advance_ms(1250);
    world_tick();
    world_tick();
    ck_assert_uint_eq(ended(IA_R_ADDRESS_DENIED), 1);
    world_stop();
}
END_TEST

START_TEST(session_ends_with_its_token)
{
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&app, world_token("board", "read", 60)), MOSQ_ERR_SUCCESS);
    world_kicks(&app);
    clock_advance_ms(89000);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0); /* 30 s of leeway */
    clock_advance_ms(1250);
    world_tick();
    ck_assert_uint_eq(ended(IA_R_TOKEN_EXPIRED), 1);
    ck_assert_str_eq(broker.kicked[0], "app:idp:board");
    world_stop();
}
END_TEST

static const struct {
    const char *label;
    int leeway_s;
    bool active;
    enum ia_reason reason;
} issuers[] = {
    {"as before", 30, true, IA_R_NONE},
    {"a longer leeway", 90, true, IA_R_NONE},
    {"a shorter leeway, over already", 0, true, IA_R_TOKEN_EXPIRED},
    {"disabled", 30, false, IA_R_ISSUER_INACTIVE},
};

START_TEST(app_is_judged_when_its_issuer_changes)
{
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&app, world_token("board", "read", 60)), MOSQ_ERR_SUCCESS);
    world_kicks(&app);
    clock_advance_ms(70000);
    world.issuers[0].leeway_s = issuers[_i].leeway_s;
    world.issuers[0].active = issuers[_i].active;
    world_snapshot();
    world_tick();
    world_tick();
    bool stays = issuers[_i].reason == IA_R_NONE;
    ck_assert_msg(broker.n_kicked == !stays, "%s", issuers[_i].label);
    if (!stays)
        ck_assert_msg(ended(issuers[_i].reason) == 1, "%s: %s", issuers[_i].label, broker.log);
    else
        ck_assert_int_eq(world_session(&app)->expires_at, (int64_t)MC_NOW + 60 + issuers[_i].leeway_s);
    world_stop();
}
END_TEST

START_TEST(app_goes_on_with_its_new_rights_when_the_mapping_changes)
{
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&app, world_token("board", "read", 60)), MOSQ_ERR_SUCCESS);
    world.n_scopes = 0;
    world_snapshot();
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    ck_assert_int_eq(world_acl(&app, MOSQ_ACL_READ, "devices/d/x"), MOSQ_ERR_ACL_DENIED);
    world_stop();
}
END_TEST

/* --- kicking
 * -------------------------------------------------------------------------------------------------------- */

/* A websocket closes a little later: it is not kicked again meanwhile. */
START_TEST(session_is_kicked_once)
{
    world_start_connected(&device, false);
    device.protocol = mp_websockets;
    broker.on_kick = NULL; /* no DISCONNECT yet */
    world_dev1_is(IA_DEVICE_INACTIVE);
    for (int i = 0; i < 5; i++) {
        world_tick();
        clock_advance_ms(300);
    }
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_uint_eq(ended(IA_R_DEVICE_INACTIVE), 1);
    world_disconnect(&device);
    world_tick();
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    world_stop();
}
END_TEST

static void disconnect_by_name(const char *username)
{
    ck_assert_str_eq(username, "dev-1");
    world_disconnect(&device);
}

/* 2.0.11 with use_username_as_clientid: another client's failed CONNECT makes the broker forget the id. */
START_TEST(session_that_is_not_found_by_its_client_id_is_disconnected_by_its_username)
{
    world_start_connected(&device, false);
    broker.forgets_ids = true;
    broker.on_kick_name = disconnect_by_name;
    world_dev1_is(IA_DEVICE_REVOKED);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked_names, 1);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    ck_assert_uint_eq(ended(IA_R_DEVICE_REVOKED), 1);
    world_stop();
}
END_TEST

START_TEST(session_that_cannot_be_disconnected_is_not_reported_as_ended_and_tried_again)
{
    world_start_connected(&device, false);
    broker.forgets_ids = true;
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_uint_eq(ended(IA_R_DEVICE_INACTIVE), 0);
    ck_assert_uint_eq(broker_published("$iot-auth/events/session/ended"), 0);
    ck_assert_ptr_nonnull(strstr(broker.log, "Mosquitto does not disconnect the client of dev-1"));
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED);
    broker.on_kick_name = disconnect_by_name;
    clock_advance_ms(900);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked_names, 1); /* not in each TICK */
    clock_advance_ms(200);
    world_tick();
    ck_assert_uint_eq(ended(IA_R_DEVICE_INACTIVE), 1);
    world_stop();
}
END_TEST

/* On 2.0 kicking a client that is not connected corrupts the broker's memory. */
START_TEST(session_whose_disconnect_was_seen_is_not_kicked)
{
    world_start_connected(&device, false);
    world_disconnect(&device);
    world_dev1_is(IA_DEVICE_REVOKED);
    world_tick();
    clock_advance_ms(1000);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_stop();
}
END_TEST

/* 2.1 can be asked whether the id is still that connection's. */
START_TEST(session_that_was_taken_over_is_not_kicked_in_anothers_place)
{
    struct mosquitto newer = world_client("dev-1", "plain_leaf");
    broker.is_21 = true;
    world_start_connected(&device, false);
    broker.known[0] = &newer;
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_disconnect(&device); /* as it follows a take-over */
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_stop();
}
END_TEST

/* On 2.0 a WebSocket whose peer does not read hears of its take-over minutes later.  Its client id is the newer one's
 * meanwhile, also when the newer one has disconnected: a kick would meet that one, and corrupt the broker's memory. */
static const bool newer_has_left[] = {false, true};

START_TEST(websocket_that_was_taken_over_is_not_kicked_in_anothers_place)
{
    struct mosquitto newer = world_client("dev-1", "plain_leaf");
    newer.persistent = true;
    world_start_connected(&device, false);
    device.protocol = mp_websockets;
    ck_assert_int_eq(world_connect(&newer), MOSQ_ERR_SUCCESS);
    if (newer_has_left[_i])
        world_disconnect(&newer);
    ia_disconnect_mark(world.core, world_session(&device), IA_R_CERTIFICATE_EXPIRED);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(world_acl(&newer, MOSQ_ACL_READ, "devices/dev-1/x"), MOSQ_ERR_SUCCESS);
    world_disconnect(&device);
    world_stop();
}
END_TEST

START_TEST(websocket_that_has_its_client_id_is_kicked)
{
    world_start_connected(&device, false);
    device.protocol = mp_websockets;
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    world_stop();
}
END_TEST

enum { MANY = 3000 };

static struct mosquitto many[MANY];
static char many_ids[MANY][24];
static size_t kicked;

static void count_and_disconnect(const char *client_id)
{
    unsigned n = 0;
    ck_assert_int_eq(sscanf(client_id, "dev-1/%u", &n), 1);
    kicked++;
    broker.n_kicked = 0;
    clock_advance_ms(1); /* so slow is this broker */
    world_disconnect(&many[n]);
}

/* In slices of 5 ms: nobody else waits longer for its turn. */
START_TEST(thousands_are_ended_in_slices)
{
    world_start();
    world_dev1_is(IA_DEVICE_ACTIVE);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(many_ids[i], sizeof many_ids[i], "dev-1/%u", i);
        many[i] = world_client(many_ids[i], "plain_leaf");
        ck_assert_int_eq(world_connect(&many[i]), MOSQ_ERR_SUCCESS);
    }
    worker_forget();
    broker.on_kick = count_and_disconnect;
    world.cas[0].status = IA_CA_REVOKED;
    world_snapshot();
    size_t ticks = 0, most = 0;
    for (size_t before = 0; kicked < MANY && ticks < 10000; ticks++, before = kicked) {
        world_tick();
        most = kicked - before > most ? kicked - before : most;
    }
    ck_assert_uint_eq(kicked, MANY);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    ck_assert_uint_le(most, 32); /* looked at the clock after each 16 */
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, session_is_judged_when_the_configuration_changes, 0,
                        (int)(sizeof changes / sizeof changes[0]));
    tcase_add_loop_test(c, session_is_judged_when_its_device_changes, 0, (int)(sizeof records / sizeof records[0]));
    tcase_add_test(c, deleted_device_is_out_and_forgotten);
    tcase_add_test(c, deleted_certificate_ends_its_own_session_only);
    tcase_add_test(c, device_of_another_name_is_not_concerned);
    tcase_add_test(c, session_ends_in_the_second_after_its_certificates_notafter);
    tcase_add_test(c, session_ends_with_the_address_rule_that_it_stands_on);
    tcase_add_test(c, session_ends_with_its_token);
    tcase_add_loop_test(c, app_is_judged_when_its_issuer_changes, 0, (int)(sizeof issuers / sizeof issuers[0]));
    tcase_add_test(c, app_goes_on_with_its_new_rights_when_the_mapping_changes);
    tcase_add_test(c, session_is_kicked_once);
    tcase_add_test(c, session_that_is_not_found_by_its_client_id_is_disconnected_by_its_username);
    tcase_add_test(c, session_that_cannot_be_disconnected_is_not_reported_as_ended_and_tried_again);
    tcase_add_test(c, session_whose_disconnect_was_seen_is_not_kicked);
    tcase_add_test(c, session_that_was_taken_over_is_not_kicked_in_anothers_place);
    tcase_add_loop_test(c, websocket_that_was_taken_over_is_not_kicked_in_anothers_place, 0, 2);
    tcase_add_test(c, websocket_that_has_its_client_id_is_kicked);
    tcase_add_test(c, thousands_are_ended_in_slices);
}

int main(void)
{
    return run_suite("judge", cases);
}
