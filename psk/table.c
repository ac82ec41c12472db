// SPDX-License-Identifier: ISC
/* An open-addressing table of pointers to rows of one allocation each.  Linear probing with backward-shift deletion: no
 * tombstones.  Names that a peer sends are only looked up; the rows come from administrators.
 *
 * When it grows, the rows move to the larger array a few at a time: all of a million at once would hold up the broker for
 * 150 ms.  They move in whole runs between empty slots, so that in either array each row is where it is looked for. */
#include "psk/table.h"

#include "common/hash.h"
#include "common/str.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_AT_FIRST 1024
#define MOVED_AT_ONCE  8 /* slots; more than 4/3, so that all rows have moved when the larger array is full */

struct row {
    int64_t expires_at;
    uint16_t key_id;
    uint8_t identity_len, device_len, sealed_len;
    uint8_t seen;
    uint8_t status;
    char octets[]; /* identity, NUL, device id, NUL, sealed key */
};

/* Slots, of which one in four is empty at least. */
struct slots {
    struct row **at;
    size_t mask; /* slots - 1; a power of two less one */
};

struct ia_psk_table {
    struct slots now;
    struct slots old;       /* rows that have not moved yet; `at` NULL: all have */
    size_t move_from, left; /* of `old`: where the next run begins, and the slots that are still to be visited */
    size_t count, size, swept;
    uint64_t seed;
    uint32_t under[IA_KEYRING_ID_MAX + 1]; /* rows by the key that seals them */
};

static size_t row_size(const struct row *row)
{
    return sizeof *row + row->identity_len + row->device_len + 2u + row->sealed_len;
}

static size_t home_of_identity(const struct ia_psk_table *table, const struct slots *slots, const char *identity,
                               size_t len)
{
    return ia_hash_bytes(table->seed, identity, len) & slots->mask;
}

static size_t home_of_row(const struct ia_psk_table *table, const struct slots *slots, const struct row *row)
{
    return home_of_identity(table, slots, row->octets, row->identity_len);
}

static bool make_slots(struct slots *slots, size_t n)
{
    slots->at = calloc(n, sizeof(struct row *));
    slots->mask = n - 1;
    return slots->at != NULL;
}

static void free_slots(struct slots *slots)
{
    for (size_t i = 0; slots->at && i <= slots->mask; i++)
        free(slots->at[i]);
    free(slots->at);
}

struct ia_psk_table *ia_psk_table_new(void)
{
    struct ia_psk_table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    if (!make_slots(&table->now, SLOTS_AT_FIRST)) {
        free(table);
        return NULL;
    }
    table->seed = (uint64_t)(uintptr_t)table;
    return table;
}

void ia_psk_table_free(struct ia_psk_table *table)
{
    if (!table)
        return;
    free_slots(&table->now);
    free_slots(&table->old);
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
    const size_t slots = table->now.mask + 1 + (table->old.at ? table->old.mask + 1 : 0);
    return sizeof *table + slots * sizeof(struct row *) + table->size;
}

/* The slot of that identity, or the empty one where it would stand. */
static struct row **find_slot(const struct ia_psk_table *table, const struct slots *slots, const char *identity,
                              size_t len)
{
    size_t i = home_of_identity(table, slots, identity, len);
    for (; slots->at[i]; i = (i + 1) & slots->mask)
        if (slots->at[i]->identity_len == len && memcmp(slots->at[i]->octets, identity, len) == 0)
            break;
    return &slots->at[i];
}

/* The slot of that identity's row; *in_old: in the smaller array.  NULL: there is none. */
static struct row **find_row(const struct ia_psk_table *table, const char *identity, size_t len, bool *in_old)
{
    struct row **slot = find_slot(table, &table->now, identity, len);
    *in_old = !*slot && table->old.at;
    if (*in_old)
        slot = find_slot(table, &table->old, identity, len);
    return *slot ? slot : NULL;
}

bool ia_psk_table_find(const struct ia_psk_table *table, const char *identity, size_t len, struct ia_psk_row *out)
{
    if (len == 0 || len > IA_PSK_IDENTITY_MAX)
        return false;
    bool in_old;
    struct row *const *slot = find_row(table, identity, len, &in_old);
    if (!slot)
        return false;
    const struct row *row = *slot;
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
static void close_gap(struct ia_psk_table *table, struct slots *slots, size_t i)
{
    for (size_t j = (i + 1) & slots->mask; slots->at[j]; j = (j + 1) & slots->mask) {
        size_t home = home_of_row(table, slots, slots->at[j]);
        if (((j - home) & slots->mask) < ((j - i) & slots->mask))
            continue;
        if (slots == &table->now && i < table->swept && j >= table->swept)
            table->swept = i; /* the sweep has not seen the row that moves behind it */
        slots->at[i] = slots->at[j];
        i = j;
    }
    slots->at[i] = NULL;
}

static void remove_slot(struct ia_psk_table *table, struct slots *slots, struct row **slot)
{
    struct row *row = *slot;
    table->count--;
    table->under[row->key_id]--;
    table->size -= row_size(row);
    free(row);
    close_gap(table, slots, (size_t)(slot - slots->at));
}

void ia_psk_table_remove(struct ia_psk_table *table, const char *identity)
{
    bool in_old;
    struct row **slot = find_row(table, identity, strlen(identity), &in_old);
    if (slot)
        remove_slot(table, in_old ? &table->old : &table->now, slot);
}

/* Move the rows of at least `budget` slots, up to an empty one.  A run that moved in part would leave rows behind that are
 * not found. */
static void move_rows(struct ia_psk_table *table, size_t budget)
{
    struct slots *old = &table->old;
    for (; old->at && table->left > 0; table->left--) {
        struct row **from = &old->at[table->move_from];
        if (!*from && budget == 0)
            return;
        if (*from)
            *find_slot(table, &table->now, (*from)->octets, (*from)->identity_len) = *from;
        *from = NULL;
        table->move_from = (table->move_from + 1) & old->mask;
        budget -= budget > 0;
    }
    free(old->at);
    old->at = NULL;
}

/* Keep the table at most three quarters full. */
static bool grow_table(struct ia_psk_table *table)
{
    struct slots larger;
    move_rows(table, MOVED_AT_ONCE);
    if ((table->count + 1) * 4 <= (table->now.mask + 1) * 3)
        return true;
    move_rows(table, SIZE_MAX); /* nothing, unless many were removed and put meanwhile */
    if (!make_slots(&larger, (table->now.mask + 1) * 2))
        return false;
    table->old = table->now;
    table->now = larger;
    table->left = table->old.mask + 1;
    table->move_from = 0;
    while (table->old.at[table->move_from]) /* one is empty; the rows behind it are the begin of a run */
        table->move_from++;
    table->swept = 0; /* every row moves */
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
    bool in_old;
    struct row **before = find_row(table, row->identity, strlen(row->identity), &in_old);
    if (before && is_unchanged(*before, row)) {
        (*before)->seen = seen; /* most rows of a resync */
        return true;
    }
    if (before)
        remove_slot(table, in_old ? &table->old : &table->now, before);
    struct row *copy = row_fits(row) && grow_table(table) ? copy_row(row, seen) : NULL;
    if (!copy)
        return false;
    *find_slot(table, &table->now, copy->octets, copy->identity_len) = copy;
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
    struct slots *slots = &table->now;
    if (table->old.at) {
        move_rows(table, budget);
        return false;
    }
    while (table->swept <= slots->mask && budget-- > 0) {
        struct row **slot = &slots->at[table->swept];
        if (*slot && (*slot)->seen != seen && (*slot)->seen != or_seen)
            remove_slot(table, slots, slot); /* another row may stand there now */
        else
            table->swept++;
    }
    return table->swept > slots->mask;
}
