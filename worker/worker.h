// SPDX-License-Identifier: ISC
/* The worker: the one thread that owns the connection to PostgreSQL and the fetching of keys.  It answers the broker
 * thread's requests in order, listens for changes, reads again what has changed and sends whole snapshots. */
#pragma once

#include "common/error.h"
#include "worker/channel.h"

struct ia_worker;

struct ia_worker_options {
    char *db_conninfo; /* secret */
    char *node_name;
    const char *versions; /* of plugin, Mosquitto, OpenSSL and libpq: JSON for iot_auth.node.versions; NULL: none */
    const char *program;  /* the same for the log, "plugin 0.1.0, Mosquitto 2.0.11, …"; NULL: not logged */
    char *jwks_ca_file;   /* NULL: the system's CAs */
    bool insecure_http_jwks;
    bool insecure_db_conninfo; /* a database that is not local may be reached without verified TLS */
    int64_t resync_s;          /* everything is read again that often, whatever notifications say; 0: 3600 */
    int64_t jwks_stale_max_s;  /* 0: no limit */
    char *psk_key_file;        /* the key-encryption keys of pre-shared keys; NULL: there are none */
    char *state_dir;           /* NULL: keys do not survive a restart */
    int64_t hook_timeout_ms;   /* how long a registration hook may take; 0: 100 */
};

/* Start the thread.  It connects and loads, and retries for as long as it runs.  `options` must outlive it. */
IA_MUST_USE enum ia_rc ia_worker_start(const struct ia_worker_options *options, struct ia_worker **out,
                                       struct ia_err *err);

/* Queue a request, which is taken over.  False when too many are waiting, or `request` is NULL (out of memory): the
 * request has been freed.  Broker thread. */
bool ia_worker_ask(struct ia_worker *worker, struct ia_request *request);

/* The next reply, or NULL: at once, or after at most wait_us (for the start of the broker).  Owned by the caller.  Broker
 * thread. */
struct ia_reply *ia_worker_reply(struct ia_worker *worker);
struct ia_reply *ia_worker_reply_wait(struct ia_worker *worker, int64_t wait_us);
bool ia_worker_has_reply(const struct ia_worker *worker);

/* Stop within two seconds, in whatever state the database is, and free.  Events that are still queued are written where
 * the database answers in that time.  False: the thread waits in the resolver of the C library; it goes on using
 * `options` until the process ends. */
bool ia_worker_stop(struct ia_worker *worker);
