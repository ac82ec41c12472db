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

/* The client resumes its session: it has the shared subscriptions that the one before it under its client id had, as far as
 * the broker has kept them.  Where the list is full, those that it does not subscribe to again are forgotten first. */
void ia_shared_inherit(struct ia_client *client);

/* Would the client remain a member of a shared subscription whose messages it may not receive?  False for a filter that is
 * not shared. */
bool ia_shared_is_lost(const struct ia_core *core, const struct ia_client *client, const char *filter);

/* The client has disconnected, and its session may be kept: have the broker delete the shared subscriptions that it may no
 * longer read.  Only 2.1 can; elsewhere they are remembered until the client is back.  Its rights must be resolved. */
void ia_shared_delete_lost(const struct ia_core *core, struct ia_client *client);

/* The same for all shared subscriptions of a client whose device is REVOKED or deleted.  Neither function may be called
 * from ACL_CHECK, where Mosquitto iterates over its subscriptions. */
void ia_shared_delete_all(struct ia_client *client);

/* The broker has disconnected the client on our behalf, and with it has deleted what ia_shared_is_lost (2.0.11 does not:
 * there the session keeps it).  Forget it, or the client would be disconnected each time it comes back. */
void ia_shared_forget_lost(const struct ia_core *core, struct ia_client *client);

/* May it still RECEIVE what each of its shared subscriptions brings?  Its rights must be resolved. */
bool ia_shared_still_readable(const struct ia_core *core, const struct ia_client *client);

void ia_shared_free(struct ia_shared_subscriptions *shared);
