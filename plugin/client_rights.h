// SPDX-License-Identifier: ISC
/* The rights of a device or app that is or was connected.  Broker thread. */
#pragma once

#include "plugin/core.h"

/* Resolve them in the present snapshot, unless they are. */
void ia_client_rights_resolve(const struct ia_core *core, struct ia_client *client);

/* May this live client still read what its shared subscriptions bring?  Mosquitto deals the messages of a shared
 * subscription in turn, and what one member may not read is lost for all. */
bool ia_client_rights_cover_shared(const struct ia_core *core, struct ia_client *client);
