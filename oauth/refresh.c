// SPDX-License-Identifier: ISC
#include "oauth/refresh.h"

#include "common/str.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER   INT64_MIN
#define BUSY_MS 100 /* before asking a full fetcher again */

struct entry {
    char *name;
    char *issuer;
    char *jwks_url; /* or NULL: discovery */
    char *jwks;     /* the last good set, or NULL */
    char problem[IA_ISSUER_TEXT_MAX];
    bool fetching;
    unsigned failures; /* in a row */
    int64_t started_ms;
    int64_t due_ms;
};

struct ia_refresh {
    struct entry *entries;
    size_t n;
};

struct ia_refresh *ia_refresh_new(void)
{
    return calloc(1, sizeof(struct ia_refresh));
}

static void clear_entry(struct entry *e)
{
    free(e->name);
    free(e->issuer);
    free(e->jwks_url);
    free(e->jwks);
}

static void free_entries(struct entry *entries, size_t n)
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

static struct entry *find_entry(const struct ia_refresh *refresh, const char *name)
{
    for (size_t i = 0; i < refresh->n; i++)
        if (strcmp(refresh->entries[i].name, name) == 0)
            return &refresh->entries[i];
    return NULL;
}

static bool same_optional(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool new_entry(struct entry *e, const struct ia_refresh_source *source, int64_t now_ms)
{
    *e = (struct entry){.name = strdup(source->name),
                        .issuer = strdup(source->issuer),
                        .jwks_url = source->jwks_url ? strdup(source->jwks_url) : NULL,
                        .started_ms = NEVER,
                        .due_ms = now_ms};
    return e->name && e->issuer && (e->jwks_url || !source->jwks_url);
}

/* Move what is known of the sources that stay from the old list to the new one. */
static void keep_known(const struct ia_refresh *refresh, struct entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct entry *old = find_entry(refresh, entries[i].name);
        if (!old || !same_optional(old->issuer, entries[i].issuer) ||
            !same_optional(old->jwks_url, entries[i].jwks_url))
            continue;
        struct entry made = entries[i];
        entries[i] = *old;
        *old = made;
    }
}

enum ia_rc ia_refresh_configure(struct ia_refresh *refresh, const struct ia_refresh_source *sources, size_t n,
                                int64_t now_ms, struct ia_err *err)
{
    struct entry *entries = calloc(n + 1, sizeof *entries);
    size_t made = 0;
    while (entries && made < n && new_entry(&entries[made], &sources[made], now_ms))
        made++;
    if (!entries || made < n) {
        free_entries(entries, entries ? made + 1 : 0); /* the incomplete entry as well */
        return ia_nomem(err);
    }
    keep_known(refresh, entries, n);
    free_entries(refresh->entries, refresh->n);
    refresh->entries = entries;
    refresh->n = n;
    return IA_OK;
}

/* When another fetch may start at the earliest. */
static int64_t earliest_start(const struct entry *e, int64_t now_ms)
{
    if (e->started_ms == NEVER || e->started_ms + IA_REFRESH_GAP_MS < now_ms)
        return now_ms;
    return e->started_ms + IA_REFRESH_GAP_MS;
}

void ia_refresh_request(struct ia_refresh *refresh, const char *name, int64_t now_ms)
{
    struct entry *e = find_entry(refresh, name);
    if (e && earliest_start(e, now_ms) < e->due_ms)
        e->due_ms = earliest_start(e, now_ms);
}

/* Spreads the retries of issuers, and of brokers with different rows, over a quarter of the step. */
static int64_t retry_jitter(const char *name, int64_t step)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *p = name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return hash % (step / 4);
}

static void fail_fetch(struct entry *e, const char *problem, int64_t now_ms)
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

static void start_fetch(struct entry *e, struct ia_fetcher *fetcher, int64_t now_ms)
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

void ia_refresh_run(struct ia_refresh *refresh, struct ia_fetcher *fetcher, int64_t now_ms)
{
    for (size_t i = 0; i < refresh->n; i++) {
        struct entry *e = &refresh->entries[i];
        if (!e->fetching && e->due_ms <= now_ms)
            start_fetch(e, fetcher, now_ms);
    }
}

int64_t ia_refresh_wait_ms(const struct ia_refresh *refresh, int64_t now_ms)
{
    int64_t wait = -1;
    for (size_t i = 0; i < refresh->n; i++) {
        const struct entry *e = &refresh->entries[i];
        int64_t left = e->due_ms > now_ms ? e->due_ms - now_ms : 0;
        if (!e->fetching && (wait < 0 || left < wait))
            wait = left;
    }
    return wait;
}

/* Is it a key set with at least one usable key?  If not, err says why. */
static bool holds_usable_keys(const struct ia_fetch_result *result, struct ia_err *err)
{
    struct ia_jwks *jwks = NULL;
    if (ia_jwks_parse(result->body, result->body_len, NULL, &jwks, err) != IA_OK)
        return false;
    bool usable = ia_jwks_count(jwks) > 0;
    ia_jwks_free(jwks);
    if (!usable)
        (void)ia_fail(err, IA_FORMAT, "JWK set: no key in it can be used");
    return usable;
}

/* Keep the set; true when it differs from the set before. */
static bool keep_keys(struct entry *e, const struct ia_fetch_result *result, int64_t now_ms)
{
    e->failures = 0;
    e->problem[0] = '\0';
    e->due_ms = now_ms + (int64_t)result->max_age_s * 1000;
    if (e->jwks && strcmp(e->jwks, result->body) == 0)
        return false;
    char *copy = strdup(result->body);
    if (!copy) {
        fail_fetch(e, "out of memory", now_ms);
        return false;
    }
    free(e->jwks);
    e->jwks = copy;
    return true;
}

bool ia_refresh_accept(struct ia_refresh *refresh, const struct ia_fetch_result *result, int64_t now_ms)
{
    struct ia_err err = {0};
    struct entry *e = find_entry(refresh, result->name);
    if (!e || !e->fetching) /* removed meanwhile, or its URL has changed */
        return false;
    e->fetching = false;
    if (!result->body) {
        fail_fetch(e, result->problem, now_ms);
        return false;
    }
    if (!holds_usable_keys(result, &err)) {
        fail_fetch(e, err.msg, now_ms);
        return false;
    }
    return keep_keys(e, result, now_ms);
}

const char *ia_refresh_jwks(const struct ia_refresh *refresh, const char *name)
{
    const struct entry *e = find_entry(refresh, name);
    return e ? e->jwks : NULL;
}

const char *ia_refresh_problem(const struct ia_refresh *refresh, const char *name)
{
    const struct entry *e = find_entry(refresh, name);
    return e ? e->problem : "";
}
