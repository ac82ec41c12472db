// SPDX-License-Identifier: ISC
/* The plugin, whole, between a broker and a worker that do what the test says: configuration as rows, devices as
 * records, clients as contexts.  One world a test (check forks).
 *
 * In the beginning: CA 1 'acme' is the certificate `root` of x509/pki.h, auto-registering, role `device` (publish,
 * subscribe and receive devices/${device_id}/#); issuer 'idp' with scope `read` → role `reader` (subscribe, receive
 * devices/#).  The wall clock stands at MC_NOW. */
#pragma once

#include "plugin/broker_state.h"
#include "plugin/core.h"
#include "plugin/replies.h"
#include "plugin/resync.h"
#include "plugin/revalidate.h"
#include "tests/unit/plugin/broker_stub.h"
#include "tests/unit/plugin/gate_stub.h"
#include "tests/unit/plugin/parking_stub.h"
#include "tests/unit/plugin/worker_stub.h"
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"

#define WORLD_ROWS 16

extern struct world {
    struct ia_core *core;
    struct ia_ca_row cas[WORLD_ROWS];
    struct ia_crl_row crls[WORLD_ROWS];
    const char *roles[WORLD_ROWS];
    struct ia_rule rules[WORLD_ROWS];
    struct ia_ip_rule ips[WORLD_ROWS];
    struct ia_issuer_row issuers[WORLD_ROWS];
    struct ia_scope_row scopes[WORLD_ROWS];
    size_t n_cas, n_crls, n_roles, n_rules, n_ips, n_issuers, n_scopes;
    const char *reserved[WORLD_ROWS];
    size_t n_reserved;
    void (*while_parked)(void); /* called once when a client of world_connect has been parked */
} world;

/* The rows of the beginning; edit them before or after world_start. */
void world_rows(void);

/* The plugin's init, with the rows as they are and no devices, and with one option more; or with a database that cannot
 * be reached. */
void world_start(void);
void world_start_with(const char *option, const char *value);
void world_start_down(void);

/* The plugin's cleanup: all memory is given back. */
void world_stop(void);

/* A snapshot of the rows as they are now arrives. */
void world_snapshot(void);

/* The database is reachable, or not. */
void world_database(bool up);

/* A row of a CA: its certificate by its name in pki.h. */
struct ia_ca_row world_ca(int64_t ca_id, const char *name, const char *cert);

/* The record of the certificate `cert` (pki.h) as device `id`, under CA 1, ACTIVE; to be bent and given to
 * world_device_now or world_answer. */
struct ia_device_row world_device(const char *cert, const char *id);

/* The registry says: these are all records of the device `id` (n may be 0: it is deleted). */
void world_device_now(const char *id, const struct ia_device_row *rows, size_t n);

/* The registry's answer about the certificate `cert`: a record, or (NULL) `reason`. */
void world_answer(const char *cert, const struct ia_device_row *row, enum ia_reason reason);

/* A connected client of MQTT 3.1.1, with the certificate `cert` (NULL: none). */
struct mosquitto world_client(const char *id, const char *cert);

/* The registry says: dev-1 (with the certificate plain_leaf) has that status now. */
void world_dev1_is(enum ia_device_status status);

/* Start, with dev-1 ACTIVE and connected as *client; what was asked, published and logged until then is forgotten. */
void world_start_connected(struct mosquitto *client, bool persistent);

/* The broker's questions. */
int world_basic_auth(struct mosquitto *client, const char *password);
int world_ext_auth(struct mosquitto *client, const char *token);
int world_acl(struct mosquitto *client, int access, const char *topic);
int world_tick(void);
int world_disconnect(struct mosquitto *client);
int world_reload(void);

/* As if no TICK had come. */
void world_forget_ticks(void);

/* Handshake, then BASIC_AUTH; where the handshake parks the client, not before it has been released: by what
 * world.while_parked makes arrive, or when its time is over. */
int world_connect(struct mosquitto *client);

/* The session behind that context, and the kick of its id, as the broker does it: DISCONNECT from within. */
struct ia_client *world_session(struct mosquitto *client);
void world_kicks(struct mosquitto *client);

/* How often a connection was refused for that reason. */
uint64_t world_refused(enum ia_reason reason);

/* A token of issuer 'idp' for `app`, with that scope, for `lifetime_s` from now.  Kept until the end of the process. */
const char *world_token(const char *app, const char *scope, int lifetime_s);
