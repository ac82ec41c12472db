// SPDX-License-Identifier: ISC
#include "sql/records.h"

#include "sql/private.h"

#include <stdlib.h>

/* 1970-01-01 is a date like any other: some devices have no clock when their CA is made. */
static void put_validity(struct ia_params *p, const struct ia_cert_info *info)
{
    if (info) {
        ia_params_time_s(p, info->not_before);
        ia_params_time_s(p, info->not_after);
    } else {
        ia_params_text(p, NULL);
        ia_params_text(p, NULL);
    }
}

enum ia_rc ia_db_set_ca_parsed(struct ia_db *db, int64_t ca_id, const struct ia_cert_info *info, const char *problem,
                               struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_int8(&p, ca_id);
    ia_params_text(&p, info ? info->subject : NULL);
    put_validity(&p, info);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_SET_CA_PARSED, &p, err);
}

enum ia_rc ia_db_set_certificate_parsed(struct ia_db *db, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                        const struct ia_cert_info *info, const char *problem, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_bytes(&p, fingerprint, IA_FINGERPRINT_LEN);
    ia_params_text(&p, info ? info->serial : NULL);
    ia_params_text(&p, info ? info->subject : NULL);
    put_validity(&p, info);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_SET_CERTIFICATE_PARSED, &p, err);
}

enum ia_rc ia_db_set_rule_problem(struct ia_db *db, int64_t rule_id, const char *problem, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_int8(&p, rule_id);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_SET_RULE_PROBLEM, &p, err);
}

enum ia_rc ia_db_set_issuer_problem(struct ia_db *db, const char *name, const char *problem, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_text(&p, name);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_SET_ISSUER_PROBLEM, &p, err);
}

enum ia_rc ia_db_set_issuer_note(struct ia_db *db, const char *name, const char *note, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_text(&p, name);
    ia_params_text(&p, note);
    return ia_db_exec(db, IA_S_SET_ISSUER_NOTE, &p, err);
}

enum ia_rc ia_db_set_psk_problem(struct ia_db *db, const char *identity, const struct ia_octets *sealed,
                                 const char *problem, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_text(&p, identity);
    ia_params_bytes(&p, sealed->at, sealed->len);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_SET_PSK_PROBLEM, &p, err);
}

/* Rows of one size whose fields are to be sent as one array for each column. */
struct row_set {
    const void *rows;
    size_t n, size;
};

static const void *field_of(const struct row_set *set, size_t row, size_t offset)
{
    return (const char *)set->rows + row * set->size + offset;
}

/* One column as text[], by the offset of its field. */
static void add_text_column(struct ia_params *p, const struct row_set *set, size_t offset)
{
    const char **items = ia_arena_array(&p->arena, set->n, sizeof *items);
    for (size_t i = 0; items && i < set->n; i++)
        items[i] = *(const char *const *)field_of(set, i, offset);
    ia_params_value(p, items ? ia_pg_text_array(&p->arena, items, set->n) : (struct ia_pg_value){0});
}

static int64_t *int64_column(struct ia_params *p, const struct row_set *set, size_t offset)
{
    int64_t *items = ia_arena_array(&p->arena, set->n, sizeof *items);
    for (size_t i = 0; items && i < set->n; i++)
        items[i] = *(const int64_t *)field_of(set, i, offset);
    return items;
}

/* `zero_is_null`: 0 is NULL. */
static void add_int8_column(struct ia_params *p, const struct row_set *set, size_t offset, bool zero_is_null)
{
    const int64_t *items = int64_column(p, set, offset);
    ia_params_value(p, items ? ia_pg_int8_array(&p->arena, items, set->n, zero_is_null) : (struct ia_pg_value){0});
}

/* Microseconds since 1970. */
static void add_time_column(struct ia_params *p, const struct row_set *set, size_t offset)
{
    const int64_t *items = int64_column(p, set, offset);
    ia_params_value(p, items ? ia_pg_time_us_array(&p->arena, items, set->n, false) : (struct ia_pg_value){0});
}

/* The columns that events and refusals share, of events at `base` in each row. */
static void add_event_columns(struct ia_params *p, const struct row_set *set, size_t base)
{
    add_text_column(p, set, base + offsetof(struct ia_event_row, kind));
    add_text_column(p, set, base + offsetof(struct ia_event_row, principal));
    add_int8_column(p, set, base + offsetof(struct ia_event_row, ca_id), true);
    add_text_column(p, set, base + offsetof(struct ia_event_row, address));
    add_text_column(p, set, base + offsetof(struct ia_event_row, reason));
    add_text_column(p, set, base + offsetof(struct ia_event_row, detail));
}

enum ia_rc ia_db_write_events(struct ia_db *db, const char *node, const struct ia_event_row *events, size_t n,
                              struct ia_err *err)
{
    const struct row_set set = {.rows = events, .n = n, .size = sizeof *events};
    struct ia_params p = {0};
    ia_params_text(&p, node);
    add_time_column(&p, &set, offsetof(struct ia_event_row, at_us));
    add_event_columns(&p, &set, 0);
    return ia_db_exec(db, IA_S_WRITE_EVENTS, &p, err);
}

enum ia_rc ia_db_write_refusals(struct ia_db *db, const char *node, const struct ia_refusal_row *refusals, size_t n,
                                struct ia_err *err)
{
    const struct row_set set = {.rows = refusals, .n = n, .size = sizeof *refusals};
    const size_t event = offsetof(struct ia_refusal_row, event);
    struct ia_params p = {0};
    ia_params_text(&p, node);
    add_text_column(&p, &set, offsetof(struct ia_refusal_row, key_kind));
    add_text_column(&p, &set, offsetof(struct ia_refusal_row, key));
    add_time_column(&p, &set, offsetof(struct ia_refusal_row, first_us));
    add_time_column(&p, &set, event + offsetof(struct ia_event_row, at_us));
    add_int8_column(&p, &set, offsetof(struct ia_refusal_row, count), false);
    add_event_columns(&p, &set, event);
    return ia_db_exec(db, IA_S_WRITE_REFUSALS, &p, err);
}

enum ia_rc ia_db_write_owners(struct ia_db *db, const char *node, const struct ia_owner_row *rows, size_t n,
                              struct ia_err *err)
{
    const struct row_set set = {.rows = rows, .n = n, .size = sizeof *rows};
    struct ia_params p = {0};
    ia_params_text(&p, node);
    add_int8_column(&p, &set, offsetof(struct ia_owner_row, key.client_id_key), false);
    add_int8_column(&p, &set, offsetof(struct ia_owner_row, key.principal_key), false);
    add_text_column(&p, &set, offsetof(struct ia_owner_row, client_id));
    add_text_column(&p, &set, offsetof(struct ia_owner_row, principal));
    return ia_db_exec(db, IA_S_WRITE_OWNERS, &p, err);
}

enum ia_rc ia_db_heartbeat(struct ia_db *db, const char *node, const char *counters, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_text(&p, node);
    ia_params_text(&p, counters);
    ia_params_text(&p, ia_db_tls_word(ia_db_tls(db)));
    ia_params_text(&p, db->versions);
    enum ia_rc rc = ia_db_exec(db, IA_S_HEARTBEAT, &p, err);
    if (rc != IA_USAGE || !ia_db_connected(db))
        return rc;
    struct ia_err missing = {0};
    enum ia_rc schema = ia_db_check_schema(db, &missing);
    if (schema == IA_OK)
        return rc;
    if (err)
        *err = missing;
    return schema;
}

enum ia_rc ia_db_node_stopped(struct ia_db *db, const char *node, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_text(&p, node);
    return ia_db_exec(db, IA_S_STOPPED, &p, err);
}

enum ia_rc ia_db_connected_devices(struct ia_db *db, const struct ia_connect_row *rows, size_t n, struct ia_err *err)
{
    const struct row_set set = {.rows = rows, .n = n, .size = sizeof *rows};
    struct ia_params p = {0};
    add_text_column(&p, &set, offsetof(struct ia_connect_row, device_id));
    add_time_column(&p, &set, offsetof(struct ia_connect_row, at_us));
    add_text_column(&p, &set, offsetof(struct ia_connect_row, psk_identity));
    return ia_db_exec(db, IA_S_CONNECTED, &p, err);
}

enum ia_rc ia_db_prune(struct ia_db *db, int64_t age_s, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_int8(&p, age_s);
    return ia_db_exec(db, IA_S_PRUNE, &p, err);
}

/* ---- reading ---- */

static const struct ia_column unparsed_list[] = {
    IA_COLUMN(struct ia_unparsed_row, fingerprint, NOT_NULL),
    IA_COLUMN(struct ia_unparsed_row, pem, NOT_NULL),
};
static const struct ia_columns unparsed_columns = IA_COLUMNS(unparsed_list, struct ia_unparsed_row);

static const struct ia_column tail_list[] = {
    IA_COLUMN(struct ia_tail_row, event_id, NOT_NULL),
    IA_COLUMN(struct ia_tail_row, kind, NOT_NULL),
    IA_COLUMN(struct ia_tail_row, detail, NULLABLE),
};
static const struct ia_columns tail_columns = IA_COLUMNS(tail_list, struct ia_tail_row);

static const struct ia_column release_list[] = {
    IA_COLUMN(struct ia_client_id_release, release_id, NOT_NULL),
    IA_COLUMN(struct ia_client_id_release, client_id, NOT_NULL),
};
static const struct ia_columns release_columns = IA_COLUMNS(release_list, struct ia_client_id_release);

static const struct ia_column owner_list[] = {
    IA_COLUMN(struct ia_owner_key, client_id_key, NOT_NULL),
    IA_COLUMN(struct ia_owner_key, principal_key, NOT_NULL),
};
static const struct ia_columns owner_columns = IA_COLUMNS(owner_list, struct ia_owner_key);

struct last_row {
    int64_t event_id;
};
static const struct ia_column last_list[] = {IA_COLUMN(struct last_row, event_id, NOT_NULL)};
static const struct ia_columns last_columns = IA_COLUMNS(last_list, struct last_row);

/* The caller gets the first member; the rest is the memory that it refers to. */
struct loaded_records {
    union {
        struct ia_unparsed_rows unparsed;
        struct ia_tail_rows tail;
        struct ia_client_id_releases releases;
        struct ia_owner_keys owners;
    } pub;
    struct ia_decoded decoded;
    struct ia_arena arena;
    PGresult *result;
};

static void free_records(struct loaded_records *l)
{
    if (!l)
        return;
    PQclear(l->result);
    ia_arena_clear(&l->arena);
    free(l);
}

static enum ia_rc load_records(struct ia_db *db, enum ia_statement which, struct ia_params *params,
                               const struct ia_columns *columns, struct loaded_records **out, struct ia_err *err)
{
    struct loaded_records *l = calloc(1, sizeof *l);
    if (!l)
        return ia_nomem(err);
    enum ia_rc rc = ia_db_query(db, which, params, &l->result, err);
    if (rc == IA_OK)
        rc = ia_db_decode(l->result, 0, columns, &l->arena, &l->decoded, err);
    if (rc == IA_OK)
        *out = l;
    else
        free_records(l);
    return rc;
}

enum ia_rc ia_db_unparsed(struct ia_db *db, const uint8_t after[IA_FINGERPRINT_LEN], struct ia_unparsed_rows **out,
                          struct ia_err *err)
{
    struct loaded_records *l = NULL;
    struct ia_params p = {0};
    ia_params_bytes(&p, after, IA_FINGERPRINT_LEN);
    ia_params_int8(&p, IA_UNPARSED_PAGE);
    enum ia_rc rc = load_records(db, IA_S_UNPARSED, &p, &unparsed_columns, &l, err);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): IA_OK means that it was loaded
    l->pub.unparsed = (struct ia_unparsed_rows){.rows = l->decoded.rows, .n = l->decoded.n};
    *out = &l->pub.unparsed;
    return IA_OK;
}

void ia_unparsed_rows_free(struct ia_unparsed_rows *rows)
{
    free_records((struct loaded_records *)rows);
}

enum ia_rc ia_db_event_tail(struct ia_db *db, int64_t after_event_id, struct ia_tail_rows **out, struct ia_err *err)
{
    struct loaded_records *l = NULL;
    struct ia_params p = {0};
    ia_params_int8(&p, after_event_id);
    enum ia_rc rc = load_records(db, IA_S_EVENT_TAIL, &p, &tail_columns, &l, err);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): IA_OK means that it was loaded
    l->pub.tail = (struct ia_tail_rows){.rows = l->decoded.rows, .n = l->decoded.n};
    *out = &l->pub.tail;
    return IA_OK;
}

void ia_tail_rows_free(struct ia_tail_rows *rows)
{
    free_records((struct loaded_records *)rows);
}

enum ia_rc ia_db_client_id_releases(struct ia_db *db, int64_t after_release_id, struct ia_client_id_releases **out,
                                    struct ia_err *err)
{
    struct loaded_records *l = NULL;
    struct ia_params p = {0};
    ia_params_int8(&p, after_release_id);
    enum ia_rc rc = load_records(db, IA_S_CLIENT_ID_RELEASES, &p, &release_columns, &l, err);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): IA_OK means that it was loaded
    l->pub.releases = (struct ia_client_id_releases){.rows = l->decoded.rows, .n = l->decoded.n};
    *out = &l->pub.releases;
    return IA_OK;
}

void ia_client_id_releases_free(struct ia_client_id_releases *rows)
{
    free_records((struct loaded_records *)rows);
}

enum ia_rc ia_db_client_id_owners(struct ia_db *db, const char *node, int64_t after_key, struct ia_owner_keys **out,
                                  struct ia_err *err)
{
    struct loaded_records *l = NULL;
    struct ia_params p = {0};
    ia_params_text(&p, node);
    ia_params_int8(&p, after_key);
    ia_params_int8(&p, IA_OWNERS_PAGE);
    enum ia_rc rc = load_records(db, IA_S_CLIENT_ID_OWNERS, &p, &owner_columns, &l, err);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): IA_OK means that it was loaded
    l->pub.owners = (struct ia_owner_keys){.keys = l->decoded.rows, .n = l->decoded.n};
    *out = &l->pub.owners;
    return IA_OK;
}

void ia_owner_keys_free(struct ia_owner_keys *keys)
{
    free_records((struct loaded_records *)keys);
}

enum ia_rc ia_db_last_event(struct ia_db *db, int64_t *event_id, struct ia_err *err)
{
    struct loaded_records *l = NULL;
    enum ia_rc rc = load_records(db, IA_S_LAST_EVENT, NULL, &last_columns, &l, err);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): IA_OK means that it was loaded
    if (l->decoded.n == 1)
        *event_id = ((const struct last_row *)l->decoded.rows)->event_id;
    else
        rc = ia_fail(err, IA_FORMAT, "PostgreSQL: last_event gave %zu rows", l->decoded.n);
    free_records(l);
    return rc;
}
