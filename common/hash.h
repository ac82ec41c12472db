// SPDX-License-Identifier: ISC
/* The hash function of the project's own tables: FNV-1a (64 bits) with a final mix, so that the low bits can be used
 * alone.
 *
 * The hash has no secret key: a peer that chooses the hashed text can choose collisions.  A table with keys from the
 * network is therefore bounded, or uses a SHA-256 digest as its key (which is uniformly distributed already). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The hash of bytes[0..len).  `seed`: 0, a number of the table, or the hash of a preceding part. */
uint64_t ia_hash_bytes(uint64_t seed, const void *bytes, size_t len);

/* The same for a C string, without its NUL. */
uint64_t ia_hash_text(uint64_t seed, const char *text);
