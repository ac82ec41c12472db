// SPDX-License-Identifier: ISC
#include "sql/codec.h"

#include <limits.h>
#include <string.h>

/* PostgreSQL counts from 2000-01-01. */
#define EPOCH_2000_S  INT64_C(946684800)
#define EPOCH_2000_US (EPOCH_2000_S * 1000000)

#define ARRAY_HEADER 20 /* dimensions, null flag, element type, size, lower bound */

static uint32_t get_int4(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get_int8(const uint8_t *p)
{
    return (uint64_t)get_int4(p) << 32 | get_int4(p + 4);
}

bool ia_pg_int(struct ia_pg_value v, int64_t *out)
{
    switch (v.len) {
    case 2:
        *out = (int16_t)(uint16_t)(v.bytes[0] << 8 | v.bytes[1]);
        return true;
    case 4:
        *out = (int32_t)get_int4(v.bytes);
        return true;
    case 8:
        *out = (int64_t)get_int8(v.bytes);
        return true;
    default:
        return false;
    }
}

bool ia_pg_bool(struct ia_pg_value v, bool *out)
{
    if (v.len != 1 || v.bytes[0] > 1)
        return false;
    *out = v.bytes[0] == 1;
    return true;
}

/* timestamptz as microseconds since 1970; the infinities become INT64_MIN and INT64_MAX. */
static bool decode_time_us(struct ia_pg_value v, int64_t *out)
{
    if (v.len != 8)
        return false;
    int64_t us = (int64_t)get_int8(v.bytes);
    bool infinite = us == INT64_MIN || us == INT64_MAX;
    if (!infinite && __builtin_add_overflow(us, EPOCH_2000_US, &us))
        us = INT64_MAX;
    *out = us;
    return true;
}

bool ia_pg_time_s(struct ia_pg_value v, int64_t *out)
{
    int64_t us;
    if (!decode_time_us(v, &us))
        return false;
    if (us == INT64_MAX)
        *out = 0;
    else
        *out = us < 1000000 ? 1 : us / 1000000;
    return true;
}

/* Copy one element at *at into *out.  Returns false where it does not fit into the value or holds a NUL. */
static bool text_element(struct ia_pg_value v, size_t *at, struct ia_arena *arena, const char **out, bool *nomem)
{
    if (v.len - *at < 4)
        return false;
    int32_t len = (int32_t)get_int4(v.bytes + *at);
    *at += 4;
    if (len < 0 || (size_t)len > v.len - *at || memchr(v.bytes + *at, 0, (size_t)len))
        return false;
    char *text = ia_arena_alloc(arena, (size_t)len + 1);
    *nomem = !text;
    if (!text)
        return false;
    memcpy(text, v.bytes + *at, (size_t)len);
    *at += (size_t)len;
    *out = text;
    return true;
}

bool ia_pg_texts(struct ia_pg_value v, struct ia_arena *arena, struct ia_texts *out, bool *nomem)
{
    *nomem = false;
    if (v.len < 12 || get_int4(v.bytes + 8) != IA_PG_TEXT)
        return false;
    if (get_int4(v.bytes) == 0) { /* no dimensions: the empty array */
        *out = (struct ia_texts){0};
        return v.len == 12;
    }
    if (get_int4(v.bytes) != 1 || v.len < ARRAY_HEADER)
        return false;
    size_t n = get_int4(v.bytes + 12);
    if (n > IA_PG_ARRAY_MAX || n > (v.len - ARRAY_HEADER) / 4)
        return false;
    const char **items = ia_arena_array(arena, n, sizeof *items);
    *nomem = !items;
    if (!items)
        return false;
    size_t at = ARRAY_HEADER;
    for (size_t i = 0; i < n; i++)
        if (!text_element(v, &at, arena, &items[i], nomem))
            return false;
    *out = (struct ia_texts){.items = items, .n = n};
    return at == v.len;
}

static void put_int4(uint8_t out[4], int32_t value)
{
    uint32_t u = (uint32_t)value;
    for (int i = 3; i >= 0; i--, u >>= 8)
        out[i] = (uint8_t)u;
}

void ia_pg_put_int8(uint8_t out[8], int64_t value)
{
    uint64_t u = (uint64_t)value;
    for (int i = 7; i >= 0; i--, u >>= 8)
        out[i] = (uint8_t)u;
}

void ia_pg_put_time_us(uint8_t out[8], int64_t at_us)
{
    int64_t us;
    if (__builtin_sub_overflow(at_us, EPOCH_2000_US, &us))
        us = INT64_MIN;
    ia_pg_put_int8(out, us);
}

/* The header of an array of n elements, with room for `payload` bytes behind it.  Returns where they go, or NULL. */
static uint8_t *array_begin(struct ia_arena *arena, uint32_t type, size_t n, size_t payload, struct ia_pg_value *out)
{
    if (n > IA_PG_ARRAY_MAX || payload > INT_MAX - ARRAY_HEADER)
        return NULL;
    uint8_t *bytes = ia_arena_alloc(arena, ARRAY_HEADER + payload);
    if (!bytes)
        return NULL;
    put_int4(bytes, n ? 1 : 0);
    put_int4(bytes + 4, 1);
    put_int4(bytes + 8, (int32_t)type);
    put_int4(bytes + 12, (int32_t)n);
    put_int4(bytes + 16, 1);
    *out = (struct ia_pg_value){.bytes = bytes, .len = n ? ARRAY_HEADER + payload : 12};
    return bytes + ARRAY_HEADER;
}

struct ia_pg_value ia_pg_value_array(struct ia_arena *arena, uint32_t element_type, const struct ia_pg_value *items,
                                     size_t n)
{
    struct ia_pg_value out = {0};
    size_t payload = 0;
    for (size_t i = 0; i < n; i++)
        payload += 4 + items[i].len;
    uint8_t *at = array_begin(arena, element_type, n, payload, &out);
    for (size_t i = 0; at && i < n; i++) {
        put_int4(at, items[i].bytes ? (int32_t)items[i].len : -1);
        if (items[i].len)
            memcpy(at + 4, items[i].bytes, items[i].len);
        at += 4 + items[i].len;
    }
    return out;
}

struct ia_pg_value ia_pg_text_array(struct ia_arena *arena, const char *const *items, size_t n)
{
    struct ia_pg_value *values = ia_arena_array(arena, n, sizeof *values);
    if (!values)
        return (struct ia_pg_value){0};
    for (size_t i = 0; i < n; i++)
        values[i] = (struct ia_pg_value){.bytes = (const uint8_t *)items[i], .len = items[i] ? strlen(items[i]) : 0};
    return ia_pg_value_array(arena, IA_PG_TEXT, values, n);
}

static struct ia_pg_value array_of_8(struct ia_arena *arena, enum ia_pg_type type, const int64_t *items, size_t n,
                                     bool null_zero)
{
    struct ia_pg_value out = {0};
    size_t payload = 0;
    for (size_t i = 0; i < n; i++)
        payload += null_zero && items[i] == 0 ? 4 : 12;
    uint8_t *at = array_begin(arena, type, n, payload, &out);
    for (size_t i = 0; at && i < n; i++) {
        bool null = null_zero && items[i] == 0;
        put_int4(at, null ? -1 : 8);
        at += 4;
        if (null)
            continue;
        if (type == IA_PG_TIMESTAMPTZ)
            ia_pg_put_time_us(at, items[i]);
        else
            ia_pg_put_int8(at, items[i]);
        at += 8;
    }
    return out;
}

struct ia_pg_value ia_pg_int8_array(struct ia_arena *arena, const int64_t *items, size_t n, bool null_zero)
{
    return array_of_8(arena, IA_PG_INT8, items, n, null_zero);
}

int64_t ia_pg_time_us_of(int64_t seconds)
{
    int64_t us;
    if (!__builtin_mul_overflow(seconds, 1000000, &us))
        return us;
    return seconds < 0 ? INT64_MIN : INT64_MAX;
}

struct ia_pg_value ia_pg_time_us_array(struct ia_arena *arena, const int64_t *items, size_t n, bool null_zero)
{
    return array_of_8(arena, IA_PG_TIMESTAMPTZ, items, n, null_zero);
}
