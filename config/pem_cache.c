// SPDX-License-Identifier: ISC
#include "config/pem_cache.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct entry {
    struct ia_parsed_pem parsed;
    int64_t id;
    char *pem;      /* NULL for a CRL that parsed: a list may be large, and knows its text again */
    uint64_t round; /* the last build that asked for it */
    UT_hash_handle hh;
};

struct ia_pem_cache {
    struct entry *cas, *crls;
    uint64_t round;
};

struct ia_pem_cache *ia_pem_cache_new(void)
{
    return calloc(1, sizeof(struct ia_pem_cache));
}

static void entry_free(struct entry *entry)
{
    ia_cert_free(entry->parsed.cert);
    ia_crl_free(entry->parsed.crl);
    free(entry->pem);
    free(entry);
}

static void remove_entry(struct entry **table, struct entry *entry)
{
    HASH_DEL(*table, entry);
    entry_free(entry);
}

/* Remove the entries that the build of that number did not ask for. */
static void prune_table(struct entry **table, uint64_t round)
{
    struct entry *entry, *next;
    HASH_ITER(hh, *table, entry, next) {
        if (entry->round != round)
            remove_entry(table, entry);
    }
}

void ia_pem_cache_free(struct ia_pem_cache *cache)
{
    if (!cache)
        return;
    prune_table(&cache->cas, UINT64_MAX);
    prune_table(&cache->crls, UINT64_MAX);
    free(cache);
}

void ia_pem_cache_begin(struct ia_pem_cache *cache)
{
    cache->round++;
}

void ia_pem_cache_end(struct ia_pem_cache *cache)
{
    prune_table(&cache->cas, cache->round);
    prune_table(&cache->crls, cache->round);
}

static struct entry *add_entry(struct entry **table, int64_t id, const char *pem)
{
    struct entry *entry = calloc(1, sizeof *entry);
    char *copy = strdup(pem);
    if (!entry || !copy) {
        free(entry);
        free(copy);
        return NULL;
    }
    entry->id = id;
    entry->pem = copy;
    entry->parsed.is_new = true;
    HASH_ADD(hh, *table, id, sizeof id, entry);
    if (entry->hh.tbl)
        return entry;
    entry_free(entry);
    return NULL;
}

static bool is_parsed_from(const struct entry *entry, const char *pem)
{
    return entry->pem ? strcmp(entry->pem, pem) == 0 : ia_crl_is_from(entry->parsed.crl, pem);
}

/* The entry of that row, or a new one that has yet to be parsed.  NULL when out of memory. */
static struct entry *get_entry(struct ia_pem_cache *cache, struct entry **table, int64_t id, const char *pem)
{
    struct entry *entry = NULL;
    HASH_FIND(hh, *table, &id, sizeof id, entry);
    if (entry && pem && !is_parsed_from(entry, pem)) {
        remove_entry(table, entry);
        entry = NULL;
    }
    if (entry)
        entry->parsed.is_new = false;
    else
        entry = add_entry(table, id, pem ? pem : "");
    if (entry)
        entry->round = cache->round;
    return entry;
}

/* A text that was not parsed for want of memory is not an invalid text: it is not kept. */
static const struct ia_parsed_pem *keep_parsed(struct entry **table, struct entry *entry, enum ia_rc rc)
{
    if (rc != IA_NOMEM)
        return &entry->parsed;
    remove_entry(table, entry);
    return NULL;
}

const struct ia_parsed_pem *ia_pem_cache_ca(struct ia_pem_cache *cache, int64_t ca_id, const char *pem)
{
    struct entry *entry = get_entry(cache, &cache->cas, ca_id, pem);
    if (!entry || !entry->parsed.is_new)
        return entry ? &entry->parsed : NULL;
    return keep_parsed(&cache->cas, entry, ia_cert_parse_pem(pem, &entry->parsed.cert, &entry->parsed.error));
}

const struct ia_parsed_pem *ia_pem_cache_crl(struct ia_pem_cache *cache, int64_t crl_id, const char *pem)
{
    struct entry *entry = get_entry(cache, &cache->crls, crl_id, pem);
    if (!entry || !entry->parsed.is_new)
        return entry ? &entry->parsed : NULL;
    enum ia_rc rc = ia_crl_parse_pem(entry->pem, &entry->parsed.crl, &entry->parsed.error);
    if (rc == IA_OK) {
        free(entry->pem);
        entry->pem = NULL;
    }
    return keep_parsed(&cache->crls, entry, rc);
}
