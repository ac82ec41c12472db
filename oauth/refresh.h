// SPDX-License-Identifier: ISC
/* Schedules the fetches of issuers' keys, and keeps the last good key sets.  No clock and no network of its own: times are
 * monotonic milliseconds.  One thread (the worker).
 *
 * An issuer's keys are fetched when it first appears, when their max-age is over, and when a token names an unknown kid;
 * never twice within IA_REFRESH_GAP_MS whatever tokens arrive, and one fetch at a time.  The last set with a usable key
 * stays when the provider is down or its answer is not a key set, for a bounded time and over a restart; an empty set
 * withdraws all keys. */
#pragma once

#include "common/error.h"
#include "oauth/fetch.h"
#include "oauth/key_store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_REFRESH_GAP_MS      10000  /* between the starts of two fetches for one issuer; first back-off step */
#define IA_REFRESH_BACKOFF_MAX 300000 /* ms; longest time between two fetches from a provider that fails */

struct ia_refresh_options {
    int64_t stale_max_s;              /* how long the last good keys are used while no fetch succeeds; 0: no limit */
    const struct ia_key_store *store; /* where they survive a restart; borrowed; NULL: nowhere */
};

/* The two clocks of one moment. */
struct ia_refresh_time {
    int64_t ms;     /* monotonic milliseconds */
    int64_t wall_s; /* seconds since 1970, for what is stored */
};

struct ia_refresh;

struct ia_refresh *ia_refresh_new(const struct ia_refresh_options *options); /* NULL: no memory */
void ia_refresh_free(struct ia_refresh *refresh);

/* Replace the list by the ACTIVE issuers whose keys come by URL (those with keys in the row are not listed): new sources
 * and those with another URL are due at once, and have what is stored of them meanwhile; missing ones are removed with
 * their keys. */
IA_MUST_USE enum ia_rc ia_refresh_configure(struct ia_refresh *refresh, const struct ia_refresh_source *sources,
                                            size_t n, struct ia_refresh_time now, struct ia_err *err);

/* A token named an unknown kid of that issuer (by row name; a name that is not listed is ignored). */
void ia_refresh_request(struct ia_refresh *refresh, const char *name, int64_t now_ms);

/* Start what is due on `fetcher`; a fetch that cannot be started counts as failed.  Drops keys that are too old.  True
 * when keys have changed: the issuer set has to be rebuilt. */
bool ia_refresh_run(struct ia_refresh *refresh, struct ia_fetcher *fetcher, int64_t now_ms);

/* Milliseconds until ia_refresh_run has something to do, -1 for never. */
int64_t ia_refresh_wait_ms(const struct ia_refresh *refresh, int64_t now_ms);

/* Accept a result.  True when the issuer's keys have changed: the issuer set has to be rebuilt. */
bool ia_refresh_accept(struct ia_refresh *refresh, const struct ia_fetch_result *result, struct ia_refresh_time now);

/* The keys to use for that issuer (last good text), or NULL; and what is wrong with fetching them, "" for nothing.
 * Borrowed until the next call that changes `refresh`. */
const char *ia_refresh_jwks(const struct ia_refresh *refresh, const char *name);
const char *ia_refresh_problem(const struct ia_refresh *refresh, const char *name);
