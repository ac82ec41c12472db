// SPDX-License-Identifier: ISC
/* The messages between the broker thread and the worker.  A request copies everything that it needs, because the client
 * may have disconnected by the time it is answered.  All replies come back through one queue, so that snapshots,
 * answers and changed devices are applied in the order in which the worker read them: an answer that was read before a
 * revocation can never be cached after it. */
#pragma once

#include "access/snapshot.h"
#include "common/principal.h"
#include "common/queue.h"
#include "common/reason.h"
#include "common/str.h"
#include "jitr/device.h"
#include "psk/keyring.h"
#include "psk/table.h"
#include "sql/records_types.h"
#include "x509/cert.h"

#include <stdbool.h>
#include <stdint.h>

#define IA_ADDRESS_MAX 64
#define IA_TERMS_MAX   64 /* struct ia_ca_settings: a SHA-256 in hexadecimal */

/* ---- requests: broker thread to worker */

enum ia_request_kind {
    IA_REQUEST_REGISTER,  /* read the record, and register the device where its CA allows that: `registration` */
    IA_REQUEST_DEVICE,    /* read all records of `device_id` */
    IA_REQUEST_CONNECTED, /* a device has connected: `connected` */
    IA_REQUEST_PSK,       /* read the pre-shared key of `identity`, which is not known */
    IA_REQUEST_KEY_FILE,  /* read psk_key_file again */
    IA_REQUEST_KEYS,      /* a token of `issuer` names a key that is not known: fetch the issuer's keys */
    IA_REQUEST_EVENT,     /* write an event: `event`, with its detail as JSON in `text` */
    IA_REQUEST_REFUSAL,   /* write the last refusal of a client: `refusal`, likewise */
    IA_REQUEST_OWNER,     /* write who owns the client id in `text`, which may be cut: `owner` */
    IA_REQUEST_COUNTERS,  /* write this node's counters, JSON in `text` */
    IA_REQUEST_RETIRE,    /* free `snapshot` outside the broker thread: a large one takes milliseconds */
};

struct ia_register_request {
    struct ia_cert_info info;
    int64_t ca_id; /* the registered CA in which the chain ends */
    char device_id[IA_VALUE_MAX + 1];
    char address[IA_ADDRESS_MAX]; /* "": unknown */
    char terms[IA_TERMS_MAX + 1]; /* of the CA, that device_id and provision were made with; "": not known */
    char *provision;              /* owned: the CA's template filled in (jitr/provisioning.h); NULL: it has none */
    uint8_t *der;                 /* owned, by OpenSSL: the certificate, to fill in another template */
    int der_len;                  /* 0: not at hand */
    bool hook_in_doubt;           /* the worker's: only the registry knows whether hook_outcome was committed */
    char *hook_outcome;           /* the worker's, owned: what became of it where the CA's hook was asked; or NULL */
    char *hook_detail;            /* likewise */
    bool stale;                   /* the worker's: it is of a template that the CA no longer has */
};

struct ia_connected_request {
    int64_t at_us;
    char device_id[IA_VALUE_MAX + 1];
    char psk_identity[IA_PSK_IDENTITY_MAX + 1]; /* of the key that it used; "": none */
};

struct ia_event_request {
    int64_t at_us;
    int64_t ca_id;    /* 0: none */
    const char *kind; /* static */
    enum ia_reason reason;
    char principal[IA_PRINCIPAL_MAX + 1]; /* "": none */
    char address[IA_ADDRESS_MAX];         /* "": unknown */
};

#define IA_REFUSAL_KEY_MAX 320

struct ia_refusal_request {
    struct ia_event_request event; /* of the last one */
    int64_t first_us;              /* of `count` in a row for the same reason, not yet written */
    int64_t count;
    const char *key_kind; /* static: fingerprint, app or address */
    char key[IA_REFUSAL_KEY_MAX + 1];
};

struct ia_owner_request {
    struct ia_owner_key key;
    char principal[IA_PRINCIPAL_MAX + 1]; /* "": nobody any more */
};

struct ia_request {
    struct ia_link link;
    enum ia_request_kind kind; /* says which member of the union is valid */
    int64_t taken_ms;          /* the worker's: when it took the request from the queue */
    union {
        struct ia_register_request registration;
        char device_id[IA_VALUE_MAX + 1];
        struct ia_connected_request connected;
        char issuer[IA_VALUE_MAX + 1];
        char identity[IA_PSK_IDENTITY_MAX + 1];
        struct ia_event_request event;
        struct ia_refusal_request refusal;
        struct ia_owner_request owner;
        struct ia_snapshot *snapshot; /* owned */
    };
    char text[];
};

/* ---- replies: worker to broker thread */

/* The level of a log line that the broker thread writes for the worker: Mosquitto's log functions belong to that
 * thread. */
enum ia_log_level { IA_LOG_NOTICE, IA_LOG_WARNING, IA_LOG_ERROR };

enum ia_reply_kind {
    IA_REPLY_SNAPSHOT, /* adopt `snapshot` */
    IA_REPLY_ANSWER,   /* to IA_REQUEST_REGISTER: `answer`; `text` is the detail of a refusal */
    IA_REPLY_DEVICES,  /* `records`: all records of the devices `records.ids`; any other record of these is deleted */
    IA_REPLY_STATES,   /* `records`: statuses alone of the devices `records.ids` (ia_db_device_states) */
    IA_REPLY_CLOSED,   /* `records`: statuses alone, each of a device or certificate that is not ACTIVE */
    IA_REPLY_PAGE,     /* `records`: part of a resync */
    IA_REPLY_RESYNC_BEGIN, /* pages of all records follow … */
    IA_REPLY_RESYNC_END,   /* … and are complete: a record that was in no page is deleted */
    IA_REPLY_STATE,        /* `connected`: is the database reachable?  `text`: its versions, "" where it is not */
    IA_REPLY_CONTACT,      /* the database has answered just now */
    IA_REPLY_LOG,          /* write `text` to the log at `level` */
    IA_REPLY_OWNERS,       /* `owners`: who owned which client id when the broker ended; before the first snapshot */
    IA_REPLY_RELEASED,     /* the client id `text` has no owner any more, unless its owner is connected */
    IA_REPLY_KEYRING,      /* use `keyring` from now on */
    IA_REPLY_PSKS,         /* `psks`: keep the rows, and forget those that are deleted */
    IA_REPLY_PSK_BEGIN,    /* all pre-shared keys follow … */
    IA_REPLY_PSK_END,      /* … and are complete: one that was in no reply since is deleted */
    IA_REPLY_EVENT,        /* publish `text` as an event of kind `event` */
};

struct ia_device_answer {
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    struct ia_device *device; /* owned; NULL: there is no record, and `reason` says why */
    enum ia_reason reason;
    bool registered; /* this request has registered the device */
};

struct ia_device_records {
    struct ia_device **items; /* owned, with one reference each */
    size_t n;
    char **ids; /* owned; of IA_REPLY_DEVICES and IA_REPLY_STATES alone */
    size_t n_ids;
};

struct ia_psk_batch {
    struct ia_psk_row *rows; /* owned, with everything below and what it refers to */
    size_t n;
    const char **deleted; /* identities that the registry does not have */
    size_t n_deleted;
};

struct ia_owner_page {
    struct ia_owner_key *keys; /* owned */
    size_t n;
};

struct ia_reply {
    struct ia_link link;
    enum ia_reply_kind kind; /* says which member of the union is valid */
    int64_t heard_us;        /* monotonic: when a notification said that this has changed; 0: none did */
    union {
        struct ia_snapshot *snapshot; /* owned */
        struct ia_device_answer answer;
        struct ia_device_records records;
        struct ia_owner_page owners;
        struct ia_psk_batch psks;
        struct ia_keyring *keyring; /* owned */
        bool connected;
        enum ia_log_level level;
        char event[IA_VALUE_MAX + 1];
    };
    char text[];
};

/* A zeroed message of that kind with a copy of `text`, which may be NULL.  NULL when out of memory. */
struct ia_request *ia_request_new(enum ia_request_kind kind, const char *text);
struct ia_reply *ia_reply_new(enum ia_reply_kind kind, const char *text);

/* The oldest request of a list, NULL: it is empty; and an end of all of them. */
struct ia_request *ia_requests_take(struct ia_fifo *list);
void ia_requests_free(struct ia_fifo *list);

/* Free a message with everything that it owns.  NULL is fine. */
void ia_request_free(struct ia_request *request);
void ia_reply_free(struct ia_reply *reply);
