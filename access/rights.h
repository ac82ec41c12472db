// SPDX-License-Identifier: ISC
/* Rights: the roles and variable values of one principal, resolved in one snapshot, and the check of a topic by them.
 * No Mosquitto, no database.  Not thread-safe: rights belong to their caller. */
#pragma once

#include "access/snapshot.h"
#include "jitr/device.h"
#include "oauth/token.h"

/* Where a broker publishes events unless its option event_prefix says otherwise; a test compares it with the option. */
#define IA_EVENT_PREFIX_DEFAULT "$iot-auth/events"

/* Is this a topic of events?  Only the broker publishes those, whatever the rules say. */
bool ia_rights_is_event_topic(const char *event_prefix, const char *topic);

/* Zeroed memory is valid: rights of no snapshot, which deny everything. */
struct ia_rights {
    uint64_t generation; /* of the snapshot, 0: not resolved */
    bool broken;         /* a role is missing, or memory: everything is denied */
    size_t n_roles, roles_room, values_room;
    const struct ia_role **roles; /* owned array; the roles belong to the snapshot */
    const char **values;          /* owned array: of the policy's variables in its order; NULL: unset */
};

/* Whose rights.  An app has the roles of its token's scopes; a device has those of its CA or issuer, its own, and where
 * it has come by token those of its scopes. */
struct ia_rights_holder {
    const struct ia_ca_settings *ca; /* NULL: none */
    const struct ia_device *device;  /* NULL: none */
    const struct ia_token *token;    /* NULL: none, a device by certificate */
    const char *client_id;
};

/* Resolve the roles and variables of `who`.  The values point into `who`'s records and into the snapshot, so all of
 * them must outlive the rights, or these be resolved again.  Without memory, with a role that the snapshot does not
 * have, or with more than IA_SUBJECT_ROLES_MAX roles the rights deny everything. */
void ia_rights_resolve(struct ia_rights *rights, const struct ia_snapshot *snapshot,
                       const struct ia_rights_holder *who);

/* Decide `access` by rights that were resolved in this very snapshot; rights of another one deny.  `rule_id` (may be
 * NULL) is set to the rule that decided, 0: none. */
enum ia_verdict ia_rights_check(const struct ia_rights *rights, const struct ia_snapshot *snapshot,
                                const struct ia_access *access, int64_t *rule_id);

void ia_rights_clear(struct ia_rights *rights);
