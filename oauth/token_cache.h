// SPDX-License-Identifier: ISC
/* Tokens that were verified before, so that a storm of reconnects costs a hash each.  Keyed by the token's SHA-256,
 * never by the token; holds only tokens that passed.  Bounded: the least recently used token is evicted first.
 * One thread (the broker's) owns it. */
#pragma once

#include "oauth/token.h"

#define IA_TOKEN_CACHE_MAX 1000000

struct ia_token_cache;

IA_MUST_USE enum ia_rc ia_token_cache_new(size_t max, struct ia_token_cache **out, struct ia_err *err);
void ia_token_cache_free(struct ia_token_cache *cache);

/* Classify text[0..len) (presented.h), which must outlive *out.  A token that the cache holds is not parsed again.  The
 * caller clears *out (ia_presented_clear). */
void ia_token_cache_classify(struct ia_token_cache *cache, const char *text, size_t len, struct ia_presented *out);

/* As ia_token_verify, from the cache where possible.  What was verified under another set is revalidated before it is
 * used again; time and certificate are checked each time.  Keeps a reference to check->issuers. */
enum ia_reason ia_token_cache_verify(struct ia_token_cache *cache, const struct ia_token_check *check,
                                     struct ia_token **out, struct ia_token_refusal *refusal);

struct ia_token_cache_stats {
    size_t entries;
    uint64_t hits;
    uint64_t misses;
};
struct ia_token_cache_stats ia_token_cache_stats(const struct ia_token_cache *cache);
