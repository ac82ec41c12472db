// SPDX-License-Identifier: ISC
/* What is reported of a decision: one log line, a counter, an event row.  Broker thread. */
#pragma once

#include "oauth/refusal.h"
#include "plugin/core.h"
#include "x509/shown_certificate.h"

/* A connection under decision, or decided.  Texts are borrowed; NULL where not known. */
struct ia_audit_entry {
    const char *client_id;
    const char *address;
    const char *principal;           /* device id or app principal, as far as it was established */
    int64_t ca_id;                   /* the registered CA that the chain ended in, 0: none */
    const struct ia_ca_settings *ca; /* the registered CA that the chain ended in */
    bool proven; /* the client has shown that it has the certificate's key: the report concerns its device */
    const uint8_t *fingerprint; /* of the leaf */
    const uint8_t *record;      /* of a device by token alone, under which its record is found in memory */
    const char *issuer;         /* the name of the issuer by whose token a device has come */
    bool app;
    const struct ia_token_claimed *claimed;   /* by a refused token: not verified; NULL or empty: nothing */
    const struct ia_shown_certificate *shown; /* of whose certificate, likewise; NULL: see `leaf` */
    X509 *leaf;                               /* the certificate, read where a refusal is reported; NULL: none */
    char detail[192];                         /* why, for people */
};

void ia_report_accepted(struct ia_core *core, const struct ia_audit_entry *entry);

/* A refusal: counted and logged each time; an event once per transition for a registered device,
 * limited for unregistered ones. */
void ia_report_refused(struct ia_core *core, struct ia_audit_entry *entry, enum ia_reason reason);

/* A live session was ended by us.  `client_id` as it was: Mosquitto may have freed its own copy. */
void ia_report_ended(struct ia_core *core, const struct ia_client *client, const char *client_id,
                     enum ia_reason reason);

/* A device was registered just now. */
void ia_report_registered(struct ia_core *core, const struct ia_device *device);

/* Publish `json` under <event_prefix>/<kind>. */
void ia_report_publish(const struct ia_core *core, const char *kind, const char *json);

/* Publish the counters under $SYS/broker/iot-auth/, and hand them to the worker for iot_auth.node. */
void ia_report_counters(struct ia_core *core);

/* A live session was denied a topic: entry->detail says which, and by which rule. */
void ia_report_denied(struct ia_core *core, const struct ia_audit_entry *entry);
