// SPDX-License-Identifier: ISC
/* The clients of the broker as this plugin knows them: who is behind each connection.  Keyed by Mosquitto's context
 * pointer, because one client id can have two connections for a moment (take-over) and a refused one has none.
 *
 * A client is live until its DISCONNECT.  Its rights outlive the connection: the will is published after DISCONNECT, a
 * delayed one much later, and messages are queued for persistent sessions.  So the record of a device or app whose
 * session Mosquitto may keep stays, bounded in number; beyond the bound only who owns the client id is remembered
 * (kept_sessions.h).  Ownership comes from accepted logins alone.  Of a client that is left to other plugins, or that
 * was never authenticated here, nothing but context and kind is kept, and nothing after its DISCONNECT.
 *
 * Mosquitto reuses pointers: a record counts only while it is live, or for a client that is not connected and has the
 * same id.  Other files read the members and change them through the functions below.  Broker thread only. */
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
    IA_CLIENT_UNAUTHENTICATED, /* connected without this plugin (use_identity_as_username): nothing is allowed */
    IA_CLIENT_DEFERRED,        /* other_clients defer: other plugins and files decide */
    IA_CLIENT_DEVICE,
    IA_CLIENT_APP,
};

/* Does Mosquitto keep the session after the connection? */
enum ia_client_keep {
    IA_KEEP_NO,
    IA_KEEP_MAYBE, /* MQTT 5 on Mosquitto 2.0, which does not let a plugin see the session expiry interval */
    IA_KEEP_YES,
};

/* Records of ended sessions that stay whole; the oldest are reduced to their owner first. */
#define IA_ENDED_MAYBE_MAX 500
#define IA_ENDED_MAX       100000

#define IA_LAST_TOPIC_MAX    100 /* bytes of a topic that is cached */
#define IA_LAST_TOPIC_MISSES 8   /* cache misses until another topic is cached instead */

/* The topic that was allowed last, for one action: most clients use the same one again and again. */
struct ia_last_topic {
    bool known; /* under the present rights */
    bool retain;
    uint8_t qos;
    uint8_t misses;
    char topic[IA_LAST_TOPIC_MAX + 1];
};

/* What acl_check.c keeps for a client; only that file changes it. */
struct ia_client_check {
    struct ia_rights rights;
    struct ia_last_topic published, received;
    unsigned denials_reported;              /* set of enum ia_action that an event has been written for */
    struct ia_shared_subscriptions *shared; /* shared_subscriptions.c; owned, NULL: none */
};

struct ia_device_clients; /* the clients of one device's certificates */

struct ia_client {
    const struct mosquitto *context; /* key */
    enum ia_client_kind kind;
    bool live;
    enum ia_client_keep keep;
    char *client_id; /* NULL unless a device or app */
    char *username;  /* likewise */
    uint64_t client_id_hash;
    bool has_leaf;                    /* the connection had a certificate, whoever verified it, … */
    uint8_t leaf[IA_FINGERPRINT_LEN]; /* … and this is its SHA-256 */
    struct ia_device *device;         /* of a device, and of an app with a certificate; owned reference */
    struct ia_chain *chain;           /* owned; with `device`; only its n_links links are there */
    struct ia_token *token;           /* of an app; owned reference */
    uint8_t token_hash[32];           /* SHA-256 of the token it came with: recognises a re-authentication */
    bool by_ext_auth;                 /* the token came by extended authentication, not as the password */
    struct ia_ip ip;
    char address[64];
    bool device_deleted;              /* its device is no longer in the registry */
    bool certificate_deleted;         /* its certificate is not, though its device may be */
    int64_t expires_at;               /* first second at which it is over, since 1970; INT64_MAX: never */
    uint64_t validated_generation;    /* of the snapshot that it was last validated under */
    enum ia_reason disconnect_reason; /* IA_R_NONE, or why it is to be disconnected from the next TICK */
    bool caused_by_client;            /* a packet of the client caused the disconnect; login.c alone changes it */
    bool cannot_disconnect;           /* the broker does not end it: nothing is allowed to it */
    struct ia_client_check check;

    /* clients.c alone */
    UT_hash_handle hh;
    bool disconnect_pending; /* in the list of ia_clients_next_disconnect */
    bool owns_client_id;     /* listed under its client id */
    bool pending_free;       /* ended, and in the list of those that ia_clients_tidy frees */
    bool is_kept;            /* ended, and in one of the lists of kept sessions */
    struct ia_device_clients *same_device;
    struct ia_client *prev_same_device, *next_same_device;
    struct ia_client *prev_disconnect, *next_disconnect;
    struct ia_client *prev_owned, *next_owned;
    struct ia_client *prev_ended, *next_ended; /* in either list */
};

struct ia_clients;

struct ia_clients *ia_clients_new(void);
void ia_clients_free(struct ia_clients *clients);

/* ---- one client */

/* A new live client of that connection, in place of whatever was known by its pointer.  Client id and username are
 * those of a device or app; of other kinds the client id serves to recognise it until its DISCONNECT, and is not kept.
 * NULL when out of memory. */
struct ia_client *ia_client_open(struct ia_clients *clients, const struct mosquitto *context, enum ia_client_kind kind,
                                 const char *client_id, const char *username);

/* What a login established: all of it is taken over, also on failure.  False when out of memory. */
struct ia_client_facts {
    struct ia_device *device; /* NULL: none */
    struct ia_chain *chain;   /* allocated; NULL: none */
    struct ia_token *token;   /* NULL: none */
    struct ia_ip ip;
    const char *address; /* NULL: not known */
    enum ia_client_keep keep;
    bool by_ext_auth;
};
bool ia_client_set_facts(struct ia_clients *clients, struct ia_client *client, const struct ia_client_facts *facts);

/* Address and keep alone, of a client without credentials. */
void ia_client_set_address(struct ia_client *client, const struct ia_ip *ip, const char *address,
                           enum ia_client_keep keep);

/* The login of this device or app is accepted: all older sessions of its client id are over.  Live ones get their
 * DISCONNECT yet (take-over), and are freed after it. */
void ia_client_accept(struct ia_clients *clients, struct ia_client *client);

/* The connection has ended.  A record that is not to be kept is freed by the next ia_clients_tidy.  Of a client that
 * has ended already only IA_KEEP_NO has an effect: the broker has dropped its session. */
void ia_client_end(struct ia_clients *clients, struct ia_client *client, enum ia_client_keep keep);

/* As if it had never been opened. */
void ia_client_drop(struct ia_clients *clients, struct ia_client *client);

struct ia_client *ia_client_find(struct ia_clients *clients, const struct mosquitto *context);

/* A new client has come under this pointer: the ended session that was there is over, and owns nothing any more. */
void ia_client_forget_ended(struct ia_clients *clients, const struct mosquitto *context);

/* Is this context the one of an ended session?  Its pointer may be in use by another client, which then has a
 * connection and, where it came by TLS, a certificate of its own, or (TLS-PSK) a username.  The client that has
 * disconnected has none, or (its will is published before the socket is closed, on 2.0.22 and 2.1) the certificate that
 * it came with; its username is the one that we gave it, until Mosquitto clears it. */
bool ia_client_is_of(const struct ia_client *client, const struct mosquitto *context);

/* Is this the certificate that the client came with?  False for NULL. */
bool ia_client_has_certificate(const struct ia_client *client, X509 *leaf);

/* The registered CA that its chain ended in, or that its device belongs to; 0: none. */
static inline int64_t ia_client_ca_id(const struct ia_client *client)
{
    if (client->chain)
        return client->chain->ca_id;
    return client->device && !client->token ? client->device->device_ca_id : 0;
}

/* "" for clients that are neither device nor app. */
const char *ia_client_username(const struct ia_client *client);

/* The record of its device has changed. */
void ia_client_set_device(struct ia_client *client, struct ia_device *device);

/* Its certificate, or with `device_too` its device, is no longer in the registry. */
void ia_client_set_deleted(struct ia_client *client, bool device_too);

/* It has authenticated again: takes the token over. */
void ia_client_set_token(struct ia_client *client, struct ia_token *token);
void ia_client_set_token_hash(struct ia_client *client, const uint8_t hash[32]);

/* It was validated under that snapshot; expires then. */
void ia_client_set_validated(struct ia_client *client, uint64_t generation);
void ia_client_set_expiry(struct ia_client *client, int64_t expires_at);
void ia_client_set_cannot_disconnect(struct ia_client *client, bool cannot);

/* ---- client ids */

/* The live client that has this client id, or else the newest ended one; NULL: none in memory. */
struct ia_client *ia_client_owner(const struct ia_clients *clients, const char *client_id);

/* The client that came last under this client id, live or ended; NULL: none. */
struct ia_client *ia_client_newest(const struct ia_clients *clients, const char *client_id);

/* The client that came before this device or app under its client id, and was not forgotten since; NULL: none. */
struct ia_client *ia_client_previous(const struct ia_client *client);

/* Ended sessions beyond those in memory: does the client id belong to another principal; was this context, with its
 * client id, that of `username` (NULL: of a client that was left to other plugins)? */
bool ia_clients_kept_conflicts(const struct ia_clients *clients, const char *client_id, const char *username);
bool ia_clients_kept_is_of(const struct ia_clients *clients, const struct mosquitto *context, const char *username);

/* Is this principal known to own the client id, live or ended? */
bool ia_clients_is_owner(const struct ia_clients *clients, const char *client_id, const char *username);

/* Of before the broker's start, by the keys of kept_sessions.h: without memory nothing is remembered. */
void ia_clients_restore_owner(struct ia_clients *clients, uint64_t client_id_key, uint64_t principal_key);

/* An administrator has released the client id: its owner loses it, unless the owner is connected. True: it has no owner
 * now. */
bool ia_clients_release_client_id(struct ia_clients *clients, const char *client_id);

/* Was it released, and not taken by an accepted login since?  *ended: its owner was known, and had disconnected. */
bool ia_clients_is_released(const struct ia_clients *clients, const char *client_id, bool *ended);

/* ---- many clients */

/* Call fn for each client, live or ended, that came with a certificate of that device, apps too; fn may mark for
 * disconnect, but neither open nor end clients. */
typedef void ia_client_fn(void *ctx, struct ia_client *client);
void ia_clients_of_device(struct ia_clients *clients, const char *device_id, ia_client_fn *fn, void *ctx);

/* The same for each client of all. */
void ia_clients_each(struct ia_clients *clients, ia_client_fn *fn, void *ctx);

/* Scan the live clients, and the ended ones that have shared subscriptions: returns the next one, NULL at the end. */
struct ia_client *ia_clients_scan(struct ia_clients *clients);
void ia_clients_scan_begin(struct ia_clients *clients);

/* A live client is to be disconnected, once.  Nothing for one that is marked already. */
void ia_client_mark_disconnect(struct ia_clients *clients, struct ia_client *client, enum ia_reason reason);

/* Put a marked client that is still live into the list again. */
void ia_client_retry_disconnect(struct ia_clients *clients, struct ia_client *client);

/* The client that has waited longest to be disconnected, no longer in the list; NULL: none. */
struct ia_client *ia_clients_next_disconnect(struct ia_clients *clients);

/* Free ended clients that can ask for nothing more (their will is out), and reduce kept ones beyond the bounds. */
void ia_clients_tidy(struct ia_clients *clients);

size_t ia_clients_live(const struct ia_clients *clients);

/* ---- for the tests */

size_t ia_clients_kept(const struct ia_clients *clients); /* sessions of which only the owner is remembered */
