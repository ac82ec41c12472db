// SPDX-License-Identifier: ISC
/* Marks of claims: 64 bits for a pointer with its value, so that a live session can answer whether a token that is
 * revoked by any claim is its own, without keeping the claims.  A mark is a SipHash with a key that this process chose
 * at random and that never leaves it: nobody can find another claim with the mark of a revoked one, and by chance a
 * token of 100 claims meets one of 100,000 revocations once in 10^12 tokens.  Internal to oauth/. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_MARK_VALUE_MAX 1024 /* bytes of a value that can be revoked; a longer claim has no mark */

/* The mark of `value` at `pointer`; false when the process has no random key, or one of them is too long. */
bool ia_claim_mark(const char *pointer, size_t pointer_len, const char *value, size_t value_len, uint64_t *out);

/* The mark of an issuer (by row name), added to the marks of its claims: the same claim of two issuers is not the same. */
bool ia_issuer_mark(const char *name, uint64_t *out);
