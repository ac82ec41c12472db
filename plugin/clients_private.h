// SPDX-License-Identifier: ISC
/* Shared by clients.c, client_ids.c and client_disconnects.c alone. */
#pragma once

#include "plugin/clients.h"
#include "plugin/kept_sessions.h"

#define IA_RECENT_CLIENTS   64   /* a power of two */
#define IA_RELEASED_IDS_MAX 1000 /* released client ids that no login has taken yet; the oldest is forgotten first */

/* The clients that came with a certificate of one device: its own, and apps whose token is bound to it. */
struct ia_device_clients {
    struct ia_client *clients;
    UT_hash_handle hh;
    char device_id[];
};

/* The devices and apps that have, or had, a client id: the newest is at the head. */
struct ia_client_id_owners {
    struct ia_client *clients;
    UT_hash_handle hh;
    char client_id[];
};

struct ia_clients {
    struct ia_client *by_context;
    struct ia_client
        *recent[IA_RECENT_CLIENTS]; /* of by_context, by a few bits of the pointer: used for each message */
    struct ia_device_clients *by_device;
    struct ia_client_id_owners *by_client_id;
    size_t n_live;
    struct ia_client *pending_free;        /* ended, freed by tidy */
    struct ia_client *ended, *ended_maybe; /* ended and kept, the oldest first: IA_KEEP_YES, IA_KEEP_MAYBE */
    size_t n_ended, n_ended_maybe;
    struct ia_kept_sessions *kept;          /* ended beyond those */
    struct ia_client *disconnect;           /* live, to be disconnected, in this order */
    struct ia_client *scan_next;            /* the client that the scan returns next */
    uint64_t released[IA_RELEASED_IDS_MAX]; /* hashes of client ids, 0: free */
    size_t next_released;
};

/* List the client under its client id.  False when out of memory. */
bool ia_client_owner_add(struct ia_clients *all, struct ia_client *client);
void ia_client_owner_remove(struct ia_clients *all, struct ia_client *client);

/* An administrator has released the client id; an accepted login has taken it. */
void ia_clients_note_release(struct ia_clients *clients, const char *client_id, bool ended);
void ia_clients_clear_release(struct ia_clients *clients, const char *client_id);

/* Take the client off the list of those that are to be disconnected, if it is there. */
void ia_client_disconnect_remove(struct ia_clients *all, struct ia_client *client);
