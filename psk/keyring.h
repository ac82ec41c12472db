// SPDX-License-Identifier: ISC
/* The key-encryption keys that open the pre-shared keys of the registry: a file beside the broker, which the database
 * never sees.
 *
 * One key a line: `ID HEX64`, that is an id from 0 to 32767, blanks, and 64 hexadecimal digits.  The first line's key
 * seals, all of them open, so that keys can be replaced without a stop.  Empty lines and lines that begin with '#' are
 * skipped.
 *
 * Immutable once read; any thread. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_KEYRING_KEY_LEN 32
#define IA_KEYRING_ID_MAX  32767

struct ia_keyring;

/* Read the file at `path`.  IA_USAGE, with a text that says what to do and holds nothing of the file's contents: it is
 * not a regular file, not owned by the process's effective user, accessible to its group or to others, or has a line
 * that is not a key; IA_IO: it cannot be read.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_keyring_read(const char *path, struct ia_keyring **out, struct ia_err *err);

/* Overwrites the keys.  NULL is allowed. */
void ia_keyring_free(struct ia_keyring *keyring);

/* A copy, which the caller owns; NULL: out of memory. */
struct ia_keyring *ia_keyring_copy(const struct ia_keyring *keyring);

/* Do both have the same keys under the same ids?  Their order does not count. */
bool ia_keyring_same(const struct ia_keyring *a, const struct ia_keyring *b);

/* The id of the key that seals. */
int ia_keyring_sealing_id(const struct ia_keyring *keyring);

/* The key with that id, IA_KEYRING_KEY_LEN bytes, or NULL. */
const uint8_t *ia_keyring_find(const struct ia_keyring *keyring, int id);

size_t ia_keyring_count(const struct ia_keyring *keyring);

/* ---- for the tests: the same for a text of `len` bytes, which is not kept */
IA_MUST_USE enum ia_rc ia_keyring_parse(const char *text, size_t len, struct ia_keyring **out, struct ia_err *err);
