// SPDX-License-Identifier: ISC
#include "tests/unit/plugin/world.h"

#include "common/clock.h"
#include "config/snapshot_builder.h"
#include "tests/unit/oauth/mint.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ISS "https://idp.example/realm"

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                          int option_count);
int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count);

struct world world;
static struct ia_builder *builder;

/* --- configuration
 * -------------------------------------------------------------------------------------------------- */

/* PEM texts made once, so that rows can borrow them. */
static const char *pem_of(const char *cert)
{
    static struct {
        const char *cert;
        char *pem;
    } made[32];
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        if (!made[i].cert)
            made[i].pem = mc_pem(pki_cert(made[i].cert = cert));
        if (strcmp(made[i].cert, cert) == 0)
            return made[i].pem;
    }
    ck_abort_msg("too many certificates");
}

struct ia_ca_row world_ca(int64_t ca_id, const char *name, const char *cert)
{
    static const char *const client_ids[] = {"${device_id}", "${device_id}/*"};
    static const char *const roles[] = {"device"};
    return (struct ia_ca_row){.ca_id = ca_id,
                              .name = name,
                              .pem = pem_of(cert),
                              .status = IA_CA_ACTIVE,
                              .auto_registration = true,
                              .device_id_template = "${cert.cn}",
                              .client_id_templates = {.items = client_ids, .n = 2},
                              .roles = {.items = roles, .n = 1}};
}

static struct ia_issuer_row issuer(void)
{
    static const char *const audience[] = {"mqtt"}, *const algorithms[] = {"EdDSA"}, *const types[] = {"at+jwt"};
    static const char *const templates[] = {"app:${issuer}:${app_id}", "app:${issuer}:${app_id}/*"};
    static char *jwks;
    if (!jwks)
        jwks = mint_jwks(mint_key(IA_KEY_ED25519, 0), "k1");
    return (struct ia_issuer_row){.name = "idp",
                                  .issuer = ISS,
                                  .audience = {audience, 1},
                                  .algorithms = {algorithms, 1},
                                  .jwks = jwks,
                                  .client_id_templates = {templates, 2},
                                  .token_types = {types, 1},
                                  .leeway_s = 30,
                                  .active = true};
}

void world_rows(void)
{
    memset(&world, 0, sizeof world);
    world.cas[world.n_cas++] = world_ca(1, "acme", "root");
    world.roles[world.n_roles++] = "device";
    world.roles[world.n_roles++] = "reader";
    world.rules[world.n_rules++] = (struct ia_rule){.rule_id = 1,
                                                    .role = "device",
                                                    .allow = true,
                                                    .actions = IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE,
                                                    .topic_filter = "devices/${device_id}/#",
                                                    .max_qos = 2,
                                                    .allow_retain = true};
    world.rules[world.n_rules++] = (struct ia_rule){.rule_id = 2,
                                                    .role = "reader",
                                                    .allow = true,
                                                    .actions = IA_SUBSCRIBE | IA_RECEIVE,
                                                    .topic_filter = "devices/#",
                                                    .max_qos = 2,
                                                    .allow_retain = true};
    world.issuers[world.n_issuers++] = issuer();
    world.scopes[world.n_scopes++] = (struct ia_scope_row){.issuer = "idp", .scope = "read", .role = "reader"};
}

static struct ia_reply *snapshot_reply(void)
{
    static const char *const no_problems[WORLD_ROWS];
    static const struct ia_row_problems unreported;
    const struct ia_rows rows = {.cas = world.cas,
                                 .n_cas = world.n_cas,
                                 .crls = world.crls,
                                 .n_crls = world.n_crls,
                                 .roles = world.roles,
                                 .n_roles = world.n_roles,
                                 .rules = world.rules,
                                 .rule_problems = no_problems,
                                 .n_rules = world.n_rules,
                                 .ips = world.ips,
                                 .n_ips = world.n_ips,
                                 .issuers = world.issuers,
                                 .n_issuers = world.n_issuers,
                                 .scopes = world.scopes,
                                 .n_scopes = world.n_scopes,
                                 .reserved = world.reserved,
                                 .n_reserved = world.n_reserved};
    const struct ia_build_input input = {
        .parts = IA_LOAD_ALL, .rows = &rows, .now = ia_wall_s(), .problems = &unreported};
    struct ia_reply *reply = ia_reply_new(IA_REPLY_SNAPSHOT, NULL);
    struct ia_err err = {0};
    if (!builder)
        builder = ia_builder_new();
    ck_assert_msg(ia_builder_build(builder, &input, &reply->snapshot, &err) == IA_OK, "%s", err.msg);
    return reply;
}

void world_snapshot(void)
{
    worker_reply(snapshot_reply());
}

static struct ia_reply *state_reply(bool up)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_STATE, up ? "libpq 15.0, schema 1" : NULL);
    reply->connected = up;
    return reply;
}

void world_database(bool up)
{
    worker_reply(state_reply(up));
}

/* --- start and stop
 * ------------------------------------------------------------------------------------------------- */

static void start(const char *option, const char *value)
{
    struct mosquitto_opt options[] = {{(char *)"db_conninfo", (char *)"dbname=none"},
                                      {(char *)"node_name", (char *)"node-1"},
                                      {(char *)option, (char *)value}};
    void *core = NULL;
    int rc = mosquitto_plugin_init(NULL, &core, options, option ? 3 : 2);
    ck_assert_msg(rc == MOSQ_ERR_SUCCESS, "%s", broker.log);
    world.core = core;
}

void world_start_with(const char *option, const char *value)
{
    if (!world.n_cas)
        world_rows();
    world_database(true);
    world_snapshot();
    worker_reply(ia_reply_new(IA_REPLY_RESYNC_BEGIN, NULL));
    worker_reply(ia_reply_new(IA_REPLY_RESYNC_END, NULL));
    start(option, value);
    world_tick();
}

void world_start(void)
{
    world_start_with(NULL, NULL);
}

void world_start_down(void)
{
    world_rows();
    start(NULL, NULL);
}

void world_stop(void)
{
    ck_assert_int_eq(mosquitto_plugin_cleanup(world.core, NULL, 0), MOSQ_ERR_SUCCESS);
    ck_assert(worker_stub.stopped);
    ck_assert(!gate_stub.open);
    ia_builder_free(builder);
    builder = NULL;
}

/* --- devices
 * -------------------------------------------------------------------------------------------------------- */

struct ia_device_row world_device(const char *cert, const char *id)
{
    struct ia_device_row row = {.device_id = id,
                                .device_status = IA_DEVICE_ACTIVE,
                                .certificate_status = IA_CERT_ACTIVE,
                                .certificate_ca_id = 1,
                                .device_ca_id = 1};
    struct ia_cert_info info;
    struct ia_err err = {0};
    ck_assert_msg(ia_cert_info_read(pki_cert(cert), &info, &err) == IA_OK, "%s", err.msg);
    memcpy(row.fingerprint, info.fingerprint, sizeof row.fingerprint);
    return row;
}

static void add_devices(struct ia_reply *reply, const struct ia_device_row *rows, size_t n)
{
    reply->records.items = calloc(n + 1, sizeof(struct ia_device *));
    ck_assert_ptr_nonnull(reply->records.items);
    for (size_t i = 0; i < n; i++)
        ck_assert_ptr_nonnull(reply->records.items[reply->records.n++] = ia_device_new(&rows[i]));
}

void world_device_now(const char *id, const struct ia_device_row *rows, size_t n)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_DEVICES, NULL);
    reply->records.ids = calloc(1, sizeof(char *));
    reply->records.ids[reply->records.n_ids++] = strdup(id);
    add_devices(reply, rows, n);
    worker_reply(reply);
}

void world_answer(const char *cert, const struct ia_device_row *row, enum ia_reason reason)
{
    char text[256] = "as the registry says";
    if (row) /* the event, as the registration has written it */
        (void)snprintf(text, sizeof text, "{\"device_id\":\"%.100s\"}", row->device_id);
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, text);
    struct ia_device_row key = world_device(cert, "x");
    memcpy(reply->answer.fingerprint, key.fingerprint, sizeof reply->answer.fingerprint);
    reply->answer.registered = row != NULL;
    reply->answer.reason = reason;
    reply->answer.device = row ? ia_device_new(row) : NULL;
    worker_reply(reply);
}

/* --- clients
 * -------------------------------------------------------------------------------------------------------- */

struct mosquitto world_client(const char *id, const char *cert)
{
    return (struct mosquitto){
        .id = id, .address = "192.0.2.1", .version = 4, .certificate = cert ? pki_cert(cert) : NULL};
}

int world_basic_auth(struct mosquitto *client, const char *password)
{
    struct mosquitto_evt_basic_auth ev = {
        .client = client, .username = (char *)client->username, .password = (char *)password};
    return broker_event(MOSQ_EVT_BASIC_AUTH, &ev);
}

int world_ext_auth(struct mosquitto *client, const char *token)
{
    struct mosquitto_evt_extended_auth ev = {
        .client = client, .data_in = token, .data_in_len = (uint16_t)strlen(token), .auth_method = "OAUTHBEARER"};
    return broker_event(MOSQ_EVT_EXT_AUTH_START, &ev);
}

int world_acl(struct mosquitto *client, int access, const char *topic)
{
    struct mosquitto_evt_acl_check ev = {.client = client, .access = access, .topic = topic};
    return broker_event(MOSQ_EVT_ACL_CHECK, &ev);
}

int world_tick(void)
{
    struct mosquitto_evt_tick ev = {0};
    return broker_event(MOSQ_EVT_TICK, &ev);
}

int world_disconnect(struct mosquitto *client)
{
    struct mosquitto_evt_disconnect ev = {.client = client};
    return broker_event(MOSQ_EVT_DISCONNECT, &ev);
}

int world_reload(void)
{
    struct mosquitto_evt_reload ev = {0};
    return broker_event(MOSQ_EVT_RELOAD, &ev);
}

void world_forget_ticks(void)
{
    ia_broker_state_free(world.core->broker);
    world.core->broker = ia_broker_state_new();
}

static void end_parking(void)
{
    if (ia_parking_count() == 0)
        return;
    void (*meanwhile)(void) = world.while_parked;
    world.while_parked = NULL;
    if (meanwhile)
        meanwhile();
    world_tick();
    while (ia_parking_count() > 0) {
        clock_advance_ms(100);
        world_tick();
    }
}

int world_connect(struct mosquitto *client)
{
    if (client->certificate && !gate_handshake(client->certificate, NULL, client->address))
        return MOSQ_ERR_TLS;
    end_parking();
    return world_basic_auth(client, NULL);
}

struct ia_client *world_session(struct mosquitto *client)
{
    return ia_client_find(world.core->clients, client);
}

static struct mosquitto *kickable[8];

static void disconnect_by_id(const char *client_id)
{
    for (size_t i = 0; i < sizeof kickable / sizeof kickable[0]; i++) {
        if (!kickable[i] || strcmp(kickable[i]->id, client_id) != 0)
            continue;
        struct mosquitto *client = kickable[i];
        kickable[i] = NULL;
        (void)world_disconnect(client);
        client->address = NULL; /* the socket is closed */
        client->certificate = NULL;
        return;
    }
    ck_abort_msg("kicked one who is not connected: %s", client_id);
}

void world_kicks(struct mosquitto *client)
{
    broker.on_kick = disconnect_by_id;
    for (size_t i = 0; i < sizeof kickable / sizeof kickable[0]; i++) {
        if (kickable[i])
            continue;
        kickable[i] = client;
        return;
    }
    ck_abort_msg("too many clients");
}

uint64_t world_refused(enum ia_reason reason)
{
    return world.core->counters.refused[reason];
}

const char *world_token(const char *app, const char *scope, int lifetime_s)
{
    char payload[512];
    (void)snprintf(payload, sizeof payload,
                   "{\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":%lld,\"client_id\":\"%s\",\"scope\":\"%s\"}",
                   (long long)ia_wall_s() + lifetime_s, app, scope);
    static char *made[64];
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        if (!made[i])
            return made[i] = mint_token(mint_key(IA_KEY_ED25519, 0), IA_ALG_EDDSA,
                                        "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"at+jwt\"}", payload);
    ck_abort_msg("too many tokens");
}

/* --- dev-1
 * ---------------------------------------------------------------------------------------------------------- */

void world_dev1_is(enum ia_device_status status)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.device_status = status;
    world_device_now("dev-1", &row, 1);
}

void world_start_connected(struct mosquitto *client, bool persistent)
{
    world_start();
    world_dev1_is(IA_DEVICE_ACTIVE);
    *client = world_client("dev-1", "plain_leaf");
    client->persistent = persistent;
    ck_assert_int_eq(world_connect(client), MOSQ_ERR_SUCCESS);
    world_kicks(client);
    worker_forget();
    broker_forget();
}
