// SPDX-License-Identifier: ISC
#include "plugin/owned_ids.h"

#include "common/principal.h"
#include "plugin/kept_sessions.h"
#include "plugin/mosquitto_compat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define OWNED_MAX     (1 << 20)
#define CLIENT_ID_MAX 512 /* bytes of a client id that are written, for administrators */

/* A client id whose owner the registry has, or will have. */
struct owned_id {
    uint64_t client_id, principal; /* keys of kept_sessions.h */
    UT_hash_handle hh;
};

struct ia_owned_ids {
    struct owned_id *by_client_id;
};

struct ia_owned_ids *ia_owned_ids_new(void)
{
    return calloc(1, sizeof(struct ia_owned_ids));
}

static void owned_remove(struct ia_owned_ids *ids, struct owned_id *id)
{
    if (!id)
        return;
    HASH_DEL(ids->by_client_id, id);
    free(id);
}

void ia_owned_ids_free(struct ia_owned_ids *ids)
{
    while (ids && ids->by_client_id)
        owned_remove(ids, ids->by_client_id);
    free(ids);
}

static struct owned_id *owned_find(const struct ia_owned_ids *ids, uint64_t client_id)
{
    struct owned_id *id = NULL;
    HASH_FIND(hh, ids->by_client_id, &client_id, sizeof client_id, id);
    return id;
}

/* Without memory or room it is not remembered, and written again at the next login. */
static void owned_add(struct ia_owned_ids *ids, uint64_t client_id, uint64_t principal)
{
    owned_remove(ids, owned_find(ids, client_id));
    struct owned_id *id = HASH_COUNT(ids->by_client_id) < OWNED_MAX ? calloc(1, sizeof *id) : NULL;
    if (!id)
        return;
    id->client_id = client_id;
    id->principal = principal;
    HASH_ADD(hh, ids->by_client_id, client_id, sizeof id->client_id, id);
    if (!id->hh.tbl)
        free(id);
}

void ia_owned_ids_restore(struct ia_core *core, const struct ia_owner_key *keys, size_t n)
{
    for (size_t i = 0; i < n && !ia_mosq_is_21(); i++) {
        const uint64_t client_id = (uint64_t)keys[i].client_id_key, principal = (uint64_t)keys[i].principal_key;
        owned_add(core->owned_ids, client_id, principal);
        ia_clients_restore_owner(core->clients, client_id, principal);
    }
}

/* ---- names */

/* The length of the app's name, app:ISSUER:APP, that the client id begins with, or 0. */
static size_t app_name_length(const char *client_id)
{
    const char *issuer = client_id + strlen(IA_APP_PREFIX);
    const char *app = ia_principal_is_app(client_id) ? strchr(issuer, ':') : NULL;
    return app ? (size_t)(app - client_id) + strcspn(app, "/") : 0;
}

static bool is_own_name(const char *client_id, const char *username)
{
    size_t len = app_name_length(client_id);
    if (len == 0)
        return strcmp(client_id, username) == 0;
    return strlen(username) == len && memcmp(client_id, username, len) == 0;
}

static bool note_device(void *ctx, struct ia_device *device)
{
    (void)device;
    *(bool *)ctx = true;
    return false;
}

bool ia_owned_ids_is_anothers_name(const struct ia_core *core, const char *client_id, const char *username)
{
    if (is_own_name(client_id, username))
        return false;
    bool found = app_name_length(client_id) > 0;
    if (!found)
        ia_device_cache_each(core->devices, client_id, note_device, &found);
    return found;
}

/* ---- writing */

/* At most CLIENT_ID_MAX bytes, in whole characters. */
static void cut_client_id(const char *client_id, char out[CLIENT_ID_MAX + 1])
{
    size_t len = strnlen(client_id, CLIENT_ID_MAX + 1);
    if (len > CLIENT_ID_MAX)
        for (len = CLIENT_ID_MAX; len > 0 && ((unsigned char)client_id[len] & 0xC0) == 0x80;)
            len--;
    memcpy(out, client_id, len);
    out[len] = '\0';
}

/* `principal` NULL: nobody owns it any more.  False: the worker has no room, and the next login tries again. */
static bool write_owner(struct ia_core *core, const struct ia_owner_key *key, const char *client_id,
                        const char *principal)
{
    char cut[CLIENT_ID_MAX + 1];
    cut_client_id(client_id, cut);
    struct ia_request *request = ia_request_new(IA_REQUEST_OWNER, cut);
    if (!request)
        return false;
    request->owner.key = *key;
    (void)snprintf(request->owner.principal, sizeof request->owner.principal, "%s", principal ? principal : "");
    return ia_worker_ask(core->worker, request);
}

/* While not all devices are in memory, a client id may be the name of one that is not: then own names are written too. */
static bool has_to_be_written(const struct ia_core *core, const struct ia_client *client)
{
    bool own = is_own_name(client->client_id, ia_client_username(client));
    return client->keep != IA_KEEP_NO && (!own || ia_device_cache_is_full(core->devices));
}

void ia_owned_ids_note(struct ia_core *core, const struct ia_client *client)
{
    bool wanted = has_to_be_written(core, client);
    if (ia_mosq_is_21() || (!wanted && !core->owned_ids->by_client_id))
        return;
    const uint64_t client_id = ia_kept_name_key(client->client_id);
    const uint64_t principal = ia_kept_name_key(ia_client_username(client));
    struct owned_id *known = owned_find(core->owned_ids, client_id);
    if (wanted ? known && known->principal == principal : !known)
        return;
    const struct ia_owner_key key = {(int64_t)client_id, (int64_t)principal};
    if (!write_owner(core, &key, client->client_id, wanted ? ia_client_username(client) : NULL))
        return;
    if (wanted)
        owned_add(core->owned_ids, client_id, principal);
    else
        owned_remove(core->owned_ids, known);
}

void ia_owned_ids_release(struct ia_core *core, const char *client_id)
{
    owned_remove(core->owned_ids, owned_find(core->owned_ids, ia_kept_name_key(client_id)));
    const struct ia_client *owner = ia_client_owner(core->clients, client_id);
    if (owner)
        ia_owned_ids_note(core, owner); /* the owner is connected, and stays the owner */
}
