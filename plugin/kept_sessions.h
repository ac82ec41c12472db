// SPDX-License-Identifier: ISC
/* Sessions that Mosquitto may still keep of clients that have disconnected, where the whole record is no longer in
 * memory: which principal a client id belongs to, and which context belonged to it.  24 bytes an entry, in arrays, so
 * that freed contexts are reused by Mosquitto instead of being split up by allocations of this plugin.
 *
 * Names are kept as 64 bits of their SHA-256: nobody can choose a client id that collides with another's.  Bounded:
 * tables of IA_KEPT_MAX slots do not grow, and a new entry replaces the one that is in its place.  Broker thread
 * only. */
#pragma once

#include <mosquitto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_KEPT_MAX (1 << 20)

struct ia_kept_sessions;

struct ia_kept_sessions *ia_kept_new(void); /* NULL when out of memory */
void ia_kept_free(struct ia_kept_sessions *kept);

/* Remember that this context's session, under that client id, belongs to `username`; NULL: to a client that was left to
 * other plugins, which owns nothing.  Without memory nothing is remembered: false. */
bool ia_kept_add(struct ia_kept_sessions *kept, const struct mosquitto *context, const char *client_id,
                 const char *username);

/* The first 8 bytes of a name's SHA-256, never 0. */
uint64_t ia_kept_name_key(const char *name);

/* Remember an owner from before the broker's start, by those keys. */
bool ia_kept_restore(struct ia_kept_sessions *kept, uint64_t client_id_key, uint64_t principal_key);

/* Does the client id belong to another principal than `username`? */
bool ia_kept_conflicts(const struct ia_kept_sessions *kept, const char *client_id, const char *username);

/* Does the client id belong to `username`? */
bool ia_kept_is_owner(const struct ia_kept_sessions *kept, const char *client_id, const char *username);

/* Did this context, with that client id, belong to `username` (NULL: to a client that was left to other plugins)? */
bool ia_kept_is_of(const struct ia_kept_sessions *kept, const struct mosquitto *context, const char *client_id,
                   const char *username);

/* The context belongs to a new client: Mosquitto has freed the session that it was. */
void ia_kept_forget_context(struct ia_kept_sessions *kept, const struct mosquitto *context);

/* The client id has no owner any more. */
void ia_kept_forget_client_id(struct ia_kept_sessions *kept, const char *client_id);

/* Client ids that have an owner here. */
size_t ia_kept_count(const struct ia_kept_sessions *kept);
