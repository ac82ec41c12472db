// SPDX-License-Identifier: ISC
#include "plugin/clients.h"

#include "common/hash.h"
#include "plugin/clients_private.h"
#include "plugin/shared_subscriptions.h"
#include "tls/leaf.h"

#include <mosquitto_broker.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct ia_clients *ia_clients_new(void)
{
    struct ia_clients *clients = calloc(1, sizeof *clients);
    if (clients && (clients->kept = ia_kept_new()) != NULL)
        return clients;
    free(clients);
    return NULL;
}

/* ---- the clients of one device */

static struct ia_device_clients *device_clients_get(struct ia_clients *all, const char *device_id)
{
    struct ia_device_clients *p = NULL;
    size_t len = strlen(device_id);
    HASH_FIND(hh, all->by_device, device_id, len, p);
    if (p)
        return p;
    p = calloc(1, sizeof *p + len + 1);
    if (!p)
        return NULL;
    memcpy(p->device_id, device_id, len);
    HASH_ADD_KEYPTR(hh, all->by_device, p->device_id, len, p);
    if (p->hh.tbl)
        return p;
    free(p);
    return NULL;
}

static void device_clients_remove(struct ia_clients *all, struct ia_client *client)
{
    struct ia_device_clients *p = client->same_device;
    if (!p)
        return;
    DL_DELETE2(p->clients, client, prev_same_device, next_same_device);
    if (p->clients)
        return;
    HASH_DEL(all->by_device, p);
    free(p);
}

/* ---- freeing */

static struct ia_client **ended_list(struct ia_clients *all, const struct ia_client *client, size_t **n)
{
    bool maybe = client->keep == IA_KEEP_MAYBE;
    *n = maybe ? &all->n_ended_maybe : &all->n_ended;
    return maybe ? &all->ended_maybe : &all->ended;
}

static void ended_remove(struct ia_clients *all, struct ia_client *client)
{
    size_t *n = NULL;
    if (client->pending_free)
        DL_DELETE2(all->pending_free, client, prev_ended, next_ended); // NOLINT: a client with this mark is listed
    if (client->is_kept) {
        struct ia_client **list = ended_list(all, client, &n);
        DL_DELETE2(*list, client, prev_ended, next_ended); // NOLINT: likewise
        --*n;
    }
    client->pending_free = client->is_kept = false;
}

static void client_free(struct ia_client *client)
{
    ia_device_free(client->device);
    ia_token_free(client->token);
    free(client->chain);
    free(client->client_id);
    free(client->username);
    ia_rights_clear(&client->check.rights);
    ia_shared_free(client->check.shared);
    free(client);
}

/* Contexts are about 1 KB apart, so these bits differ. */
static struct ia_client **recent_slot(struct ia_clients *all, const struct mosquitto *context)
{
    uintptr_t bits = (uintptr_t)context;
    return &all->recent[(bits >> 4 ^ bits >> 10) & (IA_RECENT_CLIENTS - 1)];
}

/* Remove every trace of a client. */
static void client_remove(struct ia_clients *all, struct ia_client *client)
{
    if (all->scan_next == client)
        all->scan_next = client->hh.next;
    HASH_DEL(all->by_context, client);
    struct ia_client **slot = recent_slot(all, client->context);
    if (*slot == client)
        *slot = NULL;
    if (client->live)
        all->n_live--;
    ended_remove(all, client);
    ia_client_owner_remove(all, client);
    ia_client_disconnect_remove(all, client);
    device_clients_remove(all, client);
    client_free(client);
}

void ia_clients_free(struct ia_clients *clients)
{
    if (!clients)
        return;
    struct ia_client *client, *next;
    HASH_ITER(hh, clients->by_context, client, next) {
        client_remove(clients, client);
    }
    ia_kept_free(clients->kept);
    free(clients);
}

/* ---- one client */

struct ia_client *ia_client_find(struct ia_clients *clients, const struct mosquitto *context)
{
    struct ia_client **slot = recent_slot(clients, context), *client = NULL;
    if (*slot && (*slot)->context == context)
        return *slot;
    HASH_FIND_PTR(clients->by_context, &context, client);
    if (client)
        *slot = client;
    return client;
}

bool ia_client_has_certificate(const struct ia_client *client, X509 *leaf)
{
    return client->has_leaf && leaf && ia_leaf_has_fingerprint(leaf, client->leaf);
}

static uint64_t client_id_hash(const char *client_id)
{
    return client_id ? ia_hash_text(0, client_id) : 0;
}

bool ia_client_is_of(const struct ia_client *client, const struct mosquitto *context)
{
    const char *id = mosquitto_client_id(context), *username = mosquitto_client_username(context);
    bool same_id = id && client_id_hash(id) == client->client_id_hash;
    if (!same_id || (client->client_id && strcmp(id, client->client_id) != 0))
        return false;
    /* Of a deferred client another plugin may change it. */
    if (client->username && username && strcmp(username, client->username) != 0)
        return false;
    X509 *certificate = mosquitto_client_certificate(context);
    bool same = !certificate || ia_client_has_certificate(client, certificate);
    X509_free(certificate);
    return same;
}

const char *ia_client_username(const struct ia_client *client)
{
    return client->username ? client->username : "";
}

/* Only devices and apps have names here, and own a client id. */
static bool name_client(struct ia_clients *all, struct ia_client *client, const char *client_id, const char *username)
{
    client->client_id_hash = client_id_hash(client_id);
    if (client->kind != IA_CLIENT_DEVICE && client->kind != IA_CLIENT_APP)
        return true;
    client->client_id = strdup(client_id);
    client->username = strdup(username);
    return client->client_id && client->username && ia_client_owner_add(all, client);
}

static void note_leaf(struct ia_client *client, const struct mosquitto *context)
{
    X509 *leaf = mosquitto_client_certificate(context);
    client->has_leaf = leaf && ia_leaf_fingerprint(leaf, client->leaf);
    X509_free(leaf);
}

struct ia_client *ia_client_open(struct ia_clients *clients, const struct mosquitto *context, enum ia_client_kind kind,
                                 const char *client_id, const char *username)
{
    ia_client_forget_ended(clients, context);
    struct ia_client *old = ia_client_find(clients, context);
    if (old)
        client_remove(clients, old);
    struct ia_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->context = context;
    client->kind = kind;
    client->expires_at = INT64_MAX;
    note_leaf(client, context);
    if (name_client(clients, client, client_id, username))
        HASH_ADD_PTR(clients->by_context, context, client);
    if (!client->hh.tbl) {
        ia_client_owner_remove(clients, client);
        client_free(client);
        return NULL;
    }
    client->live = true;
    clients->n_live++;
    return client;
}

static bool attach_device(struct ia_clients *clients, struct ia_client *client, struct ia_device *device)
{
    struct ia_device_clients *same = device ? device_clients_get(clients, ia_device_id(device)) : NULL;
    client->device = device;
    client->same_device = same;
    if (same)
        DL_APPEND2(same->clients, client, prev_same_device, next_same_device);
    return same || !device;
}

void ia_client_set_address(struct ia_client *client, const struct ia_ip *ip, const char *address,
                           enum ia_client_keep keep)
{
    client->ip = *ip;
    client->keep = keep;
    (void)snprintf(client->address, sizeof client->address, "%s", address ? address : "");
}

bool ia_client_set_facts(struct ia_clients *clients, struct ia_client *client, const struct ia_client_facts *facts)
{
    ia_client_set_address(client, &facts->ip, facts->address, facts->keep);
    client->token = facts->token;
    client->chain = facts->chain;
    client->by_ext_auth = facts->by_ext_auth;
    return attach_device(clients, client, facts->device);
}

void ia_client_accept(struct ia_clients *clients, struct ia_client *client)
{
    for (struct ia_client *older = client->next_owned; older; older = older->next_owned) {
        if (older->live)
            older->keep = IA_KEEP_NO;
        else
            ia_client_end(clients, older, IA_KEEP_NO); /* its will is published in this very CONNECT, if at all */
    }
    ia_kept_forget_client_id(clients->kept, client->client_id);
    ia_clients_clear_release(clients, client->client_id);
}

/* Of a client that was left to other plugins only that is remembered, for its delayed will, its queue and its client id;
 * of one that was not authenticated, nothing. */
static void end_client(struct ia_clients *clients, struct ia_client *client)
{
    size_t *n = NULL;
    const char *client_id = client->kind == IA_CLIENT_DEFERRED ? mosquitto_client_id(client->context) : NULL;
    if (client_id && client->keep != IA_KEEP_NO)
        (void)ia_kept_add(clients->kept, client->context, client_id, NULL);
    if (client->keep == IA_KEEP_NO || !client->client_id) {
        client->pending_free = true;
        DL_APPEND2(clients->pending_free, client, prev_ended, next_ended);
        return;
    }
    struct ia_client **list = ended_list(clients, client, &n);
    DL_APPEND2(*list, client, prev_ended, next_ended);
    client->is_kept = true;
    ++*n;
}

void ia_client_end(struct ia_clients *clients, struct ia_client *client, enum ia_client_keep keep)
{
    if (!client->live && (keep != IA_KEEP_NO || client->pending_free))
        return;
    if (client->live)
        clients->n_live--;
    ended_remove(clients, client);
    client->live = false;
    client->keep = keep < client->keep ? keep : client->keep;
    ia_client_disconnect_remove(clients, client);
    end_client(clients, client);
}

void ia_client_drop(struct ia_clients *clients, struct ia_client *client)
{
    client_remove(clients, client);
}

void ia_client_forget_ended(struct ia_clients *clients, const struct mosquitto *context)
{
    struct ia_client *client = ia_client_find(clients, context);
    if (client && !client->live)
        client_remove(clients, client);
    ia_kept_forget_context(clients->kept, context);
}

bool ia_clients_release_client_id(struct ia_clients *clients, const char *client_id)
{
    struct ia_client *owner = ia_client_owner(clients, client_id);
    if (owner && owner->live)
        return false;
    ia_clients_note_release(clients, client_id, owner != NULL);
    while ((owner = ia_client_newest(clients, client_id)) != NULL)
        ia_client_drop(clients, owner);
    ia_kept_forget_client_id(clients->kept, client_id);
    return true;
}

/* ---- many clients */

void ia_clients_of_device(struct ia_clients *clients, const char *device_id, ia_client_fn *fn, void *ctx)
{
    struct ia_device_clients *same = NULL;
    struct ia_client *client, *next;
    HASH_FIND(hh, clients->by_device, device_id, strlen(device_id), same);
    if (!same)
        return;
    DL_FOREACH_SAFE2(same->clients, client, next, next_same_device) {
        fn(ctx, client);
    }
}

void ia_clients_each(struct ia_clients *clients, ia_client_fn *fn, void *ctx)
{
    for (struct ia_client *client = clients->by_context; client; client = client->hh.next)
        fn(ctx, client);
}

void ia_clients_scan_begin(struct ia_clients *clients)
{
    clients->scan_next = clients->by_context;
}

struct ia_client *ia_clients_scan(struct ia_clients *clients)
{
    while (clients->scan_next) {
        struct ia_client *client = clients->scan_next;
        clients->scan_next = client->hh.next;
        if (client->live || client->check.shared)
            return client;
    }
    return NULL;
}

/* The oldest of a list beyond its bound. */
static void reduce_ended(struct ia_clients *clients, struct ia_client **list, const size_t *n, size_t max)
{
    while (*n > max) {
        struct ia_client *oldest = *list;
        (void)ia_kept_add(clients->kept, oldest->context, oldest->client_id, oldest->username);
        client_remove(clients, oldest);
    }
}

void ia_clients_tidy(struct ia_clients *clients)
{
    while (clients->pending_free)
        client_remove(clients, clients->pending_free);
    reduce_ended(clients, &clients->ended_maybe, &clients->n_ended_maybe, IA_ENDED_MAYBE_MAX);
    reduce_ended(clients, &clients->ended, &clients->n_ended, IA_ENDED_MAX);
}

size_t ia_clients_live(const struct ia_clients *clients)
{
    return clients->n_live;
}

size_t ia_clients_kept(const struct ia_clients *clients)
{
    return ia_kept_count(clients->kept);
}
