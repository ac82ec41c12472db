// SPDX-License-Identifier: ISC
/* The plugin's context: what Mosquitto hands to each callback as `userdata`.  Each part is a struct of its own that only
 * the file named beside it changes.  Everything here belongs to the broker thread. */
#pragma once

#include "common/clock.h"
#include "jitr/device_cache.h"
#include "oauth/token_cache.h"
#include "plugin/clients.h"
#include "plugin/counters.h"
#include "plugin/options.h"
#include "worker/worker.h"

#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

struct ia_core {
    mosquitto_plugin_id_t *id;
    struct ia_options options;
    char versions[256]; /* for iot_auth.node; options.worker points here, and to `program` */
    char program[128];  /* the same for the log and for $SYS */
    struct ia_worker *worker;
    struct ia_snapshot *snapshot;               /* replies.c; NULL until the first */
    struct ia_device_cache *devices;            /* of records; resync.c finds and removes */
    struct ia_token_cache *tokens;              /* admission uses it */
    struct ia_clients *clients;                 /* clients.c */
    struct ia_counters counters;                /* each file counts what it does */
    struct ia_broker_state *broker;             /* broker_state.c */
    struct ia_database_state *database;         /* database_state.c */
    struct ia_resync *resync;                   /* resync.c */
    struct ia_session_scan *scan;               /* revalidate.c */
    struct ia_registrations *registrations;     /* jitr/registration.h: device_requests.c asks, replies.c answers */
    struct ia_device_requests *device_requests; /* device_requests.c */
    struct ia_new_devices *new_devices;         /* new_devices.c */
    struct ia_psk_keys *psk_keys;               /* psk_keys.c */
    struct ia_key_requests *key_requests;       /* key_requests.c */
    struct ia_owned_ids *owned_ids;             /* owned_ids.c */
    struct ia_event_limits *event_limits;       /* event_limits.c */
    struct ia_last_refusals *last_refusals;     /* last_refusals.c */
    struct ia_acl_state *acl;                   /* acl_check.c */
};
