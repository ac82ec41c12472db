// SPDX-License-Identifier: ISC
/* What a broker writes to the database (parsed columns, problems, events, its heartbeat) and the tail of the events. */
#pragma once

#include "common/error.h"
#include "common/octets.h"
#include "sql/db.h"
#include "sql/records_types.h"
#include "x509/cert.h"

#include <stddef.h>
#include <stdint.h>

/* Fill the parsed columns of a CA; `info` NULL: it did not parse.  `problem` NULL: none.  Notifies nobody. */
IA_MUST_USE enum ia_rc ia_db_set_ca_parsed(struct ia_db *db, int64_t ca_id, const struct ia_cert_info *info,
                                           const char *problem, struct ia_err *err);

/* Fill the parsed columns of that certificate, once; `info` NULL: it does not parse.  `problem` (NULL: none) is why no
 * device can be admitted with it. */
IA_MUST_USE enum ia_rc ia_db_set_certificate_parsed(struct ia_db *db, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                                    const struct ia_cert_info *info, const char *problem,
                                                    struct ia_err *err);

/* Set or (NULL) clear role_rule.problem and oauth_issuer.problem. */
IA_MUST_USE enum ia_rc ia_db_set_rule_problem(struct ia_db *db, int64_t rule_id, const char *problem,
                                              struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_set_issuer_problem(struct ia_db *db, const char *name, const char *problem,
                                                struct ia_err *err);
IA_MUST_USE enum ia_rc ia_db_set_issuer_note(struct ia_db *db, const char *name, const char *note, struct ia_err *err);

/* Set or (NULL) clear device_psk.problem, where the row is still sealed as it was when it was read. */
IA_MUST_USE enum ia_rc ia_db_set_psk_problem(struct ia_db *db, const char *identity, const struct ia_octets *sealed,
                                             const char *problem, struct ia_err *err);

/* One row of iot_auth.event; texts may be NULL but for kind. */
struct ia_event_row {
    int64_t at_us; /* microseconds since 1970 */
    const char *kind;
    const char *principal;
    int64_t ca_id; /* 0: none */
    const char *address;
    const char *reason;
    const char *detail; /* JSON text */
};

/* Write events[0..n) of `node`: all or none. */
IA_MUST_USE enum ia_rc ia_db_write_events(struct ia_db *db, const char *node, const struct ia_event_row *events,
                                          size_t n, struct ia_err *err);

/* One row of iot_auth.last_refusal: the last refusal of a client, and how many there were since the last call. */
struct ia_refusal_row {
    const char *key_kind; /* fingerprint, app or address */
    const char *key;
    int64_t first_us;
    int64_t count;
    struct ia_event_row event;
};

/* Write refusals[0..n) of `node`: all or none. */
IA_MUST_USE enum ia_rc ia_db_write_refusals(struct ia_db *db, const char *node, const struct ia_refusal_row *refusals,
                                            size_t n, struct ia_err *err);

/* Refresh this node's row, with how the connection is protected.  `counters` is a JSON object as text.  Where the schema is
 * no longer there, or older than this program needs, the connection is closed. */
IA_MUST_USE enum ia_rc ia_db_heartbeat(struct ia_db *db, const char *node, const char *counters, struct ia_err *err);

/* The broker ends in good order: its row says so, and monitoring does not take it for lost.  Nothing can be done where
 * that fails. */
enum ia_rc ia_db_node_stopped(struct ia_db *db, const char *node, struct ia_err *err);

/* A connect of a device, with the pre-shared key of an identity or (NULL) without one. */
struct ia_connect_row {
    const char *device_id;
    const char *psk_identity;
    int64_t at_us;
};

/* Set device.last_connected_at, and last_used_at of the keys. */
IA_MUST_USE enum ia_rc ia_db_connected_devices(struct ia_db *db, const struct ia_connect_row *rows, size_t n,
                                               struct ia_err *err);

/* Remove events (and nodes not seen) older than `age_s` seconds, at least a day; some thousands a call: call it
 * often. */
IA_MUST_USE enum ia_rc ia_db_prune(struct ia_db *db, int64_t age_s, struct ia_err *err);

#define IA_UNPARSED_PAGE 1000

/* Certificates that an administrator registered and whose columns nobody has filled yet: up to IA_UNPARSED_PAGE after
 * that fingerprint, in order. */
struct ia_unparsed_row {
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    const char *pem;
};
struct ia_unparsed_rows {
    const struct ia_unparsed_row *rows;
    size_t n;
};
IA_MUST_USE enum ia_rc ia_db_unparsed(struct ia_db *db, const uint8_t after[IA_FINGERPRINT_LEN],
                                      struct ia_unparsed_rows **out, struct ia_err *err);
void ia_unparsed_rows_free(struct ia_unparsed_rows *rows);

/* Events `device/status` and `ca/status` after `event_id` in order, up to 1000, for publishing. */
struct ia_tail_row {
    int64_t event_id;
    const char *kind;
    const char *detail; /* JSON text, or NULL */
};
struct ia_tail_rows {
    const struct ia_tail_row *rows;
    size_t n;
};
IA_MUST_USE enum ia_rc ia_db_event_tail(struct ia_db *db, int64_t after_event_id, struct ia_tail_rows **out,
                                        struct ia_err *err);
void ia_tail_rows_free(struct ia_tail_rows *rows);

/* The highest event id so far, 0: none. */
IA_MUST_USE enum ia_rc ia_db_last_event(struct ia_db *db, int64_t *event_id, struct ia_err *err);

#define IA_OWNERS_PAGE 10000

/* The client ids of `node` that have an owner: up to IA_OWNERS_PAGE after that key, in order. */
struct ia_owner_keys {
    const struct ia_owner_key *keys;
    size_t n;
};
IA_MUST_USE enum ia_rc ia_db_client_id_owners(struct ia_db *db, const char *node, int64_t after_key,
                                              struct ia_owner_keys **out, struct ia_err *err);
void ia_owner_keys_free(struct ia_owner_keys *keys);

/* A change of an owner; the texts are for administrators.  `principal` NULL: nobody owns the client id any more. */
struct ia_owner_row {
    struct ia_owner_key key;
    const char *client_id;
    const char *principal;
};
IA_MUST_USE enum ia_rc ia_db_write_owners(struct ia_db *db, const char *node, const struct ia_owner_row *rows, size_t n,
                                          struct ia_err *err);

/* Client ids that administrators have released within the last hour, after `release_id` in order, up to 1000. */
struct ia_client_id_release {
    int64_t release_id;
    const char *client_id;
};
struct ia_client_id_releases {
    const struct ia_client_id_release *rows;
    size_t n;
};
IA_MUST_USE enum ia_rc ia_db_client_id_releases(struct ia_db *db, int64_t after_release_id,
                                                struct ia_client_id_releases **out, struct ia_err *err);
void ia_client_id_releases_free(struct ia_client_id_releases *rows);
