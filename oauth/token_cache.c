// SPDX-License-Identifier: ISC
/* A table of slots, allocated once.  Each slot in use hangs in the chain of its hash bucket and in one list by use; the
 * tail of that list is the next to go.  Links are slot numbers, NONE ends them. */
#include "oauth/token_cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LEN 32
#define NONE    UINT32_MAX

struct slot {
    uint8_t key[KEY_LEN]; /* SHA-256 of the token */
    struct ia_token *token;
    uint64_t epoch; /* of the set that it was judged under */
    uint32_t chain, newer, older;
};

struct ia_token_cache {
    struct ia_issuer_set *set; /* holding it makes its address say which set it is */
    uint64_t epoch;
    EVP_MD *sha256;
    EVP_MD_CTX *hash;
    uint32_t max, used, mask;
    uint32_t newest, oldest, unused; /* `unused`: free slots, by `chain` */
    uint64_t hits, misses;
    uint32_t *buckets;
    struct slot slots[];
};

static uint32_t bucket_of(const struct ia_token_cache *cache, const uint8_t key[KEY_LEN])
{
    uint32_t n;
    memcpy(&n, key, sizeof n); /* as good as random: who could choose it needs a token that passes */
    return n & cache->mask;
}

static uint32_t find(const struct ia_token_cache *cache, const uint8_t key[KEY_LEN])
{
    uint32_t i = cache->buckets[bucket_of(cache, key)];
    while (i != NONE && memcmp(cache->slots[i].key, key, KEY_LEN) != 0)
        i = cache->slots[i].chain;
    return i;
}

static void unlink_use(struct ia_token_cache *cache, uint32_t i)
{
    struct slot *slot = &cache->slots[i];
    *(slot->newer == NONE ? &cache->newest : &cache->slots[slot->newer].older) = slot->older;
    *(slot->older == NONE ? &cache->oldest : &cache->slots[slot->older].newer) = slot->newer;
}

static void link_newest(struct ia_token_cache *cache, uint32_t i)
{
    struct slot *slot = &cache->slots[i];
    slot->newer = NONE;
    slot->older = cache->newest;
    *(cache->newest == NONE ? &cache->oldest : &cache->slots[cache->newest].newer) = i;
    cache->newest = i;
}

static void drop(struct ia_token_cache *cache, uint32_t i)
{
    uint32_t *link = &cache->buckets[bucket_of(cache, cache->slots[i].key)];
    while (*link != i)
        link = &cache->slots[*link].chain;
    *link = cache->slots[i].chain;
    unlink_use(cache, i);
    ia_token_free(cache->slots[i].token);
    cache->slots[i] = (struct slot){.chain = cache->unused};
    cache->unused = i;
    cache->used--;
}

static void insert(struct ia_token_cache *cache, const uint8_t key[KEY_LEN], struct ia_token *token)
{
    if (cache->unused == NONE)
        drop(cache, cache->oldest);
    uint32_t i = cache->unused, *bucket = &cache->buckets[bucket_of(cache, key)];
    struct slot *slot = &cache->slots[i];
    cache->unused = slot->chain;
    memcpy(slot->key, key, KEY_LEN);
    slot->token = ia_token_ref(token);
    slot->epoch = cache->epoch;
    slot->chain = *bucket;
    *bucket = i;
    link_newest(cache, i);
    cache->used++;
}

static bool hash_token(struct ia_token_cache *cache, const char *text, size_t len, uint8_t key[KEY_LEN])
{
    return EVP_DigestInit_ex2(cache->hash, cache->sha256, NULL) == 1 && EVP_DigestUpdate(cache->hash, text, len) == 1 &&
           EVP_DigestFinal_ex(cache->hash, key, NULL) == 1;
}

static void adopt(struct ia_token_cache *cache, struct ia_issuer_set *set)
{
    if (cache->set == set)
        return;
    ia_issuer_set_free(cache->set);
    cache->set = ia_issuer_set_ref(set);
    cache->epoch++;
}

/* Does what was verified then still stand at `now` under the set of now?  With another leeway it is made anew, so that
 * a token's own `ends` holds. */
static bool stands(struct ia_token_cache *cache, struct slot *slot, int64_t now)
{
    struct ia_token_why why;
    int64_t ends;
    if (slot->epoch != cache->epoch) {
        if (ia_token_recheck(cache->set, slot->token, now, &ends, &why) != IA_R_NONE || ends != slot->token->ends)
            return false;
        slot->epoch = cache->epoch;
    }
    return now < slot->token->ends && now >= slot->token->not_before;
}

/* The answer from memory; false when there is none, and the token is to be verified in full. */
static bool recall(struct ia_token_cache *cache, const uint8_t key[KEY_LEN], int64_t now, struct ia_token **out)
{
    uint32_t i = find(cache, key);
    if (i == NONE)
        return false;
    if (!stands(cache, &cache->slots[i], now)) {
        drop(cache, i); /* the full verification says why */
        return false;
    }
    unlink_use(cache, i);
    link_newest(cache, i);
    *out = cache->slots[i].token;
    return true;
}

enum ia_reason ia_token_cache_verify(struct ia_token_cache *cache, struct ia_issuer_set *set, const char *text,
                                     size_t len, int64_t now, const uint8_t *cert_sha256, struct ia_token **out,
                                     struct ia_token_why *why)
{
    uint8_t key[KEY_LEN];
    struct ia_token *token;
    if (len > IA_TOKEN_MAX || !hash_token(cache, text, len, key))
        return ia_token_verify(set, text, len, now, cert_sha256, out, why);
    adopt(cache, set);
    if (recall(cache, key, now, &token)) {
        cache->hits++;
        *why = (struct ia_token_why){0};
        snprintf(why->issuer, sizeof why->issuer, "%s", token->issuer);
        enum ia_reason reason = ia_token_binding(token, cert_sha256, why);
        if (reason == IA_R_NONE)
            *out = ia_token_ref(token);
        return reason;
    }
    cache->misses++;
    enum ia_reason reason = ia_token_verify(set, text, len, now, cert_sha256, &token, why);
    if (reason != IA_R_NONE)
        return reason;
    insert(cache, key, token);
    *out = token;
    return IA_R_NONE;
}

static bool prepare(struct ia_token_cache *cache, uint32_t n_buckets)
{
    cache->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL); /* fetched once: looking it up costs more than the hash */
    cache->hash = EVP_MD_CTX_new();
    cache->buckets = malloc(n_buckets * sizeof *cache->buckets);
    if (!cache->sha256 || !cache->hash || !cache->buckets)
        return false;
    memset(cache->buckets, 0xFF, n_buckets * sizeof *cache->buckets);
    cache->mask = n_buckets - 1;
    cache->newest = cache->oldest = NONE;
    for (uint32_t i = 0; i < cache->max; i++)
        cache->slots[i].chain = i + 1 < cache->max ? i + 1 : NONE;
    return true;
}

enum ia_rc ia_token_cache_new(size_t max, struct ia_token_cache **out, struct ia_err *err)
{
    uint32_t n_buckets = 16;
    if (max == 0 || max > IA_TOKEN_CACHE_MAX)
        return ia_fail(err, IA_USAGE, "token cache: must hold 1 to %d", IA_TOKEN_CACHE_MAX);
    while (n_buckets < max)
        n_buckets *= 2;
    struct ia_token_cache *cache = calloc(1, sizeof *cache + max * sizeof cache->slots[0]);
    if (cache)
        cache->max = (uint32_t)max;
    if (!cache || !prepare(cache, n_buckets)) {
        ia_token_cache_free(cache);
        return ia_nomem(err);
    }
    *out = cache;
    return IA_OK;
}

void ia_token_cache_free(struct ia_token_cache *cache)
{
    if (!cache)
        return;
    for (uint32_t i = 0; i < cache->max; i++)
        ia_token_free(cache->slots[i].token);
    ia_issuer_set_free(cache->set);
    EVP_MD_CTX_free(cache->hash);
    EVP_MD_free(cache->sha256);
    free(cache->buckets);
    free(cache);
}

struct ia_token_cache_stats ia_token_cache_stats(const struct ia_token_cache *cache)
{
    return (struct ia_token_cache_stats){cache->used, cache->hits, cache->misses};
}
