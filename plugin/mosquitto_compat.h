// SPDX-License-Identifier: ISC
/* What differs between Mosquitto 2.0 and 2.1, and the one place where decisions become MOSQ_ERR_*.  One binary serves
 * both: what only 2.1 has is found with dlsym. */
#pragma once

#include "common/reason.h"

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdbool.h>

#define IA_EVT_CLIENT_OFFLINE 28 /* 2.1: MOSQ_EVT_CLIENT_OFFLINE, in place of DISCONNECT for persistent sessions */

/* Look the optional functions up.  Once, from init. */
void ia_mosq_init(void);

/* Is this Mosquitto 2.1 or newer? */
bool ia_mosq_is_21(void);

/* The release, as far as it is known: 2.0 does not report it.  Static. */
const char *ia_mosq_version(void);

/* Give Mosquitto the plugin's name and version, which 2.1 keeps beside it; 2.0 has no place for them.  From init. */
void ia_mosq_introduce(mosquitto_plugin_id_t *id, const char *version);

/* The context that Mosquitto has under that client id (2.1), or NULL: there is none, or it is 2.0 and cannot be
 * asked. */
struct mosquitto *ia_mosq_client(const char *client_id);

/* Delete a subscription of that client id, connected or not.  False: this Mosquitto cannot (2.0).  Not from within
 * ACL_CHECK, which is called while the broker goes through the subscriptions. */
bool ia_mosq_unsubscribe(const char *client_id, const char *filter);

/* Has this client a connection, as far as can be seen from its context? */
bool ia_mosq_has_address(const struct mosquitto *client);

/* Its address as text; NULL: it has none, or none that can be relied on.  Mosquitto 2.0.15 to 2.0.22 believe the
 * X-Forwarded-For header that a WebSocket client sends. */
const char *ia_mosq_address(const struct mosquitto *client);

/* Does it come by WebSocket? */
bool ia_mosq_is_websocket(const struct mosquitto *client);

/* Ask for the next TICK within `ms` milliseconds (2.1; 2.0 ticks at least every 100 ms by itself). */
void ia_mosq_next_tick(struct mosquitto_evt_tick *tick, long ms);

/* The return value of BASIC_AUTH for a refusal.  A final refusal gets a CONNACK.  One that a retry may resolve is
 * SERVER_UNAVAILABLE to MQTT 5 clients of 2.1; elsewhere the broker could only say 'not authorised', which makes
 * clients give up: the connection is closed without an answer. */
int ia_mosq_refusal(const struct mosquitto *client, enum ia_reason reason);

/* The same for extended authentication, where no version passes more on than 'not authorised'. */
int ia_mosq_ext_refusal(enum ia_reason reason);
