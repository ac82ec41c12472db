// SPDX-License-Identifier: ISC
/* SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash of 64 bits for short texts.  Who does not know the key cannot find
 * two texts of one hash, so a hash may stand for a text that a peer has chosen.  OpenSSL has it too, at ten times the
 * cost for a text of this length. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ia_siphash_key {
    uint64_t k0, k1;
};

uint64_t ia_siphash(const struct ia_siphash_key *key, const void *bytes, size_t len);
