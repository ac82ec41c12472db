// SPDX-License-Identifier: ISC
/* The last refusal of each of the latest IA_LAST_REFUSALS_MAX fingerprints, apps and addresses.  Events of refusals are
 * sampled (event_limits.h), so that a flood of them writes little; but the refusal that an administrator looks for must
 * be there.  So each key is written at most once a minute, and all keys of this node together at most
 * IA_REFUSALS_A_SECOND times a second, which are all keys in a minute.  Broker thread. */
#pragma once

#include "plugin/core.h"

#define IA_LAST_REFUSALS_MAX 1000
#define IA_REFUSALS_A_SECOND 50

struct ia_last_refusals;

struct ia_last_refusals *ia_last_refusals_new(void); /* NULL when out of memory */
void ia_last_refusals_free(struct ia_last_refusals *refusals);

/* What the refused client is known by; NULL or "" where not known. */
struct ia_refused_client {
    const uint8_t *fingerprint;
    const char *app; /* its principal, or what its token claims */
    const char *address;
};

/* Keep a refusal, in place of the last one of each of its keys.  `json` is its event's detail.  Without memory nothing is
 * kept. */
void ia_last_refusals_note(struct ia_last_refusals *refusals, const struct ia_refused_client *client,
                           const struct ia_event_request *event, const char *json);

/* Hand those that are due to the worker, at most `max`.  To be called once a second; at the end with SIZE_MAX, which
 * counts as due whatever is not written. */
void ia_last_refusals_write(struct ia_core *core, size_t max);
