// SPDX-License-Identifier: ISC
/* Inside sql/ only: the connection and how statements are run on it.
 *
 *   db.c       the table of statements, life of a struct ia_db
 *   io.c       waiting: poll() on socket and wake fd with deadline and stop
 *   connect.c  hosts in turn, session settings, LISTEN, preparing
 *   query.c    running prepared statements, one or several in one round trip
 *   decode.c   answers to rows, by tables of columns
 *   copy.c     the registry as a stream
 *   pg_error.c the diagnosis of an error of the server or of libpq */
#pragma once

#include "common/clock.h"
#include "common/error.h"
#include "sql/arena.h"
#include "sql/codec.h"
#include "sql/conninfo.h"
#include "sql/db.h"
#include "sql/devices.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_db {
    struct ia_conninfo info;
    int connect_timeout_ms, query_timeout_ms;
    int wake_fd;
    const atomic_bool *stop;
    bool woken; /* the wake fd was read while a statement ran: the next ia_db_wait returns at once */
    PGconn *conn;
    PGnotify *notification; /* taken from libpq, not yet by the caller */
    char peer[128];         /* "host:port", "" without a connection */
};

/* ---- db.c ---- */

enum ia_statement {
    IA_S_CAS,
    IA_S_CRLS,
    IA_S_ROLES,
    IA_S_RULES,
    IA_S_IPS,
    IA_S_ISSUERS,
    IA_S_SCOPES,
    IA_S_DEVICE_BY_FINGERPRINT,
    IA_S_DEVICES_BY_ID,
    IA_S_REGISTER,
    IA_S_SET_CA_PARSED,
    IA_S_SET_CERTIFICATE_PARSED,
    IA_S_SET_RULE_PROBLEM,
    IA_S_SET_ISSUER_PROBLEM,
    IA_S_WRITE_EVENTS,
    IA_S_HEARTBEAT,
    IA_S_CONNECTED,
    IA_S_PRUNE,
    IA_S_UNPARSED,
    IA_S_EVENT_TAIL,
    IA_S_LAST_EVENT,
    IA_STATEMENTS
};

#define IA_PARAMS_MAX 9

struct ia_statement_text {
    const char *name, *sql;
    int n_params;
    Oid types[IA_PARAMS_MAX];
};
extern const struct ia_statement_text ia_statements[IA_STATEMENTS];
extern const char *const ia_device_parts[IA_DEVICE_PARTS];

/* ---- io.c ---- */

/* Wait for any of poll()'s `events` on `fd` (-1: none) until `deadline_ms` (ia_monotonic_ms).  IA_OK with *ready (may be NULL) saying
 * whether it came; a wake-up sets db->woken and does not end the wait.  IA_UNAVAILABLE when `stop` is set. */
IA_MUST_USE enum ia_rc ia_db_poll(struct ia_db *db, int fd, short events, int64_t deadline_ms, bool *ready,
                                  struct ia_err *err);
bool ia_db_stopped(const struct ia_db *db);

/* Drop the connection and say why in the words of libpq. */
enum ia_rc ia_db_lost(struct ia_db *db, struct ia_err *err);

/* ---- query.c ---- */

/* Parameters of one statement; values live in the arena or are borrowed. */
struct ia_params {
    int n;
    bool nomem;
    const char *values[IA_PARAMS_MAX];
    int lengths[IA_PARAMS_MAX];
    uint8_t fixed[IA_PARAMS_MAX][8];
    struct ia_arena arena;
};
void ia_params_text(struct ia_params *p, const char *text); /* borrowed; may be NULL */
void ia_params_bytes(struct ia_params *p, const uint8_t *bytes, size_t len);
void ia_params_int8(struct ia_params *p, int64_t value);
void ia_params_time_s(struct ia_params *p, int64_t seconds);         /* since 1970, 0: NULL */
void ia_params_value(struct ia_params *p, struct ia_pg_value value); /* an encoded array; .bytes NULL: out of memory */
void ia_params_clear(struct ia_params *p);

/* Run one statement within the query timeout.  On IA_OK the caller owns *out (PQclear), which holds rows in binary.
 * `params` NULL: it has none. */
IA_MUST_USE enum ia_rc ia_db_query(struct ia_db *db, enum ia_statement which, struct ia_params *params, PGresult **out,
                                   struct ia_err *err);

/* The same where no rows are of interest; takes the parameters away (ia_params_clear) in any case. */
IA_MUST_USE enum ia_rc ia_db_exec(struct ia_db *db, enum ia_statement which, struct ia_params *params,
                                  struct ia_err *err);

/* Pipelines: begin, send any number of times, sync, then ia_db_next_result once for each that was sent, then end.  When one is
 * refused the server skips the others: end at once.  The connection is dropped on any other failure. */
IA_MUST_USE enum ia_rc ia_db_pipeline_begin(struct ia_db *db, struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_next_result(struct ia_db *db, int64_t deadline_ms, const char *name, PGresult **out,
                                         struct ia_err *err);
/* The same where only success matters. */
IA_MUST_USE enum ia_rc ia_db_skip_result(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_pipeline_end(struct ia_db *db, int64_t deadline_ms, struct ia_err *err);

/* Wait once for the server to send more, and read it.  The connection is dropped on any failure. */
IA_MUST_USE enum ia_rc ia_db_read_more(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err);

/* The next result within the query timeout: must be of that status; or there must be none left. */
IA_MUST_USE enum ia_rc ia_db_expect(struct ia_db *db, const char *name, ExecStatusType status, struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_expect_end(struct ia_db *db, const char *name, struct ia_err *err);

/* ---- devices.c ---- */

/* Decode one row of iot_auth.broker_device from the values of its columns (NULL: .bytes NULL) into *row, zeroed. */
#define IA_DEVICE_COLUMNS 10
IA_MUST_USE enum ia_rc ia_device_row_decode(const struct ia_pg_value values[IA_DEVICE_COLUMNS], struct ia_arena *arena,
                                            struct ia_device_row *row, struct ia_err *err);

/* ---- decode.c ---- */

enum ia_column_kind {
    IA_COL_INT64,  /* int64_t; NULL: 0 */
    IA_COL_INT,    /* int; NULL: 0 */
    IA_COL_BOOL,   /* bool */
    IA_COL_TEXT,   /* const char * into the result; NULL: NULL */
    IA_COL_TEXTS,  /* struct ia_texts in the arena; NULL: empty */
    IA_COL_SHA256, /* uint8_t[32] */
    IA_COL_TIME_S, /* int64_t seconds since 1970; NULL: 0 */
    IA_COL_ACTIVE, /* bool: is the word ACTIVE? */
    IA_COL_WORD,   /* an enumeration: the value of a word in `words`, 0 for any other text */
};

struct ia_word {
    const char *text; /* NULL ends the list */
    unsigned value;
};

struct ia_column {
    const char *name;
    enum ia_column_kind kind;
    size_t offset; /* of the field in the row */
    bool null_ok;
    const struct ia_word *words;
};

/* Rows of a table of columns: the column that fills `member` of a row of type `row`, NOT_NULL or NULLABLE.  The kind
 * follows from the member's type, so that a table that does not fit its struct does not compile. */
enum { NOT_NULL = false, NULLABLE = true };
#define IA_MEMBER(row, member) (&((row *)0)->member)
#define IA_COLUMN_OF(row, member, kind, nullable, words)                                                               \
    {                                                                                                                  \
#member, kind, offsetof(row, member), nullable, words                                                          \
    }
#define IA_COLUMN(row, member, nullable)                                                                               \
    IA_COLUMN_OF(row, member,                                                                                          \
                 _Generic(IA_MEMBER(row, member),                                                                      \
                     int64_t *: IA_COL_INT64,                                                                          \
                     int *: IA_COL_INT,                                                                                \
                     bool *: IA_COL_BOOL,                                                                              \
                     const char **: IA_COL_TEXT,                                                                       \
                     struct ia_texts *: IA_COL_TEXTS,                                                                  \
                     uint8_t(*)[IA_FINGERPRINT_LEN]: IA_COL_SHA256),                                                   \
                 nullable, NULL)
#define IA_COLUMN_TIME(row, member, nullable)                                                                          \
    IA_COLUMN_OF(row, member, _Generic(IA_MEMBER(row, member), int64_t * : IA_COL_TIME_S), nullable, NULL)
#define IA_COLUMN_WORD(row, member, words)                                                                             \
    IA_COLUMN_OF(row, member, _Generic(IA_MEMBER(row, member), unsigned * : IA_COL_WORD), NOT_NULL, words)

#define IA_COLUMN_ACTIVE(row, member)                                                                                  \
    IA_COLUMN_OF(row, member, _Generic(IA_MEMBER(row, member), bool * : IA_COL_ACTIVE), NOT_NULL, NULL)

struct ia_columns {
    size_t n;
    size_t row_size;
    const struct ia_column *list;
};
#define IA_COLUMNS(table, row)                                                                                         \
    {                                                                                                                  \
        sizeof(table) / sizeof((table)[0]), sizeof(row), table                                                         \
    }

/* The rows of an answer and the memory they stand on. */
struct ia_decoded {
    void *rows;
    size_t n;
};

/* Decode one value (.bytes NULL: it is NULL) into its field of *row, which is zeroed.  Texts point into the value,
 * which a NUL must follow. */
IA_MUST_USE enum ia_rc ia_db_decode_value(const struct ia_column *column, struct ia_pg_value value,
                                          struct ia_arena *arena, void *row, struct ia_err *err);

/* Decode all rows of `result`, from its column `first` on, into an array in the arena.  Texts point into the result.
 * IA_FORMAT names the column where number or type of columns, a length or a NULL is not as it should be. */
IA_MUST_USE enum ia_rc ia_db_decode(const PGresult *result, int first, const struct ia_columns *columns,
                                    struct ia_arena *arena, struct ia_decoded *out, struct ia_err *err);
