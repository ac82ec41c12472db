// SPDX-License-Identifier: ISC
/* Shared subscriptions ($share/GROUP/FILTER) of live devices and apps.  Mosquitto deals the messages of one in turn, and
 * drops what the member whose turn it is may not read: so a member must be allowed to RECEIVE what the filter brings,
 * when it subscribes and as long as it is connected.  Broker thread. */
#pragma once

#include "plugin/core.h"

#define IA_SHARED_MAX 32 /* shared subscriptions of one client; more are refused */

/* A SUBSCRIBE that the rules allow: may the client have it?  True for any that is not shared.  Remembers it. */
bool ia_shared_admit(const struct ia_core *core, struct ia_client *client, const struct ia_access *access);

void ia_shared_remove(struct ia_client *client, const char *filter);

/* May it still RECEIVE what each of its shared subscriptions brings?  Its rights must be resolved. */
bool ia_shared_still_readable(const struct ia_core *core, const struct ia_client *client);

void ia_shared_free(struct ia_shared_subscriptions *shared);
