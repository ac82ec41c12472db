// SPDX-License-Identifier: ISC
/* The connection to PostgreSQL.  Only this folder includes libpq.
 *
 * One thread owns a `struct ia_db`.  Everything runs on non-blocking sockets: each call waits in poll() for the server
 * and the wake fd, has a deadline, and gives up at once with IA_UNAVAILABLE when `stop` is set.  A call that fails for
 * any reason but a refused statement leaves the connection in doubt: it is dropped, and ia_db_connect must be called
 * again. The calls that read and write rows are in sql/rows.h, sql/devices.h and sql/records.h.
 *
 * Kinds of failure: IA_UNAVAILABLE may resolve itself (unreachable, timeout, too many connections, read-only);
 * IA_USAGE requires administrator action (authentication, schema missing or old); IA_FORMAT is an answer that does not
 * decode.  All of them are worth retrying.  No message holds the connection string or the password. */
#pragma once

#include "common/error.h"
#include "sql/db_tls.h"
#include "sql/notification.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IA_DB_SCHEMA_VERSION 25 /* the least that iot_auth.schema_version must reach: the newest of sql/migrations */

#define IA_DB_CONNECT_TIMEOUT_MS 3000  /* for one host */
#define IA_DB_QUERY_TIMEOUT_MS   10000 /* the server's statement_timeout; a call without an answer ends soon after */
#define IA_DB_LOCK_TIMEOUT_MS    300   /* an administrator's open transaction must not hold up all the others */

struct ia_db;

struct ia_db_config {
    const char *conninfo;    /* libpq connection string or URI; several hosts are tried in order */
    const char *node_name;   /* goes into application_name; may be NULL */
    const char *versions;    /* JSON for iot_auth.node.versions, not copied; NULL: none */
    bool insecure;           /* a database that is not local may be reached without verified TLS */
    int connect_timeout_ms;  /* for each host; 0: IA_DB_CONNECT_TIMEOUT_MS */
    int query_timeout_ms;    /* for each call; 0: IA_DB_QUERY_TIMEOUT_MS */
    int wake_fd;             /* non-blocking eventfd that ends waits, read here only; -1: none */
    const atomic_bool *stop; /* once true, every call returns IA_UNAVAILABLE (signal wake_fd too); may be NULL */
};

/* Check the connection string (IA_USAGE when it does not parse) and copy the configuration.  Does not connect. */
IA_MUST_USE enum ia_rc ia_db_new(const struct ia_db_config *config, struct ia_db **out, struct ia_err *err);
void ia_db_free(struct ia_db *db);

/* Connect again: each host in turn until one is a primary that takes writes; check the schema version; LISTEN (committed
 * on return, so what is read from now on misses nothing); prepare all statements.  Notifications of an earlier
 * connection are lost: read everything again.  Host names are looked up by the resolver of the C library, whose own
 * time-out bounds that step. */
IA_MUST_USE enum ia_rc ia_db_connect(struct ia_db *db, struct ia_err *err);
void ia_db_disconnect(struct ia_db *db);
bool ia_db_connected(const struct ia_db *db);

/* Where the connection leads ("host:port"), and how it is protected. */
const char *ia_db_peer(const struct ia_db *db);
enum ia_db_tls ia_db_tls(const struct ia_db *db);

/* What is at both ends of the connection, in out[size]: "libpq 15.18, PostgreSQL 15.18 (local), schema 18". */
void ia_db_describe(const struct ia_db *db, char *out, size_t size);

/* Wait for a notification, the wake fd, `also_fd` (-1: none; the caller reads it) or `timeout_ms` (0: look only),
 * whichever is first.  A wake-up that came during an earlier call counts.  Without a connection it waits for the two
 * descriptors alone.  IA_UNAVAILABLE: the connection is
 * lost, or `stop` is set; IA_OK otherwise, also on time-out: look at ia_db_notification and your own queues. */
IA_MUST_USE enum ia_rc ia_db_wait(struct ia_db *db, int also_fd, int timeout_ms, struct ia_err *err);

/* Notify channel iot_auth of `nonce` (hexadecimal), so that it comes back as a notification where LISTEN still holds.
 * Through a pooler it is sent on a connection of its own: a pooler in transaction mode hands over what arrives while it
 * works on our statement, and loses what arrives between two, which is when changes do. */
IA_MUST_USE enum ia_rc ia_db_send_nonce(struct ia_db *db, const char *nonce, struct ia_err *err);

/* Does a pooler stand between? */
bool ia_db_is_pooled(const struct ia_db *db);

/* Take the next notification that has arrived; false: none.  Does not wait. */
bool ia_db_notification(struct ia_db *db, struct ia_notification *out);
