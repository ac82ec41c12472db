// SPDX-License-Identifier: ISC
/* Client ids whose owner is written to the registry (iot_auth.client_id_owner), so that it is known after a restart of the
 * broker too.  Mosquitto 2.0 informs no plugin of a session that it has restored: the first client with that id
 * would take it over, with its subscriptions and its queue.  2.1 can be asked, so nothing is written there.
 *
 * The rows are the client ids under which Mosquitto may keep a session, except those that are their owner's own name:
 * on 2.0 these are nobody else's (ia_owned_ids_is_anothers_name).  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_owned_ids;

struct ia_owned_ids *ia_owned_ids_new(void); /* NULL when out of memory */
void ia_owned_ids_free(struct ia_owned_ids *ids);

/* The registry says that these were owned when the broker ended. */
void ia_owned_ids_restore(struct ia_core *core, const struct ia_owner_key *keys, size_t n);

/* The login of that device or app is accepted. */
void ia_owned_ids_note(struct ia_core *core, const struct ia_client *client);

/* An administrator has released the client id, and so deleted its row. */
void ia_owned_ids_release(struct ia_core *core, const char *client_id);

/* Is the client id the id of a device, or does it begin with the name of an app, other than `username`? */
bool ia_owned_ids_is_anothers_name(const struct ia_core *core, const char *client_id, const char *username);
