// SPDX-License-Identifier: ISC
/* What went wrong, in the words of an administrator: one line, no password. */
#pragma once

#include "common/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* In the order of how much they say: of several hosts, the last is reported. */
enum ia_pg_error_rank {
    IA_RANK_NONE,
    IA_RANK_UNREACHABLE,
    IA_RANK_TIMEOUT,
    IA_RANK_BUSY, /* starting up, shutting down, out of connections */
    IA_RANK_READ_ONLY,
    IA_RANK_NEEDS_ADMIN, /* authentication, TLS, schema: mends itself only when somebody mends it */
};

struct ia_pg_error {
    enum ia_pg_error_rank rank;
    const char *what; /* static: "authentication failed" */
    enum ia_rc rc;
    bool lost; /* the connection is of no more use */
};

/* Judge an SQLSTATE ("" or NULL: none was given) of a connection or statement that failed. */
struct ia_pg_error ia_pg_error_of_state(const char *sqlstate);

/* Judge the message of a connection attempt made with PQERRORS_VERBOSE: by the SQLSTATE in it, else by libpq's
 * words. */
struct ia_pg_error ia_pg_error_of_message(const char *message);

/* The core of such a message in out[size]: first line, without the part before 'failed:', severity, SQLSTATE and
 * control characters; `password` (may be NULL) is blotted out. */
void ia_pg_error_text(const char *message, const char *password, char *out, size_t size);
