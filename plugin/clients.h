// SPDX-License-Identifier: ISC
/* Who is behind each connection.  Keyed by Mosquitto's context pointer, because one client id can have two connections
 * for a moment (take-over) and a refused connection has none.
 *
 * A session goes LIVE → ENDED.  Rights outlive the connection (the will is published after DISCONNECT, a delayed one
 * much later; messages are queued for persistent sessions), so an ended session that Mosquitto may keep stays until its
 * pointer is used again.  Pointers are reused: a session is believed only while it is live, or for a client
 * that is not connected and has the same id.  Broker thread only. */
#pragma once

#include "access/rights.h"
#include "acl/ip.h"
#include "jitr/device.h"
#include "oauth/token.h"
#include "x509/chain.h"

#include <mosquitto.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

enum ia_session_kind {
    IA_SESSION_STRANGER,  /* connected past us (use_identity_as_username, say): nothing is allowed */
    IA_SESSION_HANDED_ON, /* other_clients defer: other plugins and files decide */
    IA_SESSION_DEVICE,
    IA_SESSION_APP,
};

#define IA_MEMO_TOPIC_MAX 100 /* bytes of a topic that is remembered */
#define IA_MEMO_MISSES    8   /* every so many other topics one takes its place */

struct ia_fellows; /* the sessions of one device's certificates */

/* A topic that was allowed lately, for one action: most clients use the same one again and again. */
struct ia_memo {
    bool known; /* under the present rights */
    bool retain;
    uint8_t qos;
    uint8_t missed; /* how many were allowed that were not the one remembered */
    char topic[IA_MEMO_TOPIC_MAX + 1];
};

struct ia_session {
    const struct mosquitto *client; /* key */
    enum ia_session_kind kind;
    bool live;
    bool may_persist; /* Mosquitto may keep subscriptions and queue after the connection */
    char *client_id;
    char *username;                           /* NULL for a stranger */
    struct ia_fellows *fellows;               /* NULL without a device */
    struct ia_session *prev_same, *next_same; /* of the fellows */
    struct ia_device *device;                 /* of a device, and of an app with a certificate; owned reference */
    bool has_leaf;                            /* the connection had a certificate, whoever verified it, … */
    uint8_t leaf[IA_FINGERPRINT_LEN];         /* … and this is its SHA-256 */
    bool gone;                                /* its device is no longer in the registry */
    bool unlisted;                            /* its certificate is not, though its device may be */
    struct ia_chain *chain;                   /* owned; with `device`; only its n_links links are there */
    int64_t ca_id;                            /* that the chain ended in; 0 without one */
    struct ia_token *token;                   /* of an app; owned reference */
    uint8_t token_hash[32];                   /* SHA-256 of the token it came with: tells a re-authentication */
    struct ia_ip ip;
    char address[64];
    int64_t ends;             /* seconds since 1970; INT64_MAX: no end */
    uint64_t judged;          /* generation of the snapshot that it was last judged under */
    enum ia_reason condemned; /* to be kicked for this, from the next TICK */
    bool waits_for_kick;      /* in the list of ia_sessions_next_condemned */
    bool stranded;            /* condemned, but taken over, so it cannot be kicked: nothing is allowed to it */
    struct ia_session *prev_condemned, *next_condemned;
    bool owned; /* listed under its client id */
    struct ia_session *prev_owned, *next_owned;
    unsigned denials_told; /* set of enum ia_action that an event has been written for */
    bool by_ext_auth;      /* its token came by extended authentication, not as the password */
    struct ia_rights rights;
    struct ia_memo published, received;
    UT_hash_handle hh;
    bool passing; /* ended, and in the list of those to be forgotten by ia_sessions_tidy */
    struct ia_session *next_passing;
};

struct ia_sessions;

struct ia_sessions *ia_sessions_new(void);
void ia_sessions_free(struct ia_sessions *sessions);

/* A new live session of that connection, in place of whatever was known by its pointer.  `username` NULL for a
 * stranger. NULL when out of memory. */
struct ia_session *ia_session_open(struct ia_sessions *sessions, const struct mosquitto *client,
                                   enum ia_session_kind kind, const char *client_id, const char *username);

/* The connection is over.  A session that Mosquitto cannot keep is forgotten by the next ia_sessions_tidy. */
void ia_session_end(struct ia_sessions *sessions, struct ia_session *session);

/* As if it had never been opened. */
void ia_session_drop(struct ia_sessions *sessions, struct ia_session *session);

struct ia_session *ia_session_find(struct ia_sessions *sessions, const struct mosquitto *client);

/* Is this context the one of an ended session?  Its pointer may be in use by another, which then has a connection and,
 * where it came by TLS, a certificate of its own, or (TLS-PSK) a username.  The client that is gone has none, or (its
 * will is published before the socket is closed, on 2.0.22 and 2.1) the certificate that it came with; its username is
 * the one that we gave it, until Mosquitto clears it. */
bool ia_session_is_of(const struct ia_session *session, const struct mosquitto *client);

/* Is this the certificate that the session was opened with?  False for NULL. */
bool ia_session_has_certificate(const struct ia_session *session, X509 *leaf);

/* "" for a stranger. */
const char *ia_session_username(const struct ia_session *session);

/* The live session that has this client id, or else the newest ended one; NULL: none. */
struct ia_session *ia_session_owner(const struct ia_sessions *sessions, const char *client_id);

/* The one that was opened last under this client id, live or ended; NULL: none.  Strangers have no client id. */
struct ia_session *ia_session_newest(const struct ia_sessions *sessions, const char *client_id);

/* The session came with a certificate of that device: take over one reference of the record.  Once a session.  False
 * when out of memory: the reference has been dropped. */
bool ia_session_set_device(struct ia_sessions *sessions, struct ia_session *session, struct ia_device *device);

/* Call fn for each session, live or ended, that came with a certificate of that device, apps' sessions too; fn may
 * condemn, but neither open nor end sessions. */
typedef void ia_session_fn(void *ctx, struct ia_session *session);
void ia_sessions_of_device(struct ia_sessions *sessions, const char *device_id, ia_session_fn *fn, void *ctx);

/* The same for each session of all. */
void ia_sessions_each(struct ia_sessions *sessions, ia_session_fn *fn, void *ctx);

/* Walk live sessions: returns the next after the walk's place, NULL at its end (the walk then begins anew). */
struct ia_session *ia_sessions_walk(struct ia_sessions *sessions);
void ia_sessions_walk_begin(struct ia_sessions *sessions);

/* A live session may no longer be here: it waits to be kicked, once.  Nothing for one that is condemned already. */
void ia_session_condemn(struct ia_sessions *sessions, struct ia_session *session, enum ia_reason reason);

/* The session that has waited longest to be kicked, no longer in the list; NULL: none. */
struct ia_session *ia_sessions_next_condemned(struct ia_sessions *sessions);

/* Forget ended sessions that can have nothing more to ask for (their will is out): their pointers may be used again. */
void ia_sessions_tidy(struct ia_sessions *sessions);

size_t ia_sessions_live(const struct ia_sessions *sessions);
