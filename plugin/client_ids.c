// SPDX-License-Identifier: ISC
/* Who owns a client id: a new connection inherits what the last one under its id left, whoever it is. */
#include "plugin/clients_private.h"

#include "common/hash.h"

#include <mosquitto_broker.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static struct ia_client_id_owners *owners_find(const struct ia_clients *all, const char *client_id)
{
    struct ia_client_id_owners *o = NULL;
    HASH_FIND(hh, all->by_client_id, client_id, strlen(client_id), o);
    return o;
}

static struct ia_client_id_owners *owners_get(struct ia_clients *all, const char *client_id)
{
    struct ia_client_id_owners *o = owners_find(all, client_id);
    size_t len = strlen(client_id);
    if (o)
        return o;
    o = calloc(1, sizeof *o + len + 1);
    if (!o)
        return NULL;
    memcpy(o->client_id, client_id, len);
    HASH_ADD_KEYPTR(hh, all->by_client_id, o->client_id, len, o);
    if (o->hh.tbl)
        return o;
    free(o);
    return NULL;
}

bool ia_client_owner_add(struct ia_clients *all, struct ia_client *client)
{
    struct ia_client_id_owners *o = owners_get(all, client->client_id);
    if (!o)
        return false;
    DL_PREPEND2(o->clients, client, prev_owned, next_owned);
    client->owns_client_id = true;
    return true;
}

void ia_client_owner_remove(struct ia_clients *all, struct ia_client *client)
{
    if (!client->owns_client_id)
        return;
    struct ia_client_id_owners *o = owners_find(all, client->client_id);
    client->owns_client_id = false;
    DL_DELETE2(o->clients, client, prev_owned, next_owned);
    if (o->clients)
        return;
    HASH_DEL(all->by_client_id, o);
    free(o);
}

struct ia_client *ia_client_owner(const struct ia_clients *clients, const char *client_id)
{
    const struct ia_client_id_owners *o = owners_find(clients, client_id);
    struct ia_client *client;
    if (!o)
        return NULL;
    DL_FOREACH2(o->clients, client, next_owned) {
        if (client->live)
            return client;
    }
    return o->clients;
}

struct ia_client *ia_client_newest(const struct ia_clients *clients, const char *client_id)
{
    const struct ia_client_id_owners *o = owners_find(clients, client_id);
    return o ? o->clients : NULL;
}

struct ia_client *ia_client_previous(const struct ia_client *client)
{
    return client->owns_client_id ? client->next_owned : NULL;
}

bool ia_clients_kept_conflicts(const struct ia_clients *clients, const char *client_id, const char *username)
{
    return ia_kept_conflicts(clients->kept, client_id, username);
}

bool ia_clients_kept_is_of(const struct ia_clients *clients, const struct mosquitto *context, const char *username)
{
    return ia_kept_is_of(clients->kept, context, mosquitto_client_id(context), username);
}

bool ia_clients_is_owner(const struct ia_clients *clients, const char *client_id, const char *username)
{
    const struct ia_client *owner = ia_client_owner(clients, client_id);
    if (owner)
        return strcmp(owner->username, username) == 0;
    return ia_kept_is_owner(clients->kept, client_id, username);
}

void ia_clients_restore_owner(struct ia_clients *clients, uint64_t client_id_key, uint64_t principal_key)
{
    (void)ia_kept_restore(clients->kept, client_id_key, principal_key);
}

/* ---- released by an administrator */

/* The lowest bit is that of RELEASED_ENDED. */
#define RELEASED_ENDED 1u

static uint64_t released_hash(const char *client_id)
{
    uint64_t hash = ia_hash_text(1, client_id) & ~(uint64_t)RELEASED_ENDED;
    return hash ? hash : 2;
}

/* The slot of that client id; IA_RELEASED_IDS_MAX: it is not released. */
static size_t find_release(const struct ia_clients *clients, const char *client_id)
{
    uint64_t hash = clients->next_released ? released_hash(client_id) : 0;
    for (size_t i = 0; hash && i < IA_RELEASED_IDS_MAX; i++)
        if ((clients->released[i] & ~(uint64_t)RELEASED_ENDED) == hash)
            return i;
    return IA_RELEASED_IDS_MAX;
}

bool ia_clients_is_released(const struct ia_clients *clients, const char *client_id, bool *ended)
{
    size_t slot = find_release(clients, client_id);
    bool released = slot < IA_RELEASED_IDS_MAX;
    *ended = released && (clients->released[slot] & RELEASED_ENDED);
    return released;
}

void ia_clients_note_release(struct ia_clients *clients, const char *client_id, bool ended)
{
    size_t slot = find_release(clients, client_id);
    if (slot == IA_RELEASED_IDS_MAX)
        slot = clients->next_released++ % IA_RELEASED_IDS_MAX;
    clients->released[slot] = released_hash(client_id) | (ended ? RELEASED_ENDED : 0u);
}

void ia_clients_clear_release(struct ia_clients *clients, const char *client_id)
{
    size_t slot = find_release(clients, client_id);
    if (slot < IA_RELEASED_IDS_MAX)
        clients->released[slot] = 0;
}
