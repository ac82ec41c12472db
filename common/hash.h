// SPDX-License-Identifier: ISC
/* One hash for tables of ours: FNV-1a (64 bits) with a final mix, so that the low bits alone are usable too.
 *
 * It is not keyed: whoever may choose the hashed text can choose collisions.  A table whose keys come from the network
 * is bounded, or hashes SHA-256 digests instead (which are uniformly distributed already). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The hash of bytes[0..len), from `seed` on: 0, a table's own number, or the hash of what comes before. */
uint64_t ia_hash_bytes(uint64_t seed, const void *bytes, size_t len);

/* The same for a C string, without its NUL. */
uint64_t ia_hash_text(uint64_t seed, const char *text);
