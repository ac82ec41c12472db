// SPDX-License-Identifier: ISC
#include "plugin/clients.h"

#include <mosquitto_broker.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* The sessions that were opened with a certificate of one device: its own, and those of apps whose token is bound to
 * it. */
struct ia_fellows {
    struct ia_session *sessions;
    UT_hash_handle hh;
    char device_id[];
};

/* The sessions that have, or had, a client id: the newest is at the head. */
struct owner {
    struct ia_session *sessions;
    UT_hash_handle hh;
    char client_id[];
};

#define RECENT 64 /* a power of two */

struct ia_sessions {
    struct ia_session *by_client;
    struct ia_session *recent[RECENT]; /* of by_client, by a few bits of the pointer: asked for each message */
    struct ia_fellows *by_device;
    struct owner *by_client_id;
    size_t n_live;
    struct ia_session *passing;   /* ended, to be forgotten by tidy */
    struct ia_session *condemned; /* live, to be kicked, in this order */
    struct ia_session *at;        /* the walk's place: the session to return next */
};

struct ia_sessions *ia_sessions_new(void)
{
    return calloc(1, sizeof(struct ia_sessions));
}

static struct ia_fellows *fellows_get(struct ia_sessions *all, const char *device_id)
{
    struct ia_fellows *p = NULL;
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

static void fellows_drop_if_empty(struct ia_sessions *all, struct ia_fellows *p)
{
    if (p->sessions)
        return;
    HASH_DEL(all->by_device, p);
    free(p);
}

static struct owner *owner_find(const struct ia_sessions *all, const char *client_id)
{
    struct owner *o = NULL;
    HASH_FIND(hh, all->by_client_id, client_id, strlen(client_id), o);
    return o;
}

static bool owner_add(struct ia_sessions *all, const char *client_id, struct ia_session *s)
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

static void owner_remove(struct ia_sessions *all, struct ia_session *s)
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

static void condemned_remove(struct ia_sessions *all, struct ia_session *s)
{
    if (!s->waits_for_kick)
        return;
    DL_DELETE2(all->condemned, s, prev_condemned, next_condemned);
    s->waits_for_kick = false;
}

static void session_clear(struct ia_session *s)
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
static struct ia_session **recent_slot(struct ia_sessions *all, const struct mosquitto *client)
{
    uintptr_t bits = (uintptr_t)client;
    return &all->recent[(bits >> 4 ^ bits >> 10) & (RECENT - 1)];
}

/* Remove all trace of a session. */
static void forget(struct ia_sessions *all, struct ia_session *s)
{
    if (all->at == s)
        all->at = s->hh.next;
    HASH_DEL(all->by_client, s);
    struct ia_session **slot = recent_slot(all, s->client);
    if (*slot == s)
        *slot = NULL;
    if (s->passing)
        LL_DELETE2(all->passing, s, next_passing);
    if (s->live)
        all->n_live--;
    owner_remove(all, s);
    condemned_remove(all, s);
    if (s->fellows) {
        DL_DELETE2(s->fellows->sessions, s, prev_same, next_same);
        fellows_drop_if_empty(all, s->fellows);
    }
    session_clear(s);
}

void ia_sessions_free(struct ia_sessions *sessions)
{
    if (!sessions)
        return;
    struct ia_session *s, *next;
    HASH_ITER(hh, sessions->by_client, s, next)
        forget(sessions, s);
    free(sessions);
}

struct ia_session *ia_session_find(struct ia_sessions *sessions, const struct mosquitto *client)
{
    struct ia_session **slot = recent_slot(sessions, client), *s = NULL;
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

bool ia_session_has_certificate(const struct ia_session *session, X509 *leaf)
{
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    return session->has_leaf && hash_certificate(leaf, fingerprint) &&
           memcmp(fingerprint, session->leaf, sizeof fingerprint) == 0;
}

bool ia_session_is_of(const struct ia_session *session, const struct mosquitto *client)
{
    const char *id = mosquitto_client_id(client), *username = mosquitto_client_username(client);
    if (!id || strcmp(id, session->client_id) != 0)
        return false;
    /* Of a handed-on client another plugin may change it. */
    bool is_named = session->kind == IA_SESSION_DEVICE || session->kind == IA_SESSION_APP;
    if (is_named && username && strcmp(username, ia_session_username(session)) != 0)
        return false;
    X509 *certificate = mosquitto_client_certificate(client);
    bool same = !certificate || ia_session_has_certificate(session, certificate);
    X509_free(certificate);
    return same;
}

const char *ia_session_username(const struct ia_session *session)
{
    return session->username ? session->username : "";
}

bool ia_session_set_device(struct ia_sessions *sessions, struct ia_session *session, struct ia_device *device)
{
    struct ia_fellows *fellows = fellows_get(sessions, ia_device_id(device));
    if (!fellows) {
        ia_device_free(device);
        return false;
    }
    session->device = device;
    session->fellows = fellows;
    DL_APPEND2(fellows->sessions, session, prev_same, next_same);
    return true;
}

/* A stranger owns nothing: no username, no client id. */
static bool name_session(struct ia_sessions *all, struct ia_session *s, const char *client_id, const char *username)
{
    s->client_id = strdup(client_id);
    s->username = username ? strdup(username) : NULL;
    if (!s->client_id || (username && !s->username))
        return false;
    return !username || owner_add(all, s->client_id, s);
}

struct ia_session *ia_session_open(struct ia_sessions *sessions, const struct mosquitto *client,
                                   enum ia_session_kind kind, const char *client_id, const char *username)
{
    struct ia_session *old = ia_session_find(sessions, client);
    if (old)
        forget(sessions, old);
    struct ia_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->client = client;
    s->kind = kind;
    X509 *leaf = mosquitto_client_certificate(client);
    s->has_leaf = hash_certificate(leaf, s->leaf);
    X509_free(leaf);
    s->ends = INT64_MAX;
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

void ia_session_drop(struct ia_sessions *sessions, struct ia_session *session)
{
    forget(sessions, session);
}

void ia_session_end(struct ia_sessions *sessions, struct ia_session *session)
{
    if (!session->live)
        return;
    session->live = false;
    sessions->n_live--;
    condemned_remove(sessions, session);
    session->passing = !session->may_persist && session->kind != IA_SESSION_STRANGER;
    if (session->passing)
        LL_PREPEND2(sessions->passing, session, next_passing);
}

struct ia_session *ia_session_owner(const struct ia_sessions *sessions, const char *client_id)
{
    struct owner *o = owner_find(sessions, client_id);
    struct ia_session *s;
    if (!o)
        return NULL;
    DL_FOREACH2(o->sessions, s, next_owned)
        if (s->live)
            return s;
    return o->sessions;
}

struct ia_session *ia_session_newest(const struct ia_sessions *sessions, const char *client_id)
{
    struct owner *o = owner_find(sessions, client_id);
    return o ? o->sessions : NULL;
}

void ia_sessions_of_device(struct ia_sessions *sessions, const char *device_id, ia_session_fn *fn, void *ctx)
{
    struct ia_fellows *f = NULL;
    HASH_FIND(hh, sessions->by_device, device_id, strlen(device_id), f);
    struct ia_session *s, *next;
    if (!f)
        return;
    DL_FOREACH_SAFE2(f->sessions, s, next, next_same)
        fn(ctx, s);
}

void ia_sessions_each(struct ia_sessions *sessions, ia_session_fn *fn, void *ctx)
{
    for (struct ia_session *s = sessions->by_client; s; s = s->hh.next)
        fn(ctx, s);
}

void ia_sessions_walk_begin(struct ia_sessions *sessions)
{
    sessions->at = sessions->by_client;
}

struct ia_session *ia_sessions_walk(struct ia_sessions *sessions)
{
    while (sessions->at) {
        struct ia_session *s = sessions->at;
        sessions->at = s->hh.next;
        if (s->live)
            return s;
    }
    return NULL;
}

void ia_sessions_tidy(struct ia_sessions *sessions)
{
    struct ia_session *s;
    while ((s = sessions->passing) != NULL)
        forget(sessions, s);
}

void ia_session_condemn(struct ia_sessions *sessions, struct ia_session *session, enum ia_reason reason)
{
    if (!session->live || session->condemned != IA_R_NONE)
        return;
    session->condemned = reason;
    session->waits_for_kick = true;
    DL_APPEND2(sessions->condemned, session, prev_condemned, next_condemned);
}

struct ia_session *ia_sessions_next_condemned(struct ia_sessions *sessions)
{
    struct ia_session *s = sessions->condemned;
    if (s)
        condemned_remove(sessions, s);
    return s;
}

size_t ia_sessions_live(const struct ia_sessions *sessions)
{
    return sessions->n_live;
}
