// SPDX-License-Identifier: ISC
/* A table of slots, allocated once.  Each slot in use is in the chain of its hash bucket and in one list ordered by use,
 * whose tail is evicted first.  Links are slot numbers; NONE ends a list. */
#include "oauth/token_cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct slot {
    uint8_t key[IA_SHA256_LEN]; /* SHA-256 of the token */
    struct ia_token *token;
    uint64_t epoch; /* of the issuer set that it was validated under */
    uint32_t chain, newer, older;
};

struct ia_token_cache {
    struct ia_issuer_set *set; /* a reference is held, so equal addresses mean the same set */
    uint64_t epoch;
    EVP_MD *sha256;
    EVP_MD_CTX *hash;
    uint32_t max, used, mask;
    uint32_t newest, oldest, unused; /* `unused`: free slots, by `chain` */
    uint64_t hits, misses;
    uint32_t *buckets;
    struct slot slots[];
};

static uint32_t bucket_of(const struct ia_token_cache *cache, const uint8_t key[IA_SHA256_LEN])
{
    uint32_t n;
    memcpy(&n, key, sizeof n); /* uniformly distributed: an attacker would need valid tokens to choose it */
    return n & cache->mask;
}

static uint32_t find_slot(const struct ia_token_cache *cache, const uint8_t key[IA_SHA256_LEN])
{
    uint32_t i = cache->buckets[bucket_of(cache, key)];
    while (i != NONE && memcmp(cache->slots[i].key, key, IA_SHA256_LEN) != 0)
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

static void drop_slot(struct ia_token_cache *cache, uint32_t i)
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

static void insert_token(struct ia_token_cache *cache, const uint8_t key[IA_SHA256_LEN], struct ia_token *token)
{
    if (cache->unused == NONE)
        drop_slot(cache, cache->oldest);
    uint32_t i = cache->unused, *bucket = &cache->buckets[bucket_of(cache, key)];
    struct slot *slot = &cache->slots[i];
    cache->unused = slot->chain;
    memcpy(slot->key, key, IA_SHA256_LEN);
    slot->token = ia_token_ref(token);
    slot->epoch = cache->epoch;
    slot->chain = *bucket;
    *bucket = i;
    link_newest(cache, i);
    cache->used++;
}

static bool hash_token(struct ia_token_cache *cache, const char *text, size_t len, uint8_t key[IA_SHA256_LEN])
{
    return EVP_DigestInit_ex2(cache->hash, cache->sha256, NULL) == 1 && EVP_DigestUpdate(cache->hash, text, len) == 1 &&
           EVP_DigestFinal_ex(cache->hash, key, NULL) == 1;
}

static void adopt_set(struct ia_token_cache *cache, struct ia_issuer_set *set)
{
    if (cache->set == set)
        return;
    ia_issuer_set_free(cache->set);
    cache->set = ia_issuer_set_ref(set);
    cache->epoch++;
}

/* Is a token that was verified before still valid at `now` under the current set?  With another leeway it is verified
 * again, so that expires_at of the token holds. */
static bool still_valid(struct ia_token_cache *cache, struct slot *slot, int64_t now)
{
    struct ia_token_refusal refusal;
    int64_t expires_at;
    if (slot->epoch != cache->epoch) {
        if (ia_token_revalidate(cache->set, slot->token, now, &expires_at, &refusal) != IA_R_NONE ||
            expires_at != slot->token->expires_at)
            return false;
        slot->epoch = cache->epoch;
    }
    return now < slot->token->expires_at && now >= slot->token->not_before;
}

/* The token of that hash; NULL when there is none and it is to be verified in full. */
static struct ia_token *recall_token(struct ia_token_cache *cache, const uint8_t key[IA_SHA256_LEN], int64_t now)
{
    uint32_t i = find_slot(cache, key);
    if (i == NONE)
        return NULL;
    if (!still_valid(cache, &cache->slots[i], now)) {
        drop_slot(cache, i); /* the full verification says why */
        return NULL;
    }
    unlink_use(cache, i);
    link_newest(cache, i);
    return cache->slots[i].token;
}

static void hash_presented(struct ia_token_cache *cache, struct ia_presented *presented)
{
    if (!presented->hashed && presented->len <= IA_TOKEN_MAX)
        presented->hashed = hash_token(cache, presented->text, presented->len, presented->sha256);
}

void ia_token_cache_classify(struct ia_token_cache *cache, const char *text, size_t len, struct ia_presented *out)
{
    ia_presented_init(out, text, len);
    hash_presented(cache, out);
    if (out->hashed && find_slot(cache, out->sha256) != NONE)
        out->kind = IA_PRESENTED_TOKEN; /* parsed only if it has to be verified again */
    else
        ia_presented_parse(out);
}

enum ia_reason ia_token_cache_verify(struct ia_token_cache *cache, const struct ia_token_check *check,
                                     struct ia_token **out, struct ia_token_refusal *refusal)
{
    struct ia_presented *presented = check->presented;
    hash_presented(cache, presented);
    if (!presented->hashed)
        return ia_token_verify(check, out, refusal);
    adopt_set(cache, check->issuers);
    struct ia_token *token = recall_token(cache, presented->sha256, check->now);
    if (token) {
        cache->hits++;
        *refusal = (struct ia_token_refusal){0};
        snprintf(refusal->issuer, sizeof refusal->issuer, "%s", token->issuer);
        refusal->device = token->device;
        enum ia_reason reason = ia_token_check_binding(token, check->cert_sha256, refusal);
        if (reason == IA_R_NONE)
            *out = ia_token_ref(token);
        return reason;
    }
    cache->misses++;
    enum ia_reason reason = ia_token_verify(check, &token, refusal);
    if (reason != IA_R_NONE)
        return reason;
    insert_token(cache, presented->sha256, token);
    *out = token;
    return IA_R_NONE;
}

static bool prepare_cache(struct ia_token_cache *cache, uint32_t n_buckets)
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
    if (!cache || !prepare_cache(cache, n_buckets)) {
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
