// SPDX-License-Identifier: ISC
/* The plugin's state, and what its parts say to one another.  Everything here belongs to the broker thread. */
#pragma once

#include "access/rights.h"
#include "common/clock.h"
#include "jitr/device_cache.h"
#include "oauth/token_cache.h"
#include "plugin/clients.h"
#include "plugin/counters.h"
#include "plugin/options.h"
#include "worker/worker.h"

#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

/* An unknown device's request to the registry, from its first asking until a moment after the answer. */
struct ia_pending {
    uint8_t fingerprint[IA_FINGERPRINT_LEN]; /* key */
    bool registering;                        /* else only looked up */
    bool answered;
    enum ia_reason reason; /* of the answer, while there is no record */
    char detail[96];
    int64_t at_us; /* when it was asked, or answered */
    UT_hash_handle hh;
};

struct ia_core {
    mosquitto_plugin_id_t *id;
    struct ia_options options;
    struct ia_worker *worker;
    struct ia_snapshot *snapshot; /* NULL until the first */
    struct ia_device_cache *devices;
    struct ia_token_cache *tokens;
    struct ia_clients *clients;
    struct ia_pending *pending;
    struct ia_rights scratch;           /* of clients that are not connected */
    struct ia_topic_split *topic_split; /* the topic that was asked about last */
    struct ia_counters counters;
    bool db_up;
    int64_t db_contact_s;                /* wall clock of the last answer */
    uint8_t seen;                        /* mark of the present walk through all devices, or of the last */
    uint8_t walked_seen;                 /* mark of the last that came to its end */
    bool resynced;                       /* all devices have been read at least once */
    bool sweeping;                       /* removing what the last walk did not find */
    bool walking;                        /* a round through the live sessions is under way */
    uint64_t walked_generation;          /* of the snapshot that the last round began under */
    bool anew;                           /* it judges all of them: an address rule has expired */
    int64_t rule_end;                    /* when the next one does, seconds since 1970 */
    int64_t first_end;                   /* of all live sessions, seconds since 1970: no round is due before it */
    int64_t waited_us;                   /* beyond 20 ms each, and not yet paid off … */
    int64_t waited_since_us;             /* … as of here */
    int64_t waited_turn_us;              /* since the last TICK */
    const struct ia_client *kicking;     /* inside mosquitto_kick_client_by_clientid */
    bool reloading;                      /* between RELOAD and TICK */
    int64_t first_call_us, last_tick_us; /* 0: not yet */
    bool tickless_told, fallback_told;
    int64_t next_publish_us;
    struct {
        uint32_t issuer; /* hash of its name */
        int64_t at_us;
    } keys_asked[64];   /* for which issuers' keys, by that hash */
    size_t named_asked; /* devices asked for by name in the present second … */
    int64_t named_asked_s;
    size_t sampled; /* events of unregistered principals in the present second … */
    int64_t sampled_s;
};

/* ---- replies.c: what the worker sends */

/* Apply what is there, for a few milliseconds at most. */
void ia_replies_apply(struct ia_core *core);

/* Wait at most wait_us for one reply, and apply it.  False: none came. */
bool ia_replies_wait(struct ia_core *core, int64_t wait_us);

/* Remove records that the last walk did not find; at most `slots` of the cache.  True: done. */
bool ia_resync_sweep(struct ia_core *core, size_t slots);

/* ---- login.c */

int ia_on_basic_auth(int event, void *event_data, void *userdata);
int ia_on_ext_auth_start(int event, void *event_data, void *userdata);
int ia_on_ext_auth_continue(int event, void *event_data, void *userdata);

/* ---- acl_check.c */

int ia_on_acl_check(int event, void *event_data, void *userdata);

/* ---- revalidate.c: live sessions */

/* May this session go on, as things are now?  Condemns it where not. */
void ia_revalidate(struct ia_core *core, struct ia_client *session);

/* May the client of an ended session still speak (its will)? */
enum ia_reason ia_revalidate_ended(struct ia_core *core, const struct ia_client *session);

/* The first second at which this session is over: its token's, or that after the notAfter of its chain. */
int64_t ia_revalidate_expiry(const struct ia_client *client, int64_t token_expires_at);

/* A session's end is known, or another than before. */
void ia_revalidate_note_expiry(struct ia_core *core, const struct ia_client *session);

/* To be kicked from the next TICK, for `reason`.  Broker thread, from any callback. */
void ia_disconnect_mark(struct ia_core *core, struct ia_client *session, enum ia_reason reason);

/* Kick what is condemned, judge what is to be judged, for at most budget_us.  True: there is more to do. */
bool ia_revalidate_slice(struct ia_core *core, int64_t budget_us);

/* Does Mosquitto send TICK?  Without it nobody would ever be kicked (2.0.11 sends none under per_listener_settings), so
 * two seconds after the first question everything is denied. */
bool ia_has_ticks(struct ia_core *core);
