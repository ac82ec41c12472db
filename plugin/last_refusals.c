// SPDX-License-Identifier: ISC
#include "plugin/last_refusals.h"

#include "plugin/database_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define WRITE_EVERY_US 60000000

enum key_kind { KEY_FINGERPRINT, KEY_APP, KEY_ADDRESS, KEY_KINDS };

static const char *const key_kinds[KEY_KINDS] = {"fingerprint", "app", "address"};

struct kept_refusal {
    enum key_kind kind;
    struct ia_event_request event; /* of the last one */
    char *json;                    /* owned; its detail */
    int64_t first_us, count;       /* not yet written */
    int64_t due_us;                /* monotonic: when it may be written */
    UT_hash_handle hh;             /* in the order of the last refusals */
    struct kept_refusal *prev, *next;
    char key[]; /* of at most IA_REFUSAL_KEY_MAX bytes */
};

struct ia_last_refusals {
    struct kept_refusal *by_key[KEY_KINDS];
    struct kept_refusal *unwritten; /* the one that has waited longest is the first */
};

struct ia_last_refusals *ia_last_refusals_new(void)
{
    return calloc(1, sizeof(struct ia_last_refusals));
}

static void refusal_remove(struct ia_last_refusals *all, struct kept_refusal *r)
{
    HASH_DEL(all->by_key[r->kind], r);
    if (r->count)
        DL_DELETE(all->unwritten, r); // NOLINT(clang-analyzer-core.NullDereference): it is listed, so there is a first
    free(r->json);
    free(r);
}

void ia_last_refusals_free(struct ia_last_refusals *refusals)
{
    if (!refusals)
        return;
    for (size_t kind = 0; kind < KEY_KINDS; kind++)
        while (refusals->by_key[kind])
            refusal_remove(refusals, refusals->by_key[kind]);
    free(refusals);
}

/* ---- keeping */

static struct kept_refusal *refusal_new(enum key_kind kind, const char *key)
{
    size_t len = strlen(key);
    struct kept_refusal *r = calloc(1, sizeof *r + len + 1);
    if (!r)
        return NULL;
    r->kind = kind;
    memcpy(r->key, key, len + 1);
    return r;
}

/* The refusal of that key, as the latest; a new one in place of the oldest.  NULL when out of memory. */
static struct kept_refusal *refusal_get(struct ia_last_refusals *all, enum key_kind kind, const char *key)
{
    struct kept_refusal **by_key = &all->by_key[kind], *r = NULL;
    HASH_FIND_STR(*by_key, key, r);
    if (r)
        HASH_DEL(*by_key, r);
    else
        r = refusal_new(kind, key);
    if (!r)
        return NULL;
    HASH_ADD_STR(*by_key, key, r);
    if (!r->hh.tbl) {
        if (r->count)
            DL_DELETE(all->unwritten, r);
        free(r->json);
        free(r);
        return NULL;
    }
    if (HASH_COUNT(*by_key) > IA_LAST_REFUSALS_MAX)
        refusal_remove(all, *by_key);
    return r;
}

static void note_refusal(struct ia_last_refusals *all, enum key_kind kind, const char *key,
                         const struct ia_event_request *event, const char *json)
{
    char cut[IA_REFUSAL_KEY_MAX + 1];
    (void)snprintf(cut, sizeof cut, "%s", key);
    struct kept_refusal *r = cut[0] ? refusal_get(all, kind, cut) : NULL;
    char *copy = r ? strdup(json) : NULL;
    if (!copy)
        return;
    free(r->json);
    r->json = copy;
    if (r->count == 0)
        DL_APPEND(all->unwritten, r);
    if (r->count == 0 || r->event.reason != event->reason) {
        r->first_us = event->at_us;
        r->count = 0;
    }
    r->count++;
    r->event = *event;
}

void ia_last_refusals_note(struct ia_last_refusals *refusals, const struct ia_refused_client *client,
                           const struct ia_event_request *event, const char *json)
{
    char hex[2 * IA_FINGERPRINT_LEN + 1] = "";
    if (client->fingerprint)
        ia_hex(client->fingerprint, IA_FINGERPRINT_LEN, hex);
    note_refusal(refusals, KEY_FINGERPRINT, hex, event, json);
    note_refusal(refusals, KEY_APP, client->app ? client->app : "", event, json);
    note_refusal(refusals, KEY_ADDRESS, client->address ? client->address : "", event, json);
}

/* ---- writing */

/* False: the worker has no room for it; it stays unwritten. */
static bool hand_over(struct ia_core *core, const struct kept_refusal *r)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_REFUSAL, r->json);
    if (!request)
        return false;
    request->refusal.event = r->event;
    request->refusal.first_us = r->first_us;
    request->refusal.count = r->count;
    request->refusal.key_kind = key_kinds[r->kind];
    (void)snprintf(request->refusal.key, sizeof request->refusal.key, "%s", r->key);
    return ia_worker_ask(core->worker, request);
}

/* Without the database they stay here, where there is one for each key: the worker would keep each of a minute. */
void ia_last_refusals_write(struct ia_core *core, size_t max)
{
    struct ia_last_refusals *all = core->last_refusals;
    struct kept_refusal *r, *next;
    int64_t now_us = ia_monotonic_us();
    if (!ia_database_is_up(core))
        return;
    DL_FOREACH_SAFE(all->unwritten, r, next) {
        if (max == 0)
            return;
        if (max != SIZE_MAX && r->due_us > now_us)
            continue;
        if (!hand_over(core, r))
            return;
        DL_DELETE(all->unwritten, r); // NOLINT(clang-analyzer-core.NullDereference): it is listed, so there is a first
        r->count = 0;
        r->due_us = now_us + WRITE_EVERY_US;
        max -= max != SIZE_MAX;
    }
}
