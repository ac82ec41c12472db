// SPDX-License-Identifier: ISC
/* The registry's pre-shared keys in memory, sealed as they lie in the database: identity → row.  Owned by one thread, so
 * no locks.  Not bounded by device_cache_size: the handshake cannot wait for a look-up, so all rows have to be there.  A
 * row costs at most 200 bytes where identity and device id have up to 32 bytes and the key has 32. */
#pragma once

#include "common/octets.h"
#include "psk/identity.h"
#include "psk/seal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A word that this program does not know reads as INACTIVE, which is 0. */
enum ia_psk_status { IA_PSK_INACTIVE, IA_PSK_ACTIVE, IA_PSK_REVOKED };

/* One row.  Texts and octets are borrowed from the table, or from whoever puts the row. */
struct ia_psk_row {
    const char *identity, *device_id;
    struct ia_octets sealed;
    int key_id;
    enum ia_psk_status status;
    int64_t expires_at;  /* seconds since 1970, the last one in which it is valid; 0: it does not expire */
    const char *problem; /* that the registry has for it; NULL: none.  The table does not keep it */
};

struct ia_psk_table;

/* NULL when out of memory. */
struct ia_psk_table *ia_psk_table_new(void);
void ia_psk_table_free(struct ia_psk_table *table);
size_t ia_psk_table_count(const struct ia_psk_table *table);

/* The row of identity[0..len), which may be any bytes.  The texts are valid until the next put, remove or sweep. */
bool ia_psk_table_find(const struct ia_psk_table *table, const char *identity, size_t len, struct ia_psk_row *out);

/* Put a copy of the row in place of the one of its identity, with a mark for the sweep.  False when out of memory, or
 * when the row violates a bound of identity, device id (IA_VALUE_MAX) or sealed key: the table then holds no row of
 * that identity, not even an older one. */
bool ia_psk_table_put(struct ia_psk_table *table, const struct ia_psk_row *row, uint8_t seen);
void ia_psk_table_remove(struct ia_psk_table *table, const char *identity);

/* Remove the rows that have neither mark, at most `budget` slots a call.  True once the whole table has been visited since
 * sweep_begin.  Rows may be put and removed in between: one that moves is visited all the same. */
void ia_psk_table_sweep_begin(struct ia_psk_table *table);
bool ia_psk_table_sweep(struct ia_psk_table *table, uint8_t seen, uint8_t or_seen, size_t budget);

/* How many rows are sealed under that key (0 to IA_KEYRING_ID_MAX)? */
size_t ia_psk_table_count_under(const struct ia_psk_table *table, int key_id);

/* ---- for the tests: the bytes of memory, without what malloc adds */
size_t ia_psk_table_size(const struct ia_psk_table *table);
