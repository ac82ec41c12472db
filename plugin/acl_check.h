// SPDX-License-Identifier: ISC
/* ACL_CHECK: may this client do that?  Asked for each message, each subscription and each delivery; also for clients
 * that are not connected (queues, wills, retained messages), of whom Mosquitto has only an id and a username.  Broker
 * thread. */
#pragma once

#include "plugin/core.h"

/* acl_check.c and acl_offline.c. */
struct ia_acl_state {
    struct ia_topic_split *topic_split; /* the topic that was checked last */
    struct ia_rights offline_rights;    /* of the client that is not connected and was asked about last */
};

struct ia_acl_state *ia_acl_state_new(void); /* NULL when out of memory */
void ia_acl_state_free(struct ia_acl_state *state);

int ia_on_acl_check(int event, void *event_data, void *userdata);

/* ---- acl_offline.c: clients that are not connected */

/* Has the client lost its right to be connected for good?  Then nothing is kept for it.  A certificate that was revoked
 * or deleted is not the end of its device, which may come back with another one (rotation). */
bool ia_acl_is_final(const struct ia_client *client);

/* A session that has ended since this broker started. A device is checked by its present record or, where that was
 * evicted, by the record of the session; an app by its token's scopes. */
bool ia_acl_check_ended(struct ia_core *core, struct ia_client *client, const struct ia_access *access);

/* By its username, which names a device only for a client that was admitted as that device, or was restored after a
 * restart. */
bool ia_acl_check_by_name(struct ia_core *core, const struct mosquitto *context, const struct ia_access *access);

/* Is a client that is not connected, and has no record, left to other plugins (other_clients defer)? */
bool ia_acl_is_deferred_by_name(struct ia_core *core, const struct mosquitto *context);
