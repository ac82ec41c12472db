// SPDX-License-Identifier: ISC
/* The pre-shared keys of the registry in memory.  All rows are here, sealed, and do not count as part of
 * device_cache_size, because a handshake cannot wait for a look-up.  A key is opened for its handshake and then
 * overwritten.  A key whose row is not here yet fails like an unknown one, and the registry is asked for the row, so
 * that the next attempt works.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_psk_keys;

struct ia_psk_keys *ia_psk_keys_new(void); /* NULL when out of memory */
void ia_psk_keys_free(struct ia_psk_keys *keys);

/* Read psk_key_file.  IA_USAGE and IA_IO say what is wrong with it. */
IA_MUST_USE enum ia_rc ia_psk_keys_open(struct ia_core *core, struct ia_err *err);

/* Is there a key file? */
bool ia_psk_keys_are_in_use(const struct ia_core *core);

/* The key of identity[0..len), which may be any bytes: as find_key of struct ia_tls_psk_hooks. */
const char *ia_psk_keys_find(struct ia_core *core, const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX],
                             size_t *key_len);

/* What CONNECT needs to know of a key that was proved in the handshake: the id of its device, NULL where there is none, and
 * *why the key cannot be used any more, NULL: it can.  Borrowed until the next reply is applied. */
const char *ia_psk_keys_device(const struct ia_core *core, const char *identity, const char **why);

/* SIGHUP: the worker reads the key file again. */
void ia_psk_keys_reload(struct ia_core *core);

/* Replies.  The keyring is taken over. */
void ia_psk_keys_adopt(struct ia_core *core, struct ia_keyring *keyring);
void ia_psk_keys_apply(struct ia_core *core, const struct ia_psk_batch *batch);
void ia_psk_keys_begin(struct ia_core *core);
void ia_psk_keys_end(struct ia_core *core);

/* TICK: ask the worker what handshakes have asked, and remove a slice of what the last resync has not found.  True: there
 * is more to remove. */
bool ia_psk_keys_tick(struct ia_core *core);

/* Have all keys been read at least once, or is there no use for them? */
bool ia_psk_keys_are_complete(const struct ia_core *core);

size_t ia_psk_keys_count(const struct ia_core *core);
