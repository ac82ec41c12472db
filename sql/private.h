// SPDX-License-Identifier: ISC
/* Inside sql/ only: the connection and how statements are run on it.
 *
 *   db.c       the table of statements, life of a struct ia_db
 *   io.c       waiting: poll() on socket and wake fd with deadline and stop
 *   connect.c  hosts in turn, session settings, LISTEN, preparing
 *   query.c    running prepared statements, one or several in one round trip
 *   decode.c   answers to rows, by tables of columns
 *   load.c     the configuration in parts (rows.c: what they hold)
 *   narrow.c   the search for a row that makes a statement be refused
 *   copy.c     the registry as a stream
 *   pg_error.c the diagnosis of an error of the server or of libpq */
#pragma once

#include "common/clock.h"
#include "common/error.h"
#include "common/octets.h"
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
    const char *versions;
    int connect_timeout_ms, query_timeout_ms;
    int wake_fd;
    const atomic_bool *stop;
    bool prepare_again; /* the last refusal says that its statement is no longer prepared */
    bool woken;         /* the wake fd was read while a statement ran: the next ia_db_wait returns at once */
    PGconn *conn;
    size_t host;               /* the one that conn leads to */
    bool pooled;               /* the session behind conn is not the one that the server's first message named */
    char sqlstate[6];          /* of the last refusal, "": none was given */
    PGnotify *notification;    /* taken from libpq, not yet by the caller */
    char peer[128];            /* "host:port", "" without a connection */
    int64_t schema_version;    /* of the connection, or of the last one */
    size_t n_batches;          /* under way */
    int64_t batch_deadline_ms; /* of the oldest batch that is under way */
    bool batch_unprepared;     /* a batch was refused because its statement is no longer prepared */
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
    IA_S_REVOCATIONS,
    IA_S_RESERVED,
    IA_S_CA_KEYS,
    IA_S_CRL_KEYS,
    IA_S_ROLE_KEYS,
    IA_S_RULE_KEYS,
    IA_S_IP_KEYS,
    IA_S_ISSUER_KEYS,
    IA_S_SCOPE_KEYS,
    IA_S_REVOCATION_KEYS,
    IA_S_RESERVED_KEYS,
    IA_S_CAS_BY_KEY,
    IA_S_CRLS_BY_KEY,
    IA_S_ROLES_BY_KEY,
    IA_S_RULES_BY_KEY,
    IA_S_IPS_BY_KEY,
    IA_S_ISSUERS_BY_KEY,
    IA_S_SCOPES_BY_KEY,
    IA_S_REVOCATIONS_BY_KEY,
    IA_S_RESERVED_BY_KEY,
    IA_S_DEVICES_BY_ID,
    IA_S_DEVICE_STATES,
    IA_S_DEVICES_BY_FINGERPRINT,
    IA_S_DEVICE_PAGE,
    IA_S_DEVICE_PAGE_KEYS,
    IA_S_DEVICE_KEYS_BY_ID,
    IA_S_DEVICE_KEYS_BY_FINGERPRINT,
    IA_S_REGISTER_MANY,
    IA_S_REGISTER_ASKING,
    IA_S_REHEARSE,
    IA_S_NOTE_HOOK,
    IA_S_SET_CA_PARSED,
    IA_S_SET_CERTIFICATE_PARSED,
    IA_S_SET_RULE_PROBLEM,
    IA_S_SET_ISSUER_PROBLEM,
    IA_S_SET_ISSUER_NOTE,
    IA_S_SET_PSK_PROBLEM,
    IA_S_WRITE_EVENTS,
    IA_S_WRITE_REFUSALS,
    IA_S_HEARTBEAT,
    IA_S_STOPPED,
    IA_S_NOTIFY,
    IA_S_CONNECTED,
    IA_S_PRUNE,
    IA_S_UNPARSED,
    IA_S_EVENT_TAIL,
    IA_S_LAST_EVENT,
    IA_S_CLIENT_ID_RELEASES,
    IA_S_CLIENT_ID_OWNERS,
    IA_S_WRITE_OWNERS,
    IA_S_PSK_PAGE,
    IA_S_PSKS_BY_IDENTITY,
    IA_STATEMENTS
};

#define IA_PARAMS_MAX  12
#define IA_COLUMNS_MAX 32 /* of one answer */

struct ia_statement_text {
    const char *name, *sql;
    int n_params;
    Oid types[IA_PARAMS_MAX];
};
extern const struct ia_statement_text ia_statements[IA_STATEMENTS];
extern const char *const ia_device_parts[IA_DEVICE_PARTS], *const ia_closed_devices;

/* ---- connect.c ---- */

/* Is schema iot_auth there, in a version that this program can use?  Otherwise the connection is closed, as if it had been
 * refused when it was set up. */
IA_MUST_USE enum ia_rc ia_db_check_schema(struct ia_db *db, struct ia_err *err);

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
void ia_params_time_s(struct ia_params *p, int64_t seconds);         /* since 1970 */
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

/* The same with a sync after each statement (sql/batch.h): statements are sent and received in any number, and one that
 * is refused does not affect the others.  End when each that was sent was received. */
IA_MUST_USE enum ia_rc ia_db_batch_open(struct ia_db *db, struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_batch_send(struct ia_db *db, enum ia_statement which, const struct ia_params *params,
                                        struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_batch_receive(struct ia_db *db, enum ia_statement which, PGresult **out,
                                           struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_batch_close(struct ia_db *db, const enum ia_statement *used, size_t n_used,
                                         struct ia_err *err);

/* Wait once for the server to send more, and read it.  The connection is dropped on any failure. */
IA_MUST_USE enum ia_rc ia_db_read_more(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err);

/* The next result within the query timeout: must be of that status; or there must be none left. */
IA_MUST_USE enum ia_rc ia_db_expect(struct ia_db *db, const char *name, ExecStatusType status, struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_expect_end(struct ia_db *db, const char *name, struct ia_err *err);

/* ---- devices.c ---- */

/* Decode one row of iot_auth.broker_device from the values of its columns (NULL: .bytes NULL) into *row, zeroed. */
#define IA_DEVICE_COLUMNS 11
IA_MUST_USE enum ia_rc ia_device_row_decode(const struct ia_pg_value values[IA_DEVICE_COLUMNS], struct ia_arena *arena,
                                            struct ia_device_row *row, struct ia_err *err);

/* The device in columns `first` and following of one row of a registration's result; *out NULL: they are NULL. */
IA_MUST_USE enum ia_rc ia_device_row_of_result(const PGresult *result, int row, int first, struct ia_arena *arena,
                                               const struct ia_device_row **out, struct ia_err *err);

/* ---- decode.c ---- */

enum ia_column_kind {
    IA_COL_INT64,  /* int64_t; NULL: 0 */
    IA_COL_INT,    /* int; NULL: 0 */
    IA_COL_BOOL,   /* bool */
    IA_COL_TEXT,   /* const char * into the result; NULL: NULL */
    IA_COL_TEXTS,  /* struct ia_texts in the arena; NULL: empty */
    IA_COL_SHA256, /* uint8_t[32] */
    IA_COL_OCTETS, /* struct ia_octets into the result; NULL: none */
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
#define IA_COLUMN_OF(row, member, of_kind, nullable, of_words)                                                         \
    {                                                                                                                  \
        .name = #member, .kind = of_kind, .offset = offsetof(row, member), .null_ok = nullable, .words = of_words      \
    }
#define IA_COLUMN(row, member, nullable)                                                                               \
    IA_COLUMN_OF(row, member,                                                                                          \
                 _Generic(IA_MEMBER(row, member),                                                                      \
                     int64_t *: IA_COL_INT64,                                                                          \
                     int *: IA_COL_INT,                                                                                \
                     bool *: IA_COL_BOOL,                                                                              \
                     const char **: IA_COL_TEXT,                                                                       \
                     struct ia_texts *: IA_COL_TEXTS,                                                                  \
                     struct ia_octets *: IA_COL_OCTETS,                                                                \
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
    bool others_follow;            /* the answer has further columns behind these */
    const struct ia_column *fault; /* of `list`: a row with a value that does not decode says so there; or NULL */
};
#define IA_COLUMNS(table, row)                                                                                         \
    {                                                                                                                  \
        .n = sizeof(table) / sizeof((table)[0]), .row_size = sizeof(row), .list = table                                \
    }
/* The same where the last column is the row's `fault`. */
#define IA_COLUMNS_WITH_FAULT(table, row)                                                                              \
    {                                                                                                                  \
        .n = sizeof(table) / sizeof((table)[0]), .row_size = sizeof(row), .list = table,                               \
        .fault = &(table)[sizeof(table) / sizeof((table)[0]) - 1]                                                      \
    }

/* The rows of an answer and the memory they stand on. */
struct ia_decoded {
    void *rows;
    size_t n;
};

/* Decode one row from the values of its columns (.bytes NULL: the value is NULL) into *row, which is zeroed.  Texts
 * point into the values, which a NUL must follow.  IA_FORMAT names the column where a length or a NULL is not as it
 * should be.  With a `fault` column it is IA_OK instead: the row says what is wrong with it in `fault`, and the values
 * that do not decode are zero, texts that must not be NULL "". */
IA_MUST_USE enum ia_rc ia_db_decode_row(const struct ia_columns *columns, const struct ia_pg_value *values,
                                        struct ia_arena *arena, void *row, struct ia_err *err);

/* The value of a field of a result; .bytes NULL: NULL. */
struct ia_pg_value ia_db_value_at(const PGresult *result, int row, int field);

/* Decode all rows of `result`, from its column `first` on, into an array in the arena.  Texts point into the result.
 * IA_FORMAT also where number, format or type of the columns are not those of the table. */
IA_MUST_USE enum ia_rc ia_db_decode(const PGresult *result, int first, const struct ia_columns *columns,
                                    struct ia_arena *arena, struct ia_decoded *out, struct ia_err *err);

/* ---- narrow.c ---- */

/* A result that rows in `arena` point into: taken over, also on failure. */
struct ia_kept_result;
IA_MUST_USE enum ia_rc ia_db_keep_result(struct ia_arena *arena, struct ia_kept_result **kept, PGresult *result,
                                         struct ia_err *err);
void ia_db_kept_clear(struct ia_kept_result *kept);

/* The search for the rows that make a statement be refused. */
struct ia_narrow {
    struct ia_db *db;
    enum ia_statement by_key;         /* $1: an array of the first column of `keys` */
    const struct ia_columns *columns; /* with a fault; they begin with those of `keys` */
    const PGresult *keys;
    struct ia_arena *arena;
    struct ia_kept_result **kept;
    int64_t deadline_ms; /* to end the search at, once one key at least is done */

    struct ia_decoded rows; /* of the first `done` keys; those that the server refuses have a fault */
    size_t capacity;
    size_t done;
};

/* Go on from `done`.  Any failure but the refusal of a row ends the search; so does the refusal of all of them. */
IA_MUST_USE enum ia_rc ia_db_narrow(struct ia_narrow *narrow, struct ia_err *err);

/* Where the time did not suffice: all further keys have a fault. */
IA_MUST_USE enum ia_rc ia_db_narrow_give_up(struct ia_narrow *narrow, struct ia_err *err);
