// SPDX-License-Identifier: ISC
#include "plugin/kept_sessions.h"

#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_KEPT_SLOTS 256

struct kept_entry {
    uint64_t key;   /* 0: free */
    uint64_t name;  /* by_client_id: of the username; by_context: of the client id */
    uint64_t other; /* by_client_id: the context; by_context: of the username, 0: left to other plugins */
};

/* Open addressing with linear probing and backward-shift deletion. */
struct kept_table {
    struct kept_entry *slots;
    size_t mask, count;
};

struct ia_kept_sessions {
    struct kept_table by_client_id, by_context;
};

/* 0 marks a free slot. */
uint64_t ia_kept_name_key(const char *name)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t key;
    SHA256((const unsigned char *)name, strlen(name), digest);
    memcpy(&key, digest, sizeof key);
    return key ? key : 1;
}

static uint64_t context_key(const struct mosquitto *context)
{
    return (uint64_t)(uintptr_t)context;
}

/* The place where the key would stand if no other were in its way. */
static size_t kept_home(const struct kept_table *t, uint64_t key)
{
    return (size_t)((key ^ key >> 32) * 0x9E3779B97F4A7C15U >> 20) & t->mask;
}

/* The slot of the key, or the free slot where it belongs. */
static size_t kept_slot(const struct kept_table *t, uint64_t key)
{
    size_t i = kept_home(t, key);
    while (t->slots[i].key && t->slots[i].key != key)
        i = (i + 1) & t->mask;
    return i;
}

static const struct kept_entry *kept_get(const struct kept_table *t, uint64_t key)
{
    const struct kept_entry *e = &t->slots[kept_slot(t, key)];
    return e->key ? e : NULL;
}

static void kept_remove(struct kept_table *t, uint64_t key)
{
    size_t gap = kept_slot(t, key);
    if (!t->slots[gap].key)
        return;
    t->count--;
    for (size_t i = (gap + 1) & t->mask; t->slots[i].key; i = (i + 1) & t->mask) {
        if (((i - kept_home(t, t->slots[i].key)) & t->mask) < ((i - gap) & t->mask))
            continue; /* it is nearer to its home than the gap */
        t->slots[gap] = t->slots[i];
        gap = i;
    }
    t->slots[gap] = (struct kept_entry){0};
}

static bool kept_resize(struct kept_table *t, size_t slots)
{
    struct kept_table old = *t;
    struct kept_entry *fresh = calloc(slots, sizeof *fresh);
    if (!fresh)
        return false;
    t->slots = fresh;
    t->mask = slots - 1;
    for (size_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i].key)
            t->slots[kept_slot(t, old.slots[i].key)] = old.slots[i];
    free(old.slots);
    return true;
}

/* At most three quarters full.  At the bound, the entry that stands at the new one's place makes room. */
static bool kept_make_room(struct kept_table *t, uint64_t key)
{
    if ((t->count + 1) * 4 <= (t->mask + 1) * 3)
        return true;
    if (t->mask + 1 < IA_KEPT_MAX)
        return kept_resize(t, (t->mask + 1) * 2);
    size_t i = kept_home(t, key);
    while (!t->slots[i].key)
        i = (i + 1) & t->mask;
    kept_remove(t, t->slots[i].key);
    return true;
}

static bool kept_put(struct kept_table *t, const struct kept_entry *entry)
{
    size_t i = kept_slot(t, entry->key);
    if (!t->slots[i].key) {
        if (!kept_make_room(t, entry->key))
            return false;
        i = kept_slot(t, entry->key);
        t->count++;
    }
    t->slots[i] = *entry;
    return true;
}

struct ia_kept_sessions *ia_kept_new(void)
{
    struct ia_kept_sessions *kept = calloc(1, sizeof *kept);
    if (kept && kept_resize(&kept->by_client_id, FIRST_KEPT_SLOTS) && kept_resize(&kept->by_context, FIRST_KEPT_SLOTS))
        return kept;
    ia_kept_free(kept);
    return NULL;
}

void ia_kept_free(struct ia_kept_sessions *kept)
{
    if (!kept)
        return;
    free(kept->by_client_id.slots);
    free(kept->by_context.slots);
    free(kept);
}

bool ia_kept_add(struct ia_kept_sessions *kept, const struct mosquitto *context, const char *client_id,
                 const char *username)
{
    const uint64_t id = ia_kept_name_key(client_id), name = username ? ia_kept_name_key(username) : 0;
    const struct kept_entry by_context = {.key = context_key(context), .name = id, .other = name},
                            by_id = {.key = id, .name = name, .other = context_key(context)};
    ia_kept_forget_context(kept, context);
    if (!kept_put(&kept->by_context, &by_context))
        return false;
    return !username || kept_put(&kept->by_client_id, &by_id);
}

bool ia_kept_restore(struct ia_kept_sessions *kept, uint64_t client_id_key, uint64_t principal_key)
{
    const struct kept_entry by_id = {.key = client_id_key, .name = principal_key};
    return client_id_key == 0 || kept_put(&kept->by_client_id, &by_id);
}

bool ia_kept_conflicts(const struct ia_kept_sessions *kept, const char *client_id, const char *username)
{
    const struct kept_entry *e = kept_get(&kept->by_client_id, ia_kept_name_key(client_id));
    return e && e->name != ia_kept_name_key(username);
}

bool ia_kept_is_owner(const struct ia_kept_sessions *kept, const char *client_id, const char *username)
{
    const struct kept_entry *e = kept_get(&kept->by_client_id, ia_kept_name_key(client_id));
    return e && e->name == ia_kept_name_key(username);
}

bool ia_kept_is_of(const struct ia_kept_sessions *kept, const struct mosquitto *context, const char *client_id,
                   const char *username)
{
    const struct kept_entry *e = kept_get(&kept->by_context, context_key(context));
    return e && client_id && e->name == ia_kept_name_key(client_id) &&
           e->other == (username ? ia_kept_name_key(username) : 0);
}

void ia_kept_forget_context(struct ia_kept_sessions *kept, const struct mosquitto *context)
{
    const struct kept_entry *e = kept_get(&kept->by_context, context_key(context));
    if (!e)
        return;
    const struct kept_entry *owner = kept_get(&kept->by_client_id, e->name);
    if (owner && owner->other == context_key(context))
        kept_remove(&kept->by_client_id, e->name);
    kept_remove(&kept->by_context, context_key(context));
}

void ia_kept_forget_client_id(struct ia_kept_sessions *kept, const char *client_id)
{
    kept_remove(&kept->by_client_id, ia_kept_name_key(client_id));
}

size_t ia_kept_count(const struct ia_kept_sessions *kept)
{
    return kept->by_client_id.count;
}
