// SPDX-License-Identifier: ISC
/* PostgreSQL's binary formats.  Decoders take a value as it came over the wire, check type and length, and never read
 * past `len`; false: malformed. */
#pragma once

#include "common/texts.h"
#include "sql/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Type numbers of the wire protocol (pg_type.dat): fixed for all servers. */
enum ia_pg_type {
    IA_PG_BOOL = 16,
    IA_PG_BYTEA = 17,
    IA_PG_INT8 = 20,
    IA_PG_INT2 = 21,
    IA_PG_INT4 = 23,
    IA_PG_TEXT = 25,
    IA_PG_BYTEA_ARRAY = 1001,
    IA_PG_TEXT_ARRAY = 1009,
    IA_PG_INT8_ARRAY = 1016,
    IA_PG_TIMESTAMPTZ = 1184,
    IA_PG_TIMESTAMPTZ_ARRAY = 1185,
};

#define IA_PG_ARRAY_MAX (1 << 20) /* elements */

struct ia_pg_value {
    const uint8_t *bytes;
    size_t len;
};

/* Signed integer of 2, 4 or 8 bytes. */
bool ia_pg_int(struct ia_pg_value v, int64_t *out);
bool ia_pg_bool(struct ia_pg_value v, bool *out);

/* timestamptz as seconds since 1970, rounded down.  0 means no expiry ('infinity'); times at or before the epoch are
 * clamped to 1 so that they stay in the past. */
bool ia_pg_time_s(struct ia_pg_value v, int64_t *out);

/* One-dimensional text[] without NULL elements: the elements copied into the arena, NUL-terminated.  *nomem distinguishes out of memory from malformed. */
bool ia_pg_texts(struct ia_pg_value v, struct ia_arena *arena, struct ia_texts *out, bool *nomem);

/* Encoders for parameters. */
void ia_pg_put_int8(uint8_t out[8], int64_t value);

/* Microseconds since 1970 as timestamptz. */
void ia_pg_put_time_us(uint8_t out[8], int64_t at_us);

/* Microseconds of so many seconds, clamped to the range. */
int64_t ia_pg_time_us_of(int64_t seconds);

/* Arrays of n elements in the arena; .bytes NULL: out of memory, or too big.  Texts may be NULL.  With `null_zero` a 0
 * becomes NULL. */
struct ia_pg_value ia_pg_text_array(struct ia_arena *arena, const char *const *items, size_t n);
struct ia_pg_value ia_pg_value_array(struct ia_arena *arena, uint32_t element_type, const struct ia_pg_value *items,
                                     size_t n); /* items as they came over the wire; .bytes NULL: NULL */
struct ia_pg_value ia_pg_int8_array(struct ia_arena *arena, const int64_t *items, size_t n, bool null_zero);
struct ia_pg_value ia_pg_time_us_array(struct ia_arena *arena, const int64_t *items, size_t n, bool null_zero);
