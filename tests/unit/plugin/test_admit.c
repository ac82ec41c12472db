// SPDX-License-Identifier: ISC
/* BASIC_AUTH for devices: what is asked, in which order, and what the broker and the registry get to know. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

static void start_with_device(const char *cert, const char *id)
{
    struct ia_device_row row = world_device(cert, id);
    world_start();
    world_device_now(id, &row, 1);
    world_tick();
    worker_forget();
}

START_TEST(known_device_is_in_without_a_query)
{
    start_with_device("plain_leaf", "dev-1");
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    client.username = "root"; /* whatever it says of itself */
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(client.username, "dev-1");
    const struct ia_client *s = world_session(&client);
    ck_assert(s && s->live && s->kind == IA_CLIENT_DEVICE);
    ck_assert_str_eq(s->client_id, "dev-1");
    ck_assert_int_eq(s->expires_at, s->chain->not_after + 1); /* notAfter itself still counts */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REGISTER), 0);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_CONNECTED), 1);
    ck_assert_str_eq(worker_last(IA_REQUEST_CONNECTED)->connected.device_id, "dev-1");
    ck_assert_int_eq(worker_stub.waited_us, 0);
    ck_assert_uint_eq(world.core->counters.accepted_devices, 1);
    world_stop();
}
END_TEST

/* --- the registry
 * --------------------------------------------------------------------------------------------------- */

static struct ia_device_row new_device;

static void registers_new_device(void)
{
    world_answer("plain_leaf", &new_device, IA_R_NONE);
}

START_TEST(unknown_device_is_registered_while_it_is_parked)
{
    world_start();
    new_device = world_device("plain_leaf", "dev-1");
    world.while_parked = registers_new_device;
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(broker_published("$iot-auth/events/device/registered"), 1);
    ck_assert_ptr_nonnull(strstr(broker_payload("$iot-auth/events/device/registered"), "\"device_id\":\"dev-1\""));
    ck_assert_uint_eq(world.core->counters.registrations, 1);
    ck_assert_int_eq(worker_stub.waited_us, 0);
    world_stop();
}
END_TEST

/* Where no handshake was seen there is nothing to park. */
START_TEST(unknown_device_without_a_handshake_is_in_at_its_next_attempt)
{
    world_start();
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN); /* closed without CONNACK: it will try again */
    ck_assert_uint_eq(world_refused(IA_R_REGISTRY_UNAVAILABLE), 1);
    ck_assert_ptr_null(world_session(&client));
    new_device = world_device("plain_leaf", "dev-1");
    registers_new_device(); /* it went on meanwhile */
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REGISTER), 1);
    world_stop();
}
END_TEST

static void disables_ca_and_registers(void)
{
    world.cas[0].status = IA_CA_INACTIVE;
    world_snapshot();
    registers_new_device();
}

/* The answer was given under a configuration that is no longer. */
START_TEST(ca_disabled_while_parked_refuses)
{
    world_start();
    new_device = world_device("plain_leaf", "dev-1");
    world.while_parked = disables_ca_and_registers;
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CA_INACTIVE), 1);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    world_stop();
}
END_TEST

static void denies_address_and_registers(void)
{
    world.ips[world.n_ips++] =
        (struct ia_ip_rule){.rule_id = 5, .network = "192.0.2.0/24", .scope = IA_IP_CA, .scope_key = "acme"};
    world_snapshot();
    registers_new_device();
}

/* Judged at the handshake, and denied since: the session must not be opened on yesterday's list. */
START_TEST(address_denied_while_parked_refuses)
{
    world_start();
    new_device = world_device("plain_leaf", "dev-1");
    world.while_parked = denies_address_and_registers;
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_ADDRESS_DENIED), 1);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_CONNECTED), 0);
    world_stop();
}
END_TEST

static const struct {
    enum ia_device_status device;
    enum ia_cert_status certificate;
    int64_t ca_id;
    enum ia_reason reason;
} statuses[] = {
    {IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1, IA_R_NONE},
    {IA_DEVICE_PENDING, IA_CERT_ACTIVE, 1, IA_R_DEVICE_PENDING},
    {IA_DEVICE_INACTIVE, IA_CERT_ACTIVE, 1, IA_R_DEVICE_INACTIVE},
    {IA_DEVICE_REVOKED, IA_CERT_ACTIVE, 1, IA_R_DEVICE_REVOKED},
    {IA_DEVICE_ACTIVE, IA_CERT_INACTIVE, 1, IA_R_CERTIFICATE_INACTIVE},
    {IA_DEVICE_ACTIVE, IA_CERT_REVOKED, 1, IA_R_CERTIFICATE_REVOKED},
    {IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 2, IA_R_DEVICE_CONFLICT},
};

START_TEST(device_is_let_in_by_its_record_alone)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.device_status = statuses[_i].device;
    row.certificate_status = statuses[_i].certificate;
    row.certificate_ca_id = statuses[_i].ca_id;
    world_start();
    world_device_now("dev-1", &row, 1);
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    bool in = world_connect(&client) == MOSQ_ERR_SUCCESS;
    ck_assert_int_eq(in, statuses[_i].reason == IA_R_NONE);
    ck_assert_uint_eq(world_refused(statuses[_i].reason), in ? 0 : 1);
    ck_assert_int_eq(worker_stub.waited_us, 0);
    world_stop();
}
END_TEST

/* --- what comes before the registry
 * --------------------------------------------------------------------------------- */

static void deny(enum ia_ip_scope scope, const char *key)
{
    world.ips[world.n_ips++] =
        (struct ia_ip_rule){.rule_id = 77, .network = "192.0.2.0/24", .scope = scope, .scope_key = key};
}

static void deny_everywhere(void)
{
    deny(IA_IP_GLOBAL, NULL);
}

static void deny_at_ca(void)
{
    deny(IA_IP_CA, "acme");
}

/* The CA above the one that the chain ends in counts too. */
static void deny_at_parent(void)
{
    world.cas[0] = world_ca(1, "acme", "inter");
    world.cas[world.n_cas++] = world_ca(2, "above", "root");
    deny(IA_IP_CA, "above");
}

static void want_two_names(void)
{
    world.cas[0].device_id_template = "${cert.subject.O}-${cert.cn}";
}

static void mint_apps(void)
{
    world.cas[0].device_id_template = "app:${cert.cn}";
}

static void break_template(void)
{
    world.cas[0].device_id_template = "${nonsense}";
}

static const struct {
    const char *label;
    void (*set_up)(void);
    const char *cert, *client_id;
    enum ia_reason reason;
    const char *detail;
    bool proven; /* the certificate is fit: it is registered, whatever its CONNECT says */
} early[] = {
    {"global address rule", deny_everywhere, "plain_leaf", "dev-1", IA_R_ADDRESS_DENIED, "ip_rule 77", false},
    {"address rule of the CA", deny_at_ca, "plain_leaf", "dev-1", IA_R_ADDRESS_DENIED, "ip_rule 77", false},
    {"address rule of a CA above", deny_at_parent, "leaf", "dev-1", IA_R_ADDRESS_DENIED, "ip_rule 77", false},
    {"another's client id", NULL, "plain_leaf", "dev-2", IA_R_CLIENT_ID_MISMATCH, "no client id template", true},
    {"empty client id", NULL, "plain_leaf", "", IA_R_CLIENT_ID_MISMATCH, "no client id template", true},
    {"wildcard in the client id", NULL, "plain_leaf", "dev-1/#", IA_R_CLIENT_ID_MISMATCH, "no client id template",
     true},
    {"no client id", NULL, "plain_leaf", NULL, IA_R_CLIENT_ID_MISMATCH, "no client id", true},
    {"a variable without a value", want_two_names, "plain_leaf", "dev-1", IA_R_IDENTITY_INVALID, "cert.subject.O",
     false},
    {"a device id like an app's", mint_apps, "plain_leaf", "app:dev-1", IA_R_IDENTITY_INVALID, "app:", false},
    {"a CA whose template does not parse", break_template, "plain_leaf", "dev-1", IA_R_CA_INACTIVE, "ca.problem",
     false},
    {"no certificate", NULL, NULL, "dev-1", IA_R_NO_CREDENTIAL, "neither", false},
};

START_TEST(refusals_that_need_no_database_come_first)
{
    world_rows();
    if (early[_i].set_up)
        early[_i].set_up();
    world_start();
    struct mosquitto client = world_client(early[_i].client_id, early[_i].cert);
    ck_assert_msg(world_connect(&client) == MOSQ_ERR_AUTH, "%s", early[_i].label);
    ck_assert_msg(world_refused(early[_i].reason) == 1, "%s: %s", early[_i].label, broker.log);
    ck_assert_msg(worker_asked(IA_REQUEST_REGISTER) == early[_i].proven, "%s", early[_i].label);
    ck_assert_msg(strstr(broker.log, early[_i].detail) != NULL, "%s: %s", early[_i].label, broker.log);
    ck_assert_ptr_null(client.username);
    ck_assert_int_eq(worker_stub.waited_us, 0);
    world_stop();
}
END_TEST

/* A certificate that the gate has not seen (another listener's own cafile let it in) says nothing here. */
START_TEST(foreign_certificate_is_no_credential)
{
    start_with_device("plain_leaf", "dev-1");
    gate_stub.has_listeners = true;
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_NO_CREDENTIAL), 1);
    world_stop();
}
END_TEST

/* No listener was seen: Mosquitto has another OpenSSL.  The leaf alone is verified, and that is said once. */
START_TEST(leaf_is_verified_alone_where_no_listener_was_seen)
{
    start_with_device("plain_leaf", "dev-1");
    struct mosquitto good = world_client("dev-1", "plain_leaf"), forged = world_client("dev-1", "forged_leaf"),
                     below = world_client("dev-1", "leaf");
    ck_assert_int_eq(world_basic_auth(&good, NULL), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_basic_auth(&forged, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CHAIN_INVALID), 1);
    ck_assert_int_eq(world_basic_auth(&below, NULL), MOSQ_ERR_AUTH); /* its intermediate is not known here */
    ck_assert_uint_eq(world_refused(IA_R_CA_UNKNOWN), 1);
    const char *logged = strstr(broker.log, "no TLS listener");
    ck_assert(logged && !strstr(logged + 1, "no TLS listener"));
    world_stop();
}
END_TEST

START_TEST(leaf_is_nothing_where_the_gate_is_off)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_with("tls_gate", "off");
    world_device_now("dev-1", &row, 1);
    ck_assert(!gate_stub.open);
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_NO_CREDENTIAL), 1);
    world_stop();
}
END_TEST

/* Handshake under one snapshot, CONNECT under the next. */
START_TEST(chain_is_decided_again_when_the_cas_changed_since_the_handshake)
{
    start_with_device("plain_leaf", "dev-1");
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert(gate_handshake(client.certificate, NULL, client.address));
    world.cas[0].status = IA_CA_INACTIVE;
    world_snapshot();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CA_INACTIVE), 1);
    world.cas[0].status = IA_CA_ACTIVE;
    world_snapshot();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(certificate_revoked_since_the_handshake_is_refused)
{
    char *crl = mc_crl_pem(pki_crl("revokes_leaf"));
    world_rows();
    world.cas[0] = world_ca(1, "acme", "inter");
    start_with_device("leaf", "dev-1");
    struct mosquitto client = world_client("dev-1", "leaf");
    ck_assert(gate_handshake(client.certificate, NULL, client.address));
    world.crls[world.n_crls++] = (struct ia_crl_row){.crl_id = 1, .ca_id = 1, .pem = crl};
    world_snapshot();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CERTIFICATE_REVOKED), 1);
    world_stop();
    free(crl);
}
END_TEST

START_TEST(certificate_expired_since_the_handshake_is_refused)
{
    start_with_device("plain_leaf", "dev-1");
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert(gate_handshake(client.certificate, NULL, client.address));
    clock_advance_ms(INT64_C(400) * MC_DAY * 1000);
    world_tick();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CERTIFICATE_EXPIRED), 1);
    world_stop();
}
END_TEST

/* Where Mosquitto believes a WebSocket client's header, only the gate knows the address: that of a certificate's
 * TLS. */
START_TEST(websocket_has_the_address_of_its_handshake_or_none)
{
    static const struct {
        const char *network, *cert;
        int rc;
    } rows[] = {
        {"198.51.100.0/24", "plain_leaf", MOSQ_ERR_AUTH}, /* the handshake's is denied, whatever the header says */
        {"192.0.2.0/24", "plain_leaf", MOSQ_ERR_SUCCESS}, /* the header's is denied */
        {"203.0.113.0/24", NULL, MOSQ_ERR_AUTH},          /* no address, and there is a rule for it to answer to */
    };
    world_rows();
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 77, .network = rows[_i].network};
    world_start();
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_device_now("dev-1", &row, 1);
    struct mosquitto client = world_client(rows[_i].cert ? "dev-1" : "app:idp:board", rows[_i].cert);
    client.protocol = mp_websockets;
    if (client.certificate)
        ck_assert(gate_handshake(client.certificate, NULL, "198.51.100.7"));
    const char *token = rows[_i].cert ? NULL : world_token("board", "read", 3600);
    ck_assert_int_eq(world_basic_auth(&client, token), rows[_i].rc);
    ck_assert_uint_eq(world_refused(IA_R_ADDRESS_DENIED), rows[_i].rc != MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(device_address_rule_refuses_with_the_rule_in_the_event)
{
    world_rows();
    deny(IA_IP_DEVICE, "dev-1");
    start_with_device("plain_leaf", "dev-1");
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    const struct ia_request *event = worker_last(IA_REQUEST_EVENT);
    ck_assert(event && event->event.reason == IA_R_ADDRESS_DENIED && event->event.ca_id == 1);
    ck_assert_str_eq(event->event.kind, "device/refused");
    ck_assert_str_eq(event->event.principal, "dev-1");
    ck_assert_str_eq(event->event.address, "192.0.2.1");
    ck_assert_ptr_nonnull(strstr(event->text, "\"detail\":\"ip_rule 77\""));
    world_stop();
}
END_TEST

/* A tenant's certificate must not take the name of a legacy user. */
START_TEST(reserved_name_is_refused_as_device_and_as_client_id)
{
    start_with_device("plain_leaf", "dev-1");
    world.reserved[world.n_reserved++] = _i ? "dev-1/x" : "dev-1";
    world_snapshot();
    struct mosquitto client = world_client("dev-1/x", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(_i ? IA_R_CLIENT_ID_MISMATCH : IA_R_IDENTITY_INVALID), 1);
    world_stop();
}
END_TEST

/* --- not ready
 * ------------------------------------------------------------------------------------------------------ */

START_TEST(no_snapshot_refuses_all_as_retryable)
{
    world_start_down();
    ck_assert_int_ge(worker_stub.waited_us, 10000000); /* startup_wait_ms */
    ck_assert_ptr_nonnull(strstr(broker.log, "no snapshot after startup_wait_ms"));
    struct mosquitto client = world_client("dev-1", NULL);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN);
    ck_assert_uint_eq(world_refused(IA_R_REGISTRY_UNAVAILABLE), 1);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED);
    world_stop();
}
END_TEST

START_TEST(snapshot_is_used_until_stale_max_s)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_with("stale_max_s", "60");
    world_device_now("dev-1", &row, 1);
    world_database(false);
    world_tick();
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    clock_advance_ms(59000);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    clock_advance_ms(2000);
    struct mosquitto late = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&late), MOSQ_ERR_UNKNOWN);
    ck_assert_uint_eq(world_refused(IA_R_SNAPSHOT_STALE), 1);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), MOSQ_ERR_SUCCESS); /* it stays */
    world_database(true);
    ck_assert_int_eq(world_connect(&late), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(snapshot_never_grows_stale_without_a_limit)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_with("stale_max_s", "0");
    world_device_now("dev-1", &row, 1);
    world_database(false);
    world_tick();
    clock_advance_ms(INT64_C(200) * MC_DAY * 1000);
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

/* 2.0.11 sends no TICK under per_listener_settings: nobody would ever be kicked. */
START_TEST(no_tick_for_two_seconds_refuses_all_and_is_logged_once)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    world_device_now("dev-1", &row, 1);
    world_forget_ticks();
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    clock_advance_ms(2001);
    for (int i = 0; i < 2; i++) {
        struct mosquitto late = world_client("dev-1", "plain_leaf");
        ck_assert_int_eq(world_connect(&late), MOSQ_ERR_AUTH);
    }
    ck_assert_uint_eq(world_refused(IA_R_INTERNAL), 2);
    const char *logged = strstr(broker.log, "sends no TICK (");
    ck_assert(logged && !strstr(logged + 1, "sends no TICK ("));
    world_stop();
}
END_TEST

START_TEST(username_that_the_broker_refuses_refuses_the_device)
{
    start_with_device("plain_leaf", "dev-1");
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    client.refuses_username = true;
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_INTERNAL), 1);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, reserved_name_is_refused_as_device_and_as_client_id, 0, 2);
    tcase_add_test(c, known_device_is_in_without_a_query);
    tcase_add_test(c, unknown_device_is_registered_while_it_is_parked);
    tcase_add_test(c, unknown_device_without_a_handshake_is_in_at_its_next_attempt);
    tcase_add_test(c, ca_disabled_while_parked_refuses);
    tcase_add_test(c, address_denied_while_parked_refuses);
    tcase_add_loop_test(c, device_is_let_in_by_its_record_alone, 0, (int)(sizeof statuses / sizeof statuses[0]));
    tcase_add_loop_test(c, refusals_that_need_no_database_come_first, 0, (int)(sizeof early / sizeof early[0]));
    tcase_add_test(c, foreign_certificate_is_no_credential);
    tcase_add_test(c, leaf_is_verified_alone_where_no_listener_was_seen);
    tcase_add_test(c, leaf_is_nothing_where_the_gate_is_off);
    tcase_add_test(c, chain_is_decided_again_when_the_cas_changed_since_the_handshake);
    tcase_add_test(c, certificate_revoked_since_the_handshake_is_refused);
    tcase_add_test(c, certificate_expired_since_the_handshake_is_refused);
    tcase_add_test(c, device_address_rule_refuses_with_the_rule_in_the_event);
    tcase_add_loop_test(c, websocket_has_the_address_of_its_handshake_or_none, 0, 3);
    tcase_add_test(c, no_snapshot_refuses_all_as_retryable);
    tcase_add_test(c, snapshot_is_used_until_stale_max_s);
    tcase_add_test(c, snapshot_never_grows_stale_without_a_limit);
    tcase_add_test(c, no_tick_for_two_seconds_refuses_all_and_is_logged_once);
    tcase_add_test(c, username_that_the_broker_refuses_refuses_the_device);
}

int main(void)
{
    return run_suite("connect", cases);
}
