// SPDX-License-Identifier: ISC
#include "oauth/refresh.h"

#include "common/hash.h"
#include "common/str.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER         INT64_MIN
#define BUSY_MS       100              /* before asking a full fetcher again */
#define SAVE_EVERY_MS (10 * 60 * 1000) /* the same keys are stored again: their age counts in days */

struct refresh_entry {
    char *name;
    char *issuer;
    char *jwks_url; /* or NULL: discovery */
    char *jwks;     /* the last good set, or NULL */
    char problem[IA_ISSUER_TEXT_MAX];
    bool fetching;
    unsigned failures; /* in a row */
    int64_t started_ms;
    int64_t due_ms;
    int64_t fetched_ms; /* when `jwks` was fetched, perhaps before this process began */
    int64_t saved_ms;   /* when it was stored */
};

struct ia_refresh {
    struct ia_refresh_options options;
    struct refresh_entry *entries;
    size_t n;
};

struct ia_refresh *ia_refresh_new(const struct ia_refresh_options *options)
{
    struct ia_refresh *refresh = calloc(1, sizeof *refresh);
    if (refresh)
        refresh->options = *options;
    return refresh;
}

static void clear_entry(struct refresh_entry *e)
{
    free(e->name);
    free(e->issuer);
    free(e->jwks_url);
    free(e->jwks);
}

static void free_entries(struct refresh_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        clear_entry(&entries[i]);
    free(entries);
}

void ia_refresh_free(struct ia_refresh *refresh)
{
    if (!refresh)
        return;
    free_entries(refresh->entries, refresh->n);
    free(refresh);
}

static struct refresh_entry *find_entry(const struct ia_refresh *refresh, const char *name)
{
    for (size_t i = 0; i < refresh->n; i++)
        if (strcmp(refresh->entries[i].name, name) == 0)
            return &refresh->entries[i];
    return NULL;
}

static bool new_entry(struct refresh_entry *e, const struct ia_refresh_source *source, int64_t now_ms)
{
    *e = (struct refresh_entry){.name = strdup(source->name),
                                .issuer = strdup(source->issuer),
                                .jwks_url = source->jwks_url ? strdup(source->jwks_url) : NULL,
                                .started_ms = NEVER,
                                .due_ms = now_ms};
    return e->name && e->issuer && (e->jwks_url || !source->jwks_url);
}

static struct ia_refresh_source source_of(const struct refresh_entry *e)
{
    return (struct ia_refresh_source){.name = e->name, .issuer = e->issuer, .jwks_url = e->jwks_url};
}

/* ---- key sets */

enum set_kind { SET_INVALID, SET_USABLE, SET_WITHDRAWN };

/* Is it a key set that may replace the last one?  If not, err says why. */
static enum set_kind classify_set(const char *text, size_t len, struct ia_err *err)
{
    struct ia_jwks *jwks = NULL;
    if (ia_jwks_parse(text, len, NULL, &jwks, err) != IA_OK)
        return SET_INVALID;
    enum set_kind kind = SET_USABLE;
    if (ia_jwks_listed(jwks) == 0)
        kind = SET_WITHDRAWN; /* a provider that lists no key has none that may be used */
    else if (ia_jwks_count(jwks) == 0)
        kind = SET_INVALID;
    ia_jwks_free(jwks);
    if (kind == SET_INVALID)
        (void)ia_fail(err, IA_FORMAT, "JWK set: no key in it can be used");
    return kind;
}

static bool is_too_old(const struct ia_refresh *refresh, int64_t age_ms)
{
    return refresh->options.stale_max_s > 0 && age_ms >= refresh->options.stale_max_s * 1000;
}

/* Begin with the stored keys, checked as fetched ones are. */
static void restore_keys(const struct ia_refresh *refresh, struct refresh_entry *e, struct ia_refresh_time now)
{
    struct ia_err err = {0};
    char *jwks = NULL;
    int64_t fetched_s = 0;
    const struct ia_refresh_source source = source_of(e);
    enum ia_rc rc = ia_key_store_load(refresh->options.store, &source, now.wall_s, &jwks, &fetched_s, &err);
    if (rc == IA_UNAVAILABLE)
        return;
    int64_t age_ms = (now.wall_s - fetched_s) * 1000;
    if (rc == IA_OK && is_too_old(refresh, age_ms))
        rc = ia_fail(&err, IA_UNAVAILABLE, "older than jwks_stale_max_s");
    if (rc == IA_OK && classify_set(jwks, strlen(jwks), &err) != SET_INVALID) {
        e->jwks = jwks;
        e->fetched_ms = e->saved_ms = now.ms - age_ms;
        return;
    }
    free(jwks);
    snprintf(e->problem, sizeof e->problem, "the stored keys are not used: %s", err.msg);
}

static void save_keys(const struct ia_refresh *refresh, struct refresh_entry *e, struct ia_refresh_time now)
{
    struct ia_err err = {0};
    const struct ia_refresh_source source = source_of(e);
    e->saved_ms = now.ms;
    if (ia_key_store_save(refresh->options.store, &source, e->jwks, now.wall_s, &err) != IA_OK)
        snprintf(e->problem, sizeof e->problem, "%s", err.msg);
}

/* Drop the keys when they are too old; true when they were there. */
static bool drop_old_keys(const struct ia_refresh *refresh, struct refresh_entry *e, int64_t now_ms)
{
    if (!e->jwks || !is_too_old(refresh, now_ms - e->fetched_ms))
        return false;
    free(e->jwks);
    e->jwks = NULL;
    size_t used = strlen(e->problem);
    snprintf(e->problem + used, sizeof e->problem - used,
             "%sno key: the last good keys are older than jwks_stale_max_s", used ? "; " : "");
    return true;
}

/* ---- the list */

/* Move what is known of the sources that stay from the old list to the new one.  The old list keeps what is new. */
static void keep_known(const struct ia_refresh *refresh, struct refresh_entry *entries, size_t n,
                       struct ia_refresh_time now)
{
    for (size_t i = 0; i < n; i++) {
        struct refresh_entry *old = find_entry(refresh, entries[i].name);
        if (old && ia_same_text(old->issuer, entries[i].issuer) && ia_same_text(old->jwks_url, entries[i].jwks_url)) {
            struct refresh_entry made = entries[i];
            entries[i] = *old;
            *old = made;
        } else if (refresh->options.store) {
            restore_keys(refresh, &entries[i], now);
        }
    }
}

static bool is_listed(const struct refresh_entry *entries, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i].name, name) == 0)
            return true;
    return false;
}

/* Remove what is stored of sources that are not listed any more. */
static void remove_stored(const struct ia_refresh *refresh, const struct refresh_entry *entries, size_t n)
{
    for (size_t i = 0; refresh->options.store && i < refresh->n; i++)
        if (!is_listed(entries, n, refresh->entries[i].name))
            ia_key_store_remove(refresh->options.store, refresh->entries[i].name);
}

enum ia_rc ia_refresh_configure(struct ia_refresh *refresh, const struct ia_refresh_source *sources, size_t n,
                                struct ia_refresh_time now, struct ia_err *err)
{
    struct refresh_entry *entries = calloc(n + 1, sizeof *entries);
    size_t made = 0;
    while (entries && made < n && new_entry(&entries[made], &sources[made], now.ms))
        made++;
    if (!entries || made < n) {
        free_entries(entries, entries ? made + 1 : 0); /* the incomplete entry as well */
        return ia_nomem(err);
    }
    remove_stored(refresh, entries, n);
    keep_known(refresh, entries, n, now);
    free_entries(refresh->entries, refresh->n);
    refresh->entries = entries;
    refresh->n = n;
    return IA_OK;
}

/* ---- fetching */

/* When another fetch may start at the earliest. */
static int64_t earliest_start(const struct refresh_entry *e, int64_t now_ms)
{
    if (e->started_ms == NEVER || e->started_ms + IA_REFRESH_GAP_MS < now_ms)
        return now_ms;
    return e->started_ms + IA_REFRESH_GAP_MS;
}

void ia_refresh_request(struct ia_refresh *refresh, const char *name, int64_t now_ms)
{
    struct refresh_entry *e = find_entry(refresh, name);
    if (e && earliest_start(e, now_ms) < e->due_ms)
        e->due_ms = earliest_start(e, now_ms);
}

/* Spreads the retries of issuers, and of brokers with different rows, over a quarter of the step. */
static int64_t retry_jitter(const char *name, int64_t step)
{
    return (int64_t)(ia_hash_text(0, name) % (uint64_t)(step / 4));
}

static void fail_fetch(struct refresh_entry *e, const char *problem, int64_t now_ms)
{
    int64_t step = IA_REFRESH_GAP_MS;
    for (unsigned i = 0; i < e->failures && step < IA_REFRESH_BACKOFF_MAX; i++)
        step *= 2;
    if (step > IA_REFRESH_BACKOFF_MAX)
        step = IA_REFRESH_BACKOFF_MAX;
    e->failures++;
    e->due_ms = now_ms + step + retry_jitter(e->name, step);
    snprintf(e->problem, sizeof e->problem, "%s", problem);
}

static void start_fetch(struct refresh_entry *e, struct ia_fetcher *fetcher, int64_t now_ms)
{
    struct ia_err err = {0};
    enum ia_rc rc = ia_fetcher_start(fetcher, e->name, e->issuer, e->jwks_url, &err);
    if (rc == IA_UNAVAILABLE) {
        e->due_ms = now_ms + BUSY_MS;
        return;
    }
    e->started_ms = now_ms;
    e->fetching = rc == IA_OK;
    if (rc != IA_OK)
        fail_fetch(e, err.msg, now_ms);
}

bool ia_refresh_run(struct ia_refresh *refresh, struct ia_fetcher *fetcher, int64_t now_ms)
{
    bool changed = false;
    for (size_t i = 0; i < refresh->n; i++) {
        struct refresh_entry *e = &refresh->entries[i];
        changed |= drop_old_keys(refresh, e, now_ms);
        if (!e->fetching && e->due_ms <= now_ms)
            start_fetch(e, fetcher, now_ms);
    }
    return changed;
}

/* When something is to be done for that entry: a fetch is to start, or its keys get too old. */
static int64_t next_ms(const struct ia_refresh *refresh, const struct refresh_entry *e)
{
    int64_t due = e->fetching ? INT64_MAX : e->due_ms;
    if (!e->jwks || refresh->options.stale_max_s <= 0)
        return due;
    int64_t old = e->fetched_ms + refresh->options.stale_max_s * 1000;
    return old < due ? old : due;
}

int64_t ia_refresh_wait_ms(const struct ia_refresh *refresh, int64_t now_ms)
{
    int64_t wait = -1;
    for (size_t i = 0; i < refresh->n; i++) {
        int64_t next = next_ms(refresh, &refresh->entries[i]);
        int64_t left = next > now_ms ? next - now_ms : 0;
        if (next != INT64_MAX && (wait < 0 || left < wait))
            wait = left;
    }
    return wait;
}

/* Keep the set; true when it differs from the set before. */
static bool keep_keys(const struct ia_refresh *refresh, struct refresh_entry *e, const struct ia_fetch_result *result,
                      struct ia_refresh_time now)
{
    bool changed = !e->jwks || strcmp(e->jwks, result->body) != 0;
    char *copy = changed ? strdup(result->body) : NULL;
    if (changed && !copy) {
        fail_fetch(e, IA_NOMEM_TEXT, now.ms);
        return false;
    }
    e->failures = 0;
    e->problem[0] = '\0';
    e->due_ms = now.ms + (int64_t)result->max_age_s * 1000;
    e->fetched_ms = now.ms;
    if (changed) {
        free(e->jwks);
        e->jwks = copy;
    }
    if (refresh->options.store && (changed || now.ms - e->saved_ms >= SAVE_EVERY_MS))
        save_keys(refresh, e, now);
    return changed;
}

bool ia_refresh_accept(struct ia_refresh *refresh, const struct ia_fetch_result *result, struct ia_refresh_time now)
{
    struct ia_err err = {0};
    struct refresh_entry *e = find_entry(refresh, result->name);
    if (!e || !e->fetching) /* removed meanwhile, or its URL has changed */
        return false;
    e->fetching = false;
    if (!result->body) {
        fail_fetch(e, result->problem, now.ms);
        return false;
    }
    if (classify_set(result->body, result->body_len, &err) == SET_INVALID) {
        fail_fetch(e, err.msg, now.ms);
        return false;
    }
    return keep_keys(refresh, e, result, now);
}

const char *ia_refresh_jwks(const struct ia_refresh *refresh, const char *name)
{
    const struct refresh_entry *e = find_entry(refresh, name);
    return e ? e->jwks : NULL;
}

const char *ia_refresh_problem(const struct ia_refresh *refresh, const char *name)
{
    const struct refresh_entry *e = find_entry(refresh, name);
    return e ? e->problem : "";
}
