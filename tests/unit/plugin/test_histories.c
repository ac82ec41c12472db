// SPDX-License-Identifier: ISC
/* Random histories of connects, take-overs, kicks, reloads, reused pointers and changes in the registry, against a
 * simple model of the broker.  What must hold in each: nobody but a connected client is kicked, a client id passes from
 * one device to itself only, a client without the right writes nowhere, and one that lost it is disconnected by the next TICK. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

enum { CONTEXTS = 8, STEPS = 4000, DEVICES = 3 };

enum state { FREE, CONNECTED, UNAUTHENTICATED, OFFLINE };

/* A place in the broker's memory: freed and used again. */
static struct {
    struct mosquitto client;
    enum state state;
    int device;         /* who it is */
    bool to_disconnect; /* has lost its right since it came */
} contexts[CONTEXTS];

static const struct {
    const char *cert, *id;
} devices[DEVICES] = {{"plain_leaf", "dev-1"}, {"leaf_of_root", "dev-2"}, {"ed_leaf", "dev-3"}};

static const char *const client_ids[] = {"a", "b", "c", "d"};
static enum ia_device_status status[DEVICES];
static bool ca_active;

static unsigned any(unsigned n)
{
    return (unsigned)rand() % n;
}

static const char *own_topic(int device)
{
    static char topic[64];
    (void)snprintf(topic, sizeof topic, "devices/%s/x", devices[device].id);
    return topic;
}

/* --- the broker
 * ----------------------------------------------------------------------------------------------------- */

static int connected_with(const char *id)
{
    for (int i = 0; i < CONTEXTS; i++)
        if ((contexts[i].state == CONNECTED || contexts[i].state == UNAUTHENTICATED) &&
            strcmp(contexts[i].client.id, id) == 0)
            return i;
    return -1;
}

/* DISCONNECT, the will, then the socket; what is not persistent is freed. */
static void close_connection(int i, bool will)
{
    world_disconnect(&contexts[i].client);
    if (will && any(2)) {
        int rc = world_acl(&contexts[i].client, MOSQ_ACL_WRITE, own_topic(contexts[i].device));
        bool may = contexts[i].state == CONNECTED && !contexts[i].to_disconnect && ca_active;
        ck_assert_msg(rc == MOSQ_ERR_ACL_DENIED || may, "a will of %s", contexts[i].client.id);
    }
    contexts[i].client.address = NULL;
    contexts[i].client.certificate = NULL;
    bool kept = contexts[i].client.persistent && contexts[i].state == CONNECTED;
    contexts[i].state = kept ? OFFLINE : FREE;
}

static void on_kick(const char *client_id)
{
    int i = connected_with(client_id);
    ck_assert_msg(i >= 0, "kicked %s, who is not connected", client_id);
    ck_assert_msg(contexts[i].state == UNAUTHENTICATED || contexts[i].to_disconnect || !ca_active,
                  "kicked %s for nothing", client_id);
    broker.n_kicked = 0;
    close_connection(i, false);
}

/* After BASIC_AUTH has said yes: the older connection of that id goes, a kept session is taken up. */
static void take_over(int newer)
{
    for (int i = 0; i < CONTEXTS; i++) {
        if (i == newer || contexts[i].state == FREE || strcmp(contexts[i].client.id, contexts[newer].client.id) != 0)
            continue;
        ck_assert_msg(contexts[i].state == UNAUTHENTICATED || contexts[i].device == contexts[newer].device,
                      "%s of %s goes to %s", contexts[newer].client.id, devices[contexts[i].device].id,
                      devices[contexts[newer].device].id);
        if (contexts[i].state != OFFLINE)
            close_connection(i, true);
        contexts[i].state = FREE;
    }
}

static int free_context(void)
{
    for (int i = 0; i < CONTEXTS; i++)
        if (contexts[i].state == FREE)
            return i;
    return -1;
}

/* --- what happens
 * --------------------------------------------------------------------------------------------------- */

static void somebody_connects(void)
{
    int i = free_context(), device = (int)any(DEVICES);
    if (i < 0)
        return;
    contexts[i].client = world_client(client_ids[any(4)], devices[device].cert);
    contexts[i].client.persistent = any(2);
    contexts[i].client.version = any(2) ? 5 : 4;
    contexts[i].device = device;
    contexts[i].to_disconnect = false;
    if (world_connect(&contexts[i].client) == MOSQ_ERR_SUCCESS) {
        ck_assert_int_eq(status[device], IA_DEVICE_ACTIVE);
        ck_assert(ca_active);
        ck_assert_str_eq(contexts[i].client.username, devices[device].id);
        contexts[i].state = CONNECTED;
        take_over(i);
    } else if (any(2)) {
        world_disconnect(&contexts[i].client); /* it is sent for refused clients, too, or not */
    }
}

/* Past our BASIC_AUTH, under a device's name. */
static void unauthenticated_client_connects(void)
{
    int i = free_context();
    const char *id = client_ids[any(4)];
    if (i < 0 || connected_with(id) >= 0)
        return;
    contexts[i].client = world_client(id, "self_leaf");
    contexts[i].client.username = devices[any(DEVICES)].id;
    contexts[i].device = (int)any(DEVICES);
    contexts[i].state = UNAUTHENTICATED;
}

static void somebody_leaves(void)
{
    int i = (int)any(CONTEXTS);
    if (contexts[i].state == CONNECTED || contexts[i].state == UNAUTHENTICATED)
        close_connection(i, true);
}

static void somebody_asks(void)
{
    int i = (int)any(CONTEXTS), other = (contexts[i].device + 1) % DEVICES;
    struct mosquitto *client = &contexts[i].client;
    if (contexts[i].state == FREE)
        return;
    int write = world_acl(client, MOSQ_ACL_WRITE, own_topic(contexts[i].device));
    if (contexts[i].state == CONNECTED) {
        bool lost = contexts[i].to_disconnect;
        ck_assert_msg(lost ? write == MOSQ_ERR_ACL_DENIED : write == MOSQ_ERR_SUCCESS || !ca_active, "%s as %s",
                      client->id, devices[contexts[i].device].id);
        ck_assert_int_eq(world_acl(client, MOSQ_ACL_WRITE, own_topic(other)), MOSQ_ERR_ACL_DENIED);
        ck_assert_int_eq(world_acl(client, MOSQ_ACL_SUBSCRIBE, "#"), MOSQ_ERR_ACL_DENIED);
    }
    if (contexts[i].state == UNAUTHENTICATED)
        ck_assert_int_eq(write, MOSQ_ERR_ACL_DENIED);
    if (contexts[i].state == OFFLINE)
        ck_assert_int_eq(world_acl(client, MOSQ_ACL_WRITE, own_topic(other)), MOSQ_ERR_ACL_DENIED);
}

static void device_changes(void)
{
    static const enum ia_device_status all[] = {IA_DEVICE_ACTIVE, IA_DEVICE_ACTIVE, IA_DEVICE_PENDING,
                                                IA_DEVICE_INACTIVE, IA_DEVICE_REVOKED};
    int device = (int)any(DEVICES);
    struct ia_device_row row = world_device(devices[device].cert, devices[device].id);
    status[device] = row.device_status = all[any(5)];
    row.certificate_ca_id = strcmp(devices[device].cert, "ed_leaf") == 0 ? 2 : 1;
    world_device_now(devices[device].id, &row, 1);
    ia_replies_apply(world.core);
    for (int i = 0; i < CONTEXTS; i++)
        if (contexts[i].device == device && status[device] != IA_DEVICE_ACTIVE)
            contexts[i].to_disconnect = true;
}

static void ca_changes(void)
{
    ca_active = any(4) != 0;
    world.cas[0].status = world.cas[1].status = ca_active ? IA_CA_ACTIVE : IA_CA_INACTIVE;
    world_snapshot();
    world_tick(); /* judged here */
    for (int i = 0; i < CONTEXTS; i++)
        if (!ca_active)
            ck_assert_msg(contexts[i].state != CONNECTED, "%s stays without its CA", contexts[i].client.id);
}

static void tick(void)
{
    clock_advance_ms(100);
    world_tick();
    for (int i = 0; i < CONTEXTS; i++)
        ck_assert_msg(contexts[i].state != CONNECTED || !contexts[i].to_disconnect, "%s stays", contexts[i].client.id);
    if (worker_stub.n_requests > 1000)
        worker_forget();
    if (strlen(broker.log) > 30000)
        broker_forget();
}

/* BASIC_AUTH once more for each context, offline ones too. */
static void reload(void)
{
    world_reload();
    for (int i = 0; i < CONTEXTS; i++)
        if (contexts[i].state == CONNECTED || contexts[i].state == OFFLINE)
            ck_assert_int_eq(world_basic_auth(&contexts[i].client, NULL), MOSQ_ERR_SUCCESS);
    tick();
}

static void (*const happenings[])(void) = {somebody_connects,
                                           somebody_connects,
                                           somebody_connects,
                                           somebody_leaves,
                                           somebody_asks,
                                           somebody_asks,
                                           somebody_asks,
                                           somebody_asks,
                                           device_changes,
                                           tick,
                                           tick,
                                           reload,
                                           unauthenticated_client_connects};

START_TEST(whatever_happens_rights_end_when_they_end)
{
    static const char *const any_id[] = {"*"};
    world_rows();
    world.cas[world.n_cas++] = world_ca(2, "other", "ed_root");
    world.cas[0].client_id_templates = world.cas[1].client_id_templates = (struct ia_texts){any_id, 1};
    world_start();
    broker.on_kick = on_kick;
    ca_active = true;
    srand((unsigned)_i);
    for (int i = 0; i < 20; i++)
        device_changes();
    for (int step = 0; step < STEPS; step++) {
        if (any(100) == 0)
            ca_changes();
        else
            happenings[any(sizeof happenings / sizeof happenings[0])]();
    }
    const struct ia_counters *n = &world.core->counters; /* was there anything to see? */
    ck_assert_uint_gt(n->accepted_devices, 50);
    ck_assert_uint_gt(n->refused[IA_R_CLIENT_ID_MISMATCH], 10);
    ck_assert_uint_gt(n->ended[IA_R_DEVICE_REVOKED] + n->ended[IA_R_DEVICE_INACTIVE], 10);
    ck_assert_uint_gt(n->ended[IA_R_NO_CREDENTIAL], 5);
    ck_assert_uint_gt(n->acl_allowed, 30);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, whatever_happens_rights_end_when_they_end, 0, 12);
}

int main(void)
{
    return run_suite("histories", cases);
}
