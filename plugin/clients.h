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

enum ia_client_kind {
    IA_CLIENT_UNAUTHENTICATED, /* connected past us (use_identity_as_username, say): nothing is allowed */
    IA_CLIENT_DEFERRED,        /* other_clients defer: other plugins and files decide */
    IA_CLIENT_DEVICE,
    IA_CLIENT_APP,
};

#define IA_LAST_TOPIC_TOPIC_MAX 100 /* bytes of a topic that is remembered */
#define IA_LAST_TOPIC_MISSES    8   /* every so many other topics one takes its place */

struct ia_device_clients; /* the sessions of one device's certificates */

/* A topic that was allowed lately, for one action: most clients use the same one again and again. */
struct ia_last_topic {
    bool known; /* under the present rights */
    bool retain;
    uint8_t qos;
    uint8_t missed; /* how many were allowed that were not the one remembered */
    char topic[IA_LAST_TOPIC_TOPIC_MAX + 1];
};

struct ia_client {
    const struct mosquitto *client; /* key */
    enum ia_client_kind kind;
    bool live;
    bool may_persist; /* Mosquitto may keep subscriptions and queue after the connection */
    char *client_id;
    char *username;                                        /* NULL for a stranger */
    struct ia_device_clients *same_device;                 /* NULL without a device */
    struct ia_client *prev_same_device, *next_same_device; /* of the fellows */
    struct ia_device *device;         /* of a device, and of an app with a certificate; owned reference */
    bool has_leaf;                    /* the connection had a certificate, whoever verified it, … */
    uint8_t leaf[IA_FINGERPRINT_LEN]; /* … and this is its SHA-256 */
    bool device_deleted;              /* its device is no longer in the registry */
    bool certificate_deleted;         /* its certificate is not, though its device may be */
    struct ia_chain *chain;           /* owned; with `device`; only its n_links links are there */
    int64_t ca_id;                    /* that the chain ended in; 0 without one */
    struct ia_token *token;           /* of an app; owned reference */
    uint8_t token_hash[32];           /* SHA-256 of the token it came with: tells a re-authentication */
    struct ia_ip ip;
    char address[64];
    int64_t expires_at;               /* seconds since 1970; INT64_MAX: no end */
    uint64_t validated_generation;    /* generation of the snapshot that it was last judged under */
    enum ia_reason disconnect_reason; /* to be kicked for this, from the next TICK */
    bool disconnect_pending;          /* in the list of ia_clients_next_disconnect */
    bool cannot_disconnect;           /* condemned, but taken over, so it cannot be kicked: nothing is allowed to it */
    struct ia_client *prev_disconnect, *next_disconnect;
    bool owned; /* listed under its client id */
    struct ia_client *prev_owned, *next_owned;
    unsigned denials_reported; /* set of enum ia_action that an event has been written for */
    bool by_ext_auth;          /* its token came by extended authentication, not as the password */
    struct ia_rights rights;
    struct ia_last_topic published, received;
    UT_hash_handle hh;
    bool pending_free; /* ended, and in the list of those to be forgotten by ia_clients_tidy */
    struct ia_client *next_pending_free;
};

struct ia_clients;

struct ia_clients *ia_clients_new(void);
void ia_clients_free(struct ia_clients *sessions);

/* A new live session of that connection, in place of whatever was known by its pointer.  `username` NULL for a
 * stranger. NULL when out of memory. */
struct ia_client *ia_client_open(struct ia_clients *sessions, const struct mosquitto *client, enum ia_client_kind kind,
                                 const char *client_id, const char *username);

/* The connection is over.  A session that Mosquitto cannot keep is forgotten by the next ia_clients_tidy. */
void ia_client_end(struct ia_clients *sessions, struct ia_client *session);

/* As if it had never been opened. */
void ia_client_drop(struct ia_clients *sessions, struct ia_client *session);

struct ia_client *ia_client_find(struct ia_clients *sessions, const struct mosquitto *client);

/* Is this context the one of an ended session?  Its pointer may be in use by another, which then has a connection and,
 * where it came by TLS, a certificate of its own, or (TLS-PSK) a username.  The client that is gone has none, or (its
 * will is published before the socket is closed, on 2.0.22 and 2.1) the certificate that it came with; its username is
 * the one that we gave it, until Mosquitto clears it. */
bool ia_client_is_of(const struct ia_client *session, const struct mosquitto *client);

/* Is this the certificate that the session was opened with?  False for NULL. */
bool ia_client_has_certificate(const struct ia_client *session, X509 *leaf);

/* "" for a stranger. */
const char *ia_client_username(const struct ia_client *session);

/* The live session that has this client id, or else the newest ended one; NULL: none. */
struct ia_client *ia_client_owner(const struct ia_clients *sessions, const char *client_id);

/* The one that was opened last under this client id, live or ended; NULL: none.  Strangers have no client id. */
struct ia_client *ia_client_newest(const struct ia_clients *sessions, const char *client_id);

/* The session came with a certificate of that device: take over one reference of the record.  Once a session.  False
 * when out of memory: the reference has been dropped. */
bool ia_client_set_device(struct ia_clients *sessions, struct ia_client *session, struct ia_device *device);

/* Call fn for each session, live or ended, that came with a certificate of that device, apps' sessions too; fn may
 * condemn, but neither open nor end sessions. */
typedef void ia_client_fn(void *ctx, struct ia_client *session);
void ia_clients_of_device(struct ia_clients *sessions, const char *device_id, ia_client_fn *fn, void *ctx);

/* The same for each session of all. */
void ia_clients_each(struct ia_clients *sessions, ia_client_fn *fn, void *ctx);

/* Walk live sessions: returns the next after the walk's place, NULL at its end (the walk then begins anew). */
struct ia_client *ia_clients_scan(struct ia_clients *sessions);
void ia_clients_scan_begin(struct ia_clients *sessions);

/* A live session may no longer be here: it waits to be kicked, once.  Nothing for one that is condemned already. */
void ia_client_mark_disconnect(struct ia_clients *sessions, struct ia_client *session, enum ia_reason reason);

/* The session that has waited longest to be kicked, no longer in the list; NULL: none. */
struct ia_client *ia_clients_next_disconnect(struct ia_clients *sessions);

/* Forget ended sessions that can have nothing more to ask for (their will is out): their pointers may be used again. */
void ia_clients_tidy(struct ia_clients *sessions);

size_t ia_clients_live(const struct ia_clients *sessions);
