// SPDX-License-Identifier: ISC
/* Tokens that were verified before, so that a storm of reconnects costs a hash each.  Keyed by the token's SHA-256,
 * never by the token; holds only tokens that passed.  Bounded: the one that was not used longest goes first.
 * One thread (the broker's) owns it. */
#pragma once

#include "oauth/token.h"

#define IA_TOKEN_CACHE_MAX 1000000

struct ia_token_cache;

IA_MUST_USE enum ia_rc ia_token_cache_new(size_t max, struct ia_token_cache **out, struct ia_err *err);
void ia_token_cache_free(struct ia_token_cache *cache);

/* As ia_token_verify, by memory where possible.  What was verified under another set is judged by ia_token_revalidate
 * before it is believed again; time and certificate are judged each time.  Keeps a reference to `set`. */
enum ia_reason ia_token_cache_verify(struct ia_token_cache *cache, struct ia_issuer_set *set, const char *text,
                                     size_t len, int64_t now, const uint8_t *cert_sha256, struct ia_token **out,
                                     struct ia_token_refusal *why);

struct ia_token_cache_stats {
    size_t entries;
    uint64_t hits;
    uint64_t misses;
};
struct ia_token_cache_stats ia_token_cache_stats(const struct ia_token_cache *cache);
