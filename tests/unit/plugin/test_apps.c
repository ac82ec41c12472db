// SPDX-License-Identifier: ISC
/* BASIC_AUTH and extended authentication with tokens. */

#include "tests/unit/oauth/mint.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <openssl/sha.h>
#include <string.h>

START_TEST(app_with_a_good_token_is_in_with_its_scopes_rights)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    client.username = "dev-1"; /* ignored */
    ck_assert_int_eq(world_basic_auth(&client, world_token("board", "read other", 300)), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(client.username, "app:idp:board");
    const struct ia_client *s = world_session(&client);
    ck_assert(s && s->kind == IA_CLIENT_APP && !s->device && !s->chain);
    ck_assert_int_eq(s->expires_at, ia_wall_s() + 330); /* with the issuer's leeway */
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_SUBSCRIBE, "devices/+/data"), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/cmd"), MOSQ_ERR_ACL_DENIED);
    ck_assert_uint_eq(world.core->counters.accepted_apps, 1);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_CONNECTED), 0);
    world_stop();
}
END_TEST

START_TEST(app_without_a_mapped_scope_may_do_nothing)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board/7", NULL);
    ck_assert_int_eq(world_basic_auth(&client, world_token("board", "unmapped", 300)), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_SUBSCRIBE, "devices/+/data"), MOSQ_ERR_ACL_DENIED);
    world_stop();
}
END_TEST

static void deny_issuer_network(void)
{
    world.ips[world.n_ips++] =
        (struct ia_ip_rule){.rule_id = 9, .network = "192.0.2.1/32", .scope = IA_IP_ISSUER, .scope_key = "idp"};
}

static void disable_issuer(void)
{
    world.issuers[0].active = false;
}

static void want_another_audience(void)
{
    static const char *const others[] = {"files"};
    world.issuers[0].audience.items = others;
}

static const struct {
    const char *label;
    void (*set_up)(void);
    const char *client_id;
    int lifetime_s;
    enum ia_reason reason;
} refusals[] = {
    {"another's client id", NULL, "app:idp:other", 300, IA_R_CLIENT_ID_MISMATCH},
    {"a device's client id", NULL, "dev-1", 300, IA_R_CLIENT_ID_MISMATCH},
    {"past its end and the leeway", NULL, "app:idp:board", -31, IA_R_TOKEN_EXPIRED},
    {"address rule of the issuer", deny_issuer_network, "app:idp:board", 300, IA_R_ADDRESS_DENIED},
    {"issuer disabled", disable_issuer, "app:idp:board", 300, IA_R_ISSUER_INACTIVE},
    {"for somebody else", want_another_audience, "app:idp:board", 300, IA_R_TOKEN_AUDIENCE},
};

START_TEST(app_is_refused_with_its_reason)
{
    world_rows();
    if (refusals[_i].set_up)
        refusals[_i].set_up();
    world_start();
    struct mosquitto client = world_client(refusals[_i].client_id, NULL);
    int rc = world_basic_auth(&client, world_token("board", "read", refusals[_i].lifetime_s));
    ck_assert_msg(rc == MOSQ_ERR_AUTH, "%s", refusals[_i].label);
    ck_assert_msg(world_refused(refusals[_i].reason) == 1, "%s: %s", refusals[_i].label, broker.log);
    const struct ia_request *event = worker_last(IA_REQUEST_EVENT);
    ck_assert(event && strcmp(event->event.kind, "app/refused") == 0);
    ck_assert_ptr_null(strstr(event->text, "eyJ")); /* no part of the token */
    ck_assert_ptr_null(strstr(broker.log, "eyJ"));
    ck_assert_ptr_null(world_session(&client));
    world_stop();
}
END_TEST

/* The provider may have new keys: the worker looks, and the client is asked to retry. */
START_TEST(unknown_key_asks_for_the_issuers_keys_and_is_retryable)
{
    world_start();
    char *token =
        mint_token(mint_key(IA_KEY_ED25519, 0), IA_ALG_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"k9\",\"typ\":\"at+jwt\"}",
                   "{\"iss\":\"https://idp.example/realm\",\"aud\":\"mqtt\",\"exp\":1900000000,"
                   "\"client_id\":\"board\"}");
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&client, token), MOSQ_ERR_UNKNOWN);
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_KEY_UNKNOWN), 1);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_KEYS), 1);
    ck_assert_str_eq(worker_last(IA_REQUEST_KEYS)->issuer, "idp");
    free(token);
    world_stop();
}
END_TEST

START_TEST(password_that_is_no_token_is_no_credential)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&client, "secret"), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_NO_CREDENTIAL), 1);
    ck_assert_ptr_null(strstr(broker.log, "secret"));
    world_stop();
}
END_TEST

/* --- a certificate beside the token
 * --------------------------------------------------------------------------------- */

static char *bound_token(const char *cert)
{
    struct ia_device_row row = world_device(cert, "x");
    char *x5t = mint_base64url(row.fingerprint, sizeof row.fingerprint);
    char *payload = mint_text("{\"iss\":\"https://idp.example/realm\",\"aud\":\"mqtt\",\"exp\":%d,\"client_id\":"
                              "\"board\",\"scope\":\"read\",\"cnf\":{\"x5t#S256\":\"%s\"}}",
                              MC_NOW + 300, x5t);
    char *token = mint_token(mint_key(IA_KEY_ED25519, 0), IA_ALG_EDDSA,
                             "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"at+jwt\"}", payload);
    free(payload);
    free(x5t);
    return token;
}

/* A connection over TLS with that certificate and that password. */
static int connect_with(struct mosquitto *client, const char *password)
{
    ck_assert(gate_handshake(client->certificate, NULL, client->address));
    return world_basic_auth(client, password);
}

static void start_with_device(enum ia_device_status status)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.device_status = status;
    world_start();
    world_device_now("dev-1", &row, 1);
    world_tick();
}

START_TEST(password_beside_a_certificate_is_ignored_unless_it_is_a_token)
{
    start_with_device(IA_DEVICE_ACTIVE);
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(connect_with(&client, "old.firm.ware"), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_session(&client)->kind, IA_CLIENT_DEVICE);
    world_stop();
}
END_TEST

START_TEST(bound_token_with_its_certificate_makes_an_app)
{
    start_with_device(IA_DEVICE_ACTIVE);
    struct mosquitto client = world_client("app:idp:board", "plain_leaf");
    char *token = bound_token("plain_leaf");
    ck_assert_int_eq(connect_with(&client, token), MOSQ_ERR_SUCCESS);
    struct ia_client *s = world_session(&client);
    ck_assert(s->kind == IA_CLIENT_APP && s->device && s->chain);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED); /* not the device */
    free(token);
    world_stop();
}
END_TEST

/* The certificate is half of that credential: with its device goes the app. */
START_TEST(app_goes_with_the_device_that_it_is_bound_to)
{
    start_with_device(IA_DEVICE_ACTIVE);
    struct mosquitto client = world_client("app:idp:board", "plain_leaf");
    char *token = bound_token("plain_leaf");
    ck_assert_int_eq(connect_with(&client, token), MOSQ_ERR_SUCCESS);
    world_kicks(&client);
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.device_status = IA_DEVICE_REVOKED;
    world_device_now("dev-1", &row, 1);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_uint_eq(world.core->counters.ended[IA_R_DEVICE_REVOKED], 1);
    free(token);
    world_stop();
}
END_TEST

START_TEST(token_and_certificate_that_do_not_belong_together_are_refused)
{
    start_with_device(IA_DEVICE_ACTIVE);
    char *of_another = bound_token("leaf_of_root"), *bound = bound_token("plain_leaf");
    struct mosquitto client = world_client("app:idp:board", "plain_leaf");
    ck_assert_int_eq(connect_with(&client, of_another), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_UNBOUND), 1);
    ck_assert_int_eq(connect_with(&client, world_token("board", "read", 300)), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_UNBOUND), 2);
    struct mosquitto without = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&without, bound), MOSQ_ERR_AUTH); /* a stolen token */
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_UNBOUND), 3);
    free(of_another);
    free(bound);
    world_stop();
}
END_TEST

START_TEST(bound_token_of_a_device_that_is_not_active_is_refused)
{
    start_with_device(IA_DEVICE_INACTIVE);
    struct mosquitto client = world_client("app:idp:board", "plain_leaf");
    char *token = bound_token("plain_leaf");
    ck_assert_int_eq(connect_with(&client, token), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_DEVICE_INACTIVE), 1);
    free(token);
    world_stop();
}
END_TEST

/* --- extended authentication
 * ---------------------------------------------------------------------------------------- */

START_TEST(ext_auth_makes_the_same_session)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    client.version = 5;
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 300)), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(client.username, "app:idp:board");
    ck_assert(world_session(&client)->by_ext_auth && world_session(&client)->keep == IA_KEEP_MAYBE);
    world_stop();
}
END_TEST

START_TEST(ext_auth_refuses_what_basic_auth_refuses)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_ext_auth(&client, "rubbish"), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_MALFORMED), 1);
    ck_assert_int_eq(world_ext_auth(&client, ""), MOSQ_ERR_AUTH);
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", -100)), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_EXPIRED), 1);
    client.id = "dev-1";
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 300)), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    ck_assert_ptr_null(world_session(&client));
    world_stop();
}
END_TEST

START_TEST(ext_auth_of_other_methods_is_left_to_others)
{
    world_start();
    struct mosquitto client = world_client("x", NULL);
    struct mosquitto_evt_extended_auth ev = {.client = &client, .auth_method = "SCRAM-SHA-256"};
    ck_assert_int_eq(broker_event(MOSQ_EVT_EXT_AUTH_START, &ev), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert_int_eq(broker_event(MOSQ_EVT_EXT_AUTH_CONTINUE, &ev), MOSQ_ERR_PLUGIN_DEFER);
    ev.auth_method = "OAUTHBEARER";
    ck_assert_int_eq(broker_event(MOSQ_EVT_EXT_AUTH_CONTINUE, &ev), MOSQ_ERR_AUTH);
    world_stop();
}
END_TEST

/* Refusing a live client's AUTH without content makes Mosquitto free the id of a connection that it keeps. */
START_TEST(auth_packet_of_a_live_client_without_content_ends_it_from_tick)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 300)), MOSQ_ERR_SUCCESS);
    world_kicks(&client);
    struct mosquitto_evt_extended_auth ev = {.client = &client, .auth_method = "OAUTHBEARER"};
    ck_assert_int_eq(broker_event(MOSQ_EVT_EXT_AUTH_CONTINUE, &ev), MOSQ_ERR_AUTH_CONTINUE);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/d/x"), MOSQ_ERR_ACL_DENIED);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    world_stop();
}
END_TEST

START_TEST(re_authentication_extends_the_session_and_replaces_its_rights)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 60)), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "devices/d/x"), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "none", 600)), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_session(&client)->expires_at, ia_wall_s() + 630);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "devices/d/x"), MOSQ_ERR_ACL_DENIED);
    clock_advance_ms(300000); /* the first token is long over */
    world_tick();
    ck_assert_int_eq(world_session(&client)->disconnect_reason, IA_R_NONE);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 1);
    world_stop();
}
END_TEST

/* Answered with SUCCESS, because 2.0 would send a second CONNACK; the rights of before, and out at the next TICK. */
static const struct {
    const char *label, *app;
    int lifetime_s;
    enum ia_reason reason;
} failed[] = {
    {"as another app", "other", 300, IA_R_TOKEN_CLAIMS},
    {"with an expired token", "board", -31, IA_R_TOKEN_EXPIRED},
};

START_TEST(failed_re_authentication_ends_the_session_from_tick)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 300)), MOSQ_ERR_SUCCESS);
    world_kicks(&client);
    int rc = world_ext_auth(&client, world_token(failed[_i].app, "read", failed[_i].lifetime_s));
    ck_assert_msg(rc == MOSQ_ERR_SUCCESS, "%s", failed[_i].label);
    ck_assert_uint_eq(world_refused(failed[_i].reason), 1);
    ck_assert_str_eq(client.username, "app:idp:board");
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_uint_eq(world.core->counters.ended[failed[_i].reason], 1);
    world_stop();
}
END_TEST

/* A client that came with a password and now sends an AUTH packet is no re-authentication of an app by another id. */
START_TEST(re_authentication_under_another_client_id_is_a_new_connection)
{
    world_start();
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 300)), MOSQ_ERR_SUCCESS);
    client.id = "app:idp:other"; /* the pointer is in use by another */
    ck_assert_int_eq(world_ext_auth(&client, world_token("board", "read", 300)), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, app_with_a_good_token_is_in_with_its_scopes_rights);
    tcase_add_test(c, app_without_a_mapped_scope_may_do_nothing);
    tcase_add_loop_test(c, app_is_refused_with_its_reason, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(c, unknown_key_asks_for_the_issuers_keys_and_is_retryable);
    tcase_add_test(c, password_that_is_no_token_is_no_credential);
    tcase_add_test(c, password_beside_a_certificate_is_ignored_unless_it_is_a_token);
    tcase_add_test(c, bound_token_with_its_certificate_makes_an_app);
    tcase_add_test(c, app_goes_with_the_device_that_it_is_bound_to);
    tcase_add_test(c, token_and_certificate_that_do_not_belong_together_are_refused);
    tcase_add_test(c, bound_token_of_a_device_that_is_not_active_is_refused);
    tcase_add_test(c, ext_auth_makes_the_same_session);
    tcase_add_test(c, ext_auth_refuses_what_basic_auth_refuses);
    tcase_add_test(c, ext_auth_of_other_methods_is_left_to_others);
    tcase_add_test(c, auth_packet_of_a_live_client_without_content_ends_it_from_tick);
    tcase_add_test(c, re_authentication_extends_the_session_and_replaces_its_rights);
    tcase_add_loop_test(c, failed_re_authentication_ends_the_session_from_tick, 0,
                        (int)(sizeof failed / sizeof failed[0]));
    tcase_add_test(c, re_authentication_under_another_client_id_is_a_new_connection);
}

int main(void)
{
    return run_suite("apps", cases);
}
