// SPDX-License-Identifier: ISC
#include "plugin/clients.h"

#include <mosquitto_broker.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* The sessions that were opened with a certificate of one device: its own, and those of apps whose token is bound to
 * it. */
struct ia_device_clients {
    struct ia_client *sessions;
    UT_hash_handle hh;
    char device_id[];
};

/* The sessions that have, or had, a client id: the newest is at the head. */
struct owner {
    struct ia_client *sessions;
    UT_hash_handle hh;
    char client_id[];
};

#define RECENT 64 /* a power of two */

struct ia_clients {
    struct ia_client *by_client;
    struct ia_client *recent[RECENT]; /* of by_client, by a few bits of the pointer: asked for each message */
    struct ia_device_clients *by_device;
    struct owner *by_client_id;
    size_t n_live;
    struct ia_client *pending_free; /* ended, to be forgotten by tidy */
    struct ia_client *disconnect;   /* live, to be kicked, in this order */
    struct ia_client *at;           /* the walk's place: the session to return next */
};

struct ia_clients *ia_clients_new(void)
{
    return calloc(1, sizeof(struct ia_clients));
}

static struct ia_device_clients *fellows_get(struct ia_clients *all, const char *device_id)
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

static void fellows_drop_if_empty(struct ia_clients *all, struct ia_device_clients *p)
{
    if (p->sessions)
        return;
    HASH_DEL(all->by_device, p);
    free(p);
}

static struct owner *owner_find(const struct ia_clients *all, const char *client_id)
{
    struct owner *o = NULL;
    HASH_FIND(hh, all->by_client_id, client_id, strlen(client_id), o);
    return o;
}

static bool owner_add(struct ia_clients *all, const char *client_id, struct ia_client *s)
{
    struct owner *o = owner_find(all, client_id);
    if (!o) {
        size_t len = strlen(client_id);
        o = calloc(1, sizeof *o + len + 1);
        if (!o)
            return false;
        memcpy(o->client_id, client_id, len);
        HASH_ADD_KEYPTR(hh, all->by_client_id, o->client_id, len, o);
        if (!o->hh.tbl) {
            free(o);
            return false;
        }
    }
    DL_PREPEND2(o->sessions, s, prev_owned, next_owned);
    s->owned = true;
    return true;
}

static void owner_remove(struct ia_clients *all, struct ia_client *s)
{
    if (!s->owned)
        return;
    struct owner *o = owner_find(all, s->client_id);
    DL_DELETE2(o->sessions, s, prev_owned, next_owned);
    if (o->sessions)
        return;
    HASH_DEL(all->by_client_id, o);
    free(o);
}

static void condemned_remove(struct ia_clients *all, struct ia_client *s)
{
    if (!s->disconnect_pending)
        return;
    DL_DELETE2(all->disconnect, s, prev_disconnect, next_disconnect);
    s->disconnect_pending = false;
}

static void session_clear(struct ia_client *s)
{
    ia_device_free(s->device);
    ia_token_free(s->token);
    free(s->chain);
    free(s->client_id);
    free(s->username);
    ia_rights_clear(&s->rights);
    free(s);
}

/* Contexts are about 1 KB apart, so these bits differ. */
static struct ia_client **recent_slot(struct ia_clients *all, const struct mosquitto *client)
{
    uintptr_t bits = (uintptr_t)client;
    return &all->recent[(bits >> 4 ^ bits >> 10) & (RECENT - 1)];
}

/* Remove all trace of a session. */
static void forget(struct ia_clients *all, struct ia_client *s)
{
    if (all->at == s)
        all->at = s->hh.next;
    HASH_DEL(all->by_client, s);
    struct ia_client **slot = recent_slot(all, s->client);
    if (*slot == s)
        *slot = NULL;
    if (s->pending_free)
        LL_DELETE2(all->pending_free, s, next_pending_free);
    if (s->live)
        all->n_live--;
    owner_remove(all, s);
    condemned_remove(all, s);
    if (s->same_device) {
        DL_DELETE2(s->same_device->sessions, s, prev_same_device, next_same_device);
        fellows_drop_if_empty(all, s->same_device);
    }
    session_clear(s);
}

void ia_clients_free(struct ia_clients *sessions)
{
    if (!sessions)
        return;
    struct ia_client *s, *next;
    HASH_ITER(hh, sessions->by_client, s, next)
        forget(sessions, s);
    free(sessions);
}

struct ia_client *ia_client_find(struct ia_clients *sessions, const struct mosquitto *client)
{
    struct ia_client **slot = recent_slot(sessions, client), *s = NULL;
    if (*slot && (*slot)->client == client)
        return *slot;
    HASH_FIND_PTR(sessions->by_client, &client, s);
    if (s)
        *slot = s;
    return s;
}

static bool hash_certificate(X509 *leaf, uint8_t out[IA_FINGERPRINT_LEN])
{
    return leaf && ia_cert_fingerprint(leaf, out);
}

bool ia_client_has_certificate(const struct ia_client *session, X509 *leaf)
{
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    return session->has_leaf && hash_certificate(leaf, fingerprint) &&
           memcmp(fingerprint, session->leaf, sizeof fingerprint) == 0;
}

bool ia_client_is_of(const struct ia_client *session, const struct mosquitto *client)
{
    const char *id = mosquitto_client_id(client), *username = mosquitto_client_username(client);
    if (!id || strcmp(id, session->client_id) != 0)
        return false;
    /* Of a handed-on client another plugin may change it. */
    bool is_named = session->kind == IA_CLIENT_DEVICE || session->kind == IA_CLIENT_APP;
    if (is_named && username && strcmp(username, ia_client_username(session)) != 0)
        return false;
    X509 *certificate = mosquitto_client_certificate(client);
    bool same = !certificate || ia_client_has_certificate(session, certificate);
    X509_free(certificate);
    return same;
}

const char *ia_client_username(const struct ia_client *session)
{
    return session->username ? session->username : "";
}

bool ia_client_set_device(struct ia_clients *sessions, struct ia_client *session, struct ia_device *device)
{
    struct ia_device_clients *fellows = fellows_get(sessions, ia_device_id(device));
    if (!fellows) {
        ia_device_free(device);
        return false;
    }
    session->device = device;
    session->same_device = fellows;
    DL_APPEND2(fellows->sessions, session, prev_same_device, next_same_device);
    return true;
}

/* A stranger owns nothing: no username, no client id. */
static bool name_session(struct ia_clients *all, struct ia_client *s, const char *client_id, const char *username)
{
    s->client_id = strdup(client_id);
    s->username = username ? strdup(username) : NULL;
    if (!s->client_id || (username && !s->username))
        return false;
    return !username || owner_add(all, s->client_id, s);
}

struct ia_client *ia_client_open(struct ia_clients *sessions, const struct mosquitto *client, enum ia_client_kind kind,
                                 const char *client_id, const char *username)
{
    struct ia_client *old = ia_client_find(sessions, client);
    if (old)
        forget(sessions, old);
    struct ia_client *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->client = client;
    s->kind = kind;
    X509 *leaf = mosquitto_client_certificate(client);
    s->has_leaf = hash_certificate(leaf, s->leaf);
    X509_free(leaf);
    s->expires_at = INT64_MAX;
    bool named = name_session(sessions, s, client_id, username);
    if (named)
        HASH_ADD_PTR(sessions->by_client, client, s);
    if (!s->hh.tbl) {
        owner_remove(sessions, s);
        session_clear(s);
        return NULL;
    }
    s->live = true;
    sessions->n_live++;
    return s;
}

void ia_client_drop(struct ia_clients *sessions, struct ia_client *session)
{
    forget(sessions, session);
}

void ia_client_end(struct ia_clients *sessions, struct ia_client *session)
{
    if (!session->live)
        return;
    session->live = false;
    sessions->n_live--;
    condemned_remove(sessions, session);
    session->pending_free = !session->may_persist && session->kind != IA_CLIENT_UNAUTHENTICATED;
    if (session->pending_free)
        LL_PREPEND2(sessions->pending_free, session, next_pending_free);
}

struct ia_client *ia_client_owner(const struct ia_clients *sessions, const char *client_id)
{
    struct owner *o = owner_find(sessions, client_id);
    struct ia_client *s;
    if (!o)
        return NULL;
    DL_FOREACH2(o->sessions, s, next_owned)
        if (s->live)
            return s;
    return o->sessions;
}

struct ia_client *ia_client_newest(const struct ia_clients *sessions, const char *client_id)
{
    struct owner *o = owner_find(sessions, client_id);
    return o ? o->sessions : NULL;
}

void ia_clients_of_device(struct ia_clients *sessions, const char *device_id, ia_client_fn *fn, void *ctx)
{
    struct ia_device_clients *f = NULL;
    HASH_FIND(hh, sessions->by_device, device_id, strlen(device_id), f);
    struct ia_client *s, *next;
    if (!f)
        return;
    DL_FOREACH_SAFE2(f->sessions, s, next, next_same_device)
        fn(ctx, s);
}

void ia_clients_each(struct ia_clients *sessions, ia_client_fn *fn, void *ctx)
{
    for (struct ia_client *s = sessions->by_client; s; s = s->hh.next)
        fn(ctx, s);
}

void ia_clients_scan_begin(struct ia_clients *sessions)
{
    sessions->at = sessions->by_client;
}

struct ia_client *ia_clients_scan(struct ia_clients *sessions)
{
    while (sessions->at) {
        struct ia_client *s = sessions->at;
        sessions->at = s->hh.next;
        if (s->live)
            return s;
    }
    return NULL;
}

void ia_clients_tidy(struct ia_clients *sessions)
{
    struct ia_client *s;
    while ((s = sessions->pending_free) != NULL)
        forget(sessions, s);
}

void ia_client_mark_disconnect(struct ia_clients *sessions, struct ia_client *session, enum ia_reason reason)
{
    if (!session->live || session->disconnect_reason != IA_R_NONE)
        return;
    session->disconnect_reason = reason;
    session->disconnect_pending = true;
    DL_APPEND2(sessions->disconnect, session, prev_disconnect, next_disconnect);
}

struct ia_client *ia_clients_next_disconnect(struct ia_clients *sessions)
{
    struct ia_client *s = sessions->disconnect;
    if (s)
        condemned_remove(sessions, s);
    return s;
}

size_t ia_clients_live(const struct ia_clients *sessions)
{
    return sessions->n_live;
}
