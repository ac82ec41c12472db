// SPDX-License-Identifier: ISC
/* What travels between the broker thread and the worker.  Requests copy all that they need, because the client may be
 * gone when they are answered.  Replies come back through one queue, so snapshots, answers and changed devices are
 * applied in the order in which the worker read them: a look-up read before a revocation can never be cached after
 * it. */
#pragma once

#include "access/snapshot.h"
#include "common/queue.h"
#include "common/reason.h"
#include "common/str.h"
#include "jitr/device.h"
#include "x509/cert.h"

#include <stdbool.h>
#include <stdint.h>

#define IA_ADDRESS_MAX 64

enum ia_request_kind {
    IA_REQUEST_LOOKUP,    /* the record of `fingerprint`, if there is one */
    IA_REQUEST_REGISTER,  /* the same, and register it where its CA allows that */
    IA_REQUEST_DEVICE,    /* all records of `device_id` */
    IA_REQUEST_CONNECTED, /* `device_id` has connected at `at_us` */
    IA_REQUEST_KEYS,      /* a token of issuer `name` has a key that is not known */
    IA_REQUEST_EVENT,
    IA_REQUEST_COUNTERS, /* `text`: this node's counters as JSON */
    IA_REQUEST_RETIRE,   /* free `snapshot`, off the broker thread */
};

struct ia_request {
    struct ia_link link;
    enum ia_request_kind kind;
    int64_t at_us;
    int64_t ca_id;
    enum ia_reason reason;
    const char *event; /* static: the kind of an event */
    struct ia_snapshot *snapshot;
    struct ia_cert_info info;
    char name[IA_VALUE_MAX + 1]; /* device id, principal or issuer; "" where there is none */
    char address[IA_ADDRESS_MAX];
    char text[]; /* JSON */
};

/* Of a log line that the broker thread writes for the worker: Mosquitto's log functions belong to that thread. */
enum ia_log_level { IA_LOG_NOTICE, IA_LOG_WARNING, IA_LOG_ERROR };

enum ia_reply_kind {
    IA_REPLY_SNAPSHOT,
    IA_REPLY_ANSWER,       /* to a look-up or registration */
    IA_REPLY_DEVICES,      /* all records of the devices `ids`: what is not there is gone */
    IA_REPLY_PAGE,         /* some of all records */
    IA_REPLY_RESYNC_BEGIN, /* pages of all records follow … */
    IA_REPLY_RESYNC_END,   /* … and were these: what was in no page is gone */
    IA_REPLY_STATE,        /* the database is reachable, or not */
    IA_REPLY_CONTACT,      /* it answered just now */
    IA_REPLY_LOG,
    IA_REPLY_EVENT, /* publish `text` under `name` */
};

struct ia_reply {
    struct ia_link link;
    enum ia_reply_kind kind;
    struct ia_snapshot *snapshot; /* owned */
    struct ia_device **devices;   /* owned, with one reference each */
    size_t n_devices;
    char **ids; /* owned */
    size_t n_ids;
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    enum ia_reason reason; /* of an answer without a record */
    bool registering;      /* an answer to REGISTER, not to LOOKUP */
    bool registered;       /* an answer: registered just now */
    bool up;
    enum ia_log_level level;     /* of a log line */
    char name[IA_VALUE_MAX + 1]; /* kind of an event */
    char text[];                 /* of a log line, event, or the detail of an answer */
};

/* With `text` (may be NULL) copied; NULL when out of memory. */
struct ia_request *ia_request_new(enum ia_request_kind kind, const char *text);
void ia_request_free(struct ia_request *request);
struct ia_reply *ia_reply_new(enum ia_reply_kind kind, const char *text);
void ia_reply_free(struct ia_reply *reply);
