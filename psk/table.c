// SPDX-License-Identifier: ISC
/* An open-addressing table of pointers to rows of one allocation each.  Linear probing with backward-shift deletion: no
 * tombstones.  Names that a peer sends are only looked up; the rows come from administrators. */
#include "psk/table.h"

#include "common/hash.h"
#include "common/str.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_AT_FIRST 1024

struct row {
    int64_t expires_at;
    uint16_t key_id;
    uint8_t identity_len, device_len, sealed_len;
    uint8_t seen;
    uint8_t status;
    char octets[]; /* identity, NUL, device id, NUL, sealed key */
};

struct ia_psk_table {
    struct row **slots;
    size_t mask; /* slots - 1; a power of two less one */
    size_t count, size, swept;
    uint64_t seed;
    uint32_t under[IA_KEYRING_ID_MAX + 1]; /* rows by the key that seals them */
};

static size_t row_size(const struct row *row)
{
    return sizeof *row + row->identity_len + row->device_len + 2u + row->sealed_len;
}

static size_t home_of_identity(const struct ia_psk_table *table, const char *identity, size_t len)
{
    return ia_hash_bytes(table->seed, identity, len) & table->mask;
}

static size_t home_of_row(const struct ia_psk_table *table, const struct row *row)
{
    return home_of_identity(table, row->octets, row->identity_len);
}

struct ia_psk_table *ia_psk_table_new(void)
{
    struct ia_psk_table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->slots = calloc(SLOTS_AT_FIRST, sizeof *table->slots);
    if (!table->slots) {
        free(table);
        return NULL;
    }
    table->mask = SLOTS_AT_FIRST - 1;
    table->seed = (uint64_t)(uintptr_t)table;
    return table;
}

void ia_psk_table_free(struct ia_psk_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i <= table->mask; i++)
        free(table->slots[i]);
    free(table->slots);
    free(table);
}

size_t ia_psk_table_count(const struct ia_psk_table *table)
{
    return table->count;
}

size_t ia_psk_table_count_under(const struct ia_psk_table *table, int key_id)
{
    return table->under[key_id];
}

size_t ia_psk_table_size(const struct ia_psk_table *table)
{
    return sizeof *table + (table->mask + 1) * sizeof *table->slots + table->size;
}

/* The slot of that identity, or the empty one where it would stand. */
static size_t find_slot(const struct ia_psk_table *table, const char *identity, size_t len)
{
    size_t i = home_of_identity(table, identity, len);
    for (; table->slots[i]; i = (i + 1) & table->mask)
        if (table->slots[i]->identity_len == len && memcmp(table->slots[i]->octets, identity, len) == 0)
            break;
    return i;
}

bool ia_psk_table_find(const struct ia_psk_table *table, const char *identity, size_t len, struct ia_psk_row *out)
{
    if (len == 0 || len > IA_PSK_IDENTITY_MAX)
        return false;
    const struct row *row = table->slots[find_slot(table, identity, len)];
    if (!row)
        return false;
    const char *device_id = row->octets + row->identity_len + 1;
    *out = (struct ia_psk_row){.identity = row->octets,
                               .device_id = device_id,
                               .sealed = {(const uint8_t *)device_id + row->device_len + 1, row->sealed_len},
                               .key_id = row->key_id,
                               .status = (enum ia_psk_status)row->status,
                               .expires_at = row->expires_at};
    return true;
}

/* Close the gap at slot i: move back each follower that is not at home before it. */
static void close_gap(struct ia_psk_table *table, size_t i)
{
    for (size_t j = (i + 1) & table->mask; table->slots[j]; j = (j + 1) & table->mask) {
        size_t home = home_of_row(table, table->slots[j]);
        if (((j - home) & table->mask) < ((j - i) & table->mask))
            continue;
        if (i < table->swept && j >= table->swept)
            table->swept = i; /* the sweep has not seen the row that moves behind it */
        table->slots[i] = table->slots[j];
        i = j;
    }
    table->slots[i] = NULL;
}

static void remove_slot(struct ia_psk_table *table, size_t i)
{
    struct row *row = table->slots[i];
    if (!row)
        return;
    table->count--;
    table->under[row->key_id]--;
    table->size -= row_size(row);
    free(row);
    close_gap(table, i);
}

void ia_psk_table_remove(struct ia_psk_table *table, const char *identity)
{
    remove_slot(table, find_slot(table, identity, strlen(identity)));
}

/* Keep the table at most three quarters full. */
static bool grow_table(struct ia_psk_table *table)
{
    if ((table->count + 1) * 4 <= (table->mask + 1) * 3)
        return true;
    struct ia_psk_table larger = *table;
    larger.mask = table->mask * 2 + 1;
    larger.slots = calloc(larger.mask + 1, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i <= table->mask; i++)
        if (table->slots[i])
            larger.slots[find_slot(&larger, table->slots[i]->octets, table->slots[i]->identity_len)] = table->slots[i];
    free(table->slots);
    *table = larger;
    table->swept = 0; /* every row has moved */
    return true;
}

static bool row_fits(const struct ia_psk_row *row)
{
    return ia_psk_identity_valid(row->identity, strlen(row->identity)) && strlen(row->device_id) <= IA_VALUE_MAX &&
           row->sealed.len <= IA_PSK_SEALED_MAX && row->key_id >= 0 && row->key_id <= IA_KEYRING_ID_MAX;
}

static struct row *copy_row(const struct ia_psk_row *from, uint8_t seen)
{
    const size_t identity_size = strlen(from->identity) + 1, device_size = strlen(from->device_id) + 1;
    struct row *row = malloc(sizeof *row + identity_size + device_size + from->sealed.len);
    if (!row)
        return NULL;
    *row = (struct row){.expires_at = from->expires_at,
                        .key_id = (uint16_t)from->key_id,
                        .identity_len = (uint8_t)(identity_size - 1),
                        .device_len = (uint8_t)(device_size - 1),
                        .sealed_len = (uint8_t)from->sealed.len,
                        .seen = seen,
                        .status = (uint8_t)from->status};
    memcpy(row->octets, from->identity, identity_size);
    memcpy(row->octets + identity_size, from->device_id, device_size);
    if (from->sealed.len)
        memcpy(row->octets + identity_size + device_size, from->sealed.at, from->sealed.len);
    return row;
}

/* Of the same identity. */
static bool is_unchanged(const struct row *old, const struct ia_psk_row *row)
{
    const char *device_id = old->octets + old->identity_len + 1;
    return old->expires_at == row->expires_at && old->key_id == row->key_id &&
           (enum ia_psk_status)old->status == row->status && strcmp(device_id, row->device_id) == 0 &&
           old->sealed_len == row->sealed.len &&
           (row->sealed.len == 0 || memcmp(device_id + old->device_len + 1, row->sealed.at, row->sealed.len) == 0);
}

bool ia_psk_table_put(struct ia_psk_table *table, const struct ia_psk_row *row, uint8_t seen)
{
    struct row *old = table->slots[find_slot(table, row->identity, strlen(row->identity))];
    if (old && is_unchanged(old, row)) {
        old->seen = seen; /* most rows of a resync */
        return true;
    }
    ia_psk_table_remove(table, row->identity);
    struct row *copy = row_fits(row) && grow_table(table) ? copy_row(row, seen) : NULL;
    if (!copy)
        return false;
    table->slots[find_slot(table, copy->octets, copy->identity_len)] = copy;
    table->count++;
    table->under[copy->key_id]++;
    table->size += row_size(copy);
    return true;
}

void ia_psk_table_sweep_begin(struct ia_psk_table *table)
{
    table->swept = 0;
}

bool ia_psk_table_sweep(struct ia_psk_table *table, uint8_t seen, uint8_t or_seen, size_t budget)
{
    while (table->swept <= table->mask && budget-- > 0) {
        const struct row *row = table->slots[table->swept];
        if (row && row->seen != seen && row->seen != or_seen)
            remove_slot(table, table->swept); /* another row may stand there now */
        else
            table->swept++;
    }
    return table->swept > table->mask;
}
