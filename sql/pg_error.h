// SPDX-License-Identifier: ISC
/* The diagnosis of an error of the server or of libpq, in an administrator's words: one line, no password. */
#pragma once

#include "common/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* Ordered by how specific the diagnosis is: of several hosts, the one with the highest rank is reported. */
enum ia_pg_error_rank {
    IA_RANK_NONE,
    IA_RANK_UNREACHABLE,
    IA_RANK_TIMEOUT,
    IA_RANK_BUSY, /* starting up, shutting down, out of connections */
    IA_RANK_READ_ONLY,
    IA_RANK_NEEDS_ADMIN, /* authentication, TLS, schema: requires administrator action */
};

struct ia_pg_error {
    enum ia_pg_error_rank rank;
    const char *what; /* static: "authentication failed" */
    enum ia_rc rc;
    bool lost; /* drop the connection: another one may succeed */
};

/* Diagnose an SQLSTATE ("" or NULL: none was given) of a connection or statement that failed. */
struct ia_pg_error ia_pg_error_of_state(const char *sqlstate);

/* Does this SQLSTATE say that a lock was not obtained: the wait was limited, or would have been for ever? */
bool ia_pg_error_is_lock(const char *sqlstate);

/* Does this SQLSTATE say that a prepared statement is to be prepared again? */
bool ia_pg_error_unprepared(const char *sqlstate);

/* Diagnose the message of a connection attempt made with PQERRORS_VERBOSE: by the SQLSTATE in it, else by libpq's
 * words. */
struct ia_pg_error ia_pg_error_of_message(const char *message);

/* The core of such a message in out[size]: first line, without the part before 'failed:', severity, SQLSTATE and
 * control characters; `password` (may be NULL) is replaced by ***. */
void ia_pg_error_text(const char *message, const char *password, char *out, size_t size);
