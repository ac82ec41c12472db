// SPDX-License-Identifier: ISC
#include "common/json_out.h"

#include "common/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_bytes(struct ia_json_out *j, const char *bytes, size_t len)
{
    if (j->full || len >= j->size - j->used) {
        j->full = true;
        return;
    }
    memcpy(j->out + j->used, bytes, len);
    j->used += len;
}

/* The character at *text as it is written, at most 12 bytes; moves *text past it. */
static size_t escape_character(const char **text, char out[16])
{
    uint32_t cp = 0;
    size_t n = ia_utf8_next(*text, strnlen(*text, 4), &cp);
    const char *from = *text;
    *text += n ? n : 1;
    if (n == 0)
        return (size_t)snprintf(out, 16, "%s", "\xEF\xBF\xBD");
    if (cp == '"' || cp == '\\')
        return (size_t)snprintf(out, 16, "\\%c", (char)cp);
    if (cp >= 0x10000 && ia_misleads_reader(cp)) /* a surrogate pair: RFC 8259 section 7 */
        return (size_t)snprintf(out, 16, "\\u%04x\\u%04x", 0xD7C0 + (cp >> 10), 0xDC00 + (cp & 0x3FF));
    if (ia_misleads_reader(cp))
        return (size_t)snprintf(out, 16, "\\u%04x", cp);
    memcpy(out, from, n);
    return n;
}

static void put_string(struct ia_json_out *j, const char *text, size_t max)
{
    char character[16];
    put_bytes(j, "\"", 1);
    for (size_t used = 0, n; *text; used += n) {
        n = escape_character(&text, character);
        if (max && used + n > max) {
            put_bytes(j, "\xE2\x80\xA6", 3);
            break;
        }
        put_bytes(j, character, n);
    }
    put_bytes(j, "\"", 1);
}

void ia_json_out_begin(struct ia_json_out *j, char *out, size_t size)
{
    *j = (struct ia_json_out){.out = out, .size = size};
    put_bytes(j, "{", 1);
}

static void name_member(struct ia_json_out *j, const char *name)
{
    if (j->used > 0 && j->out[j->used - 1] != '{')
        put_bytes(j, ",", 1);
    put_string(j, name, 0);
    put_bytes(j, ":", 1);
}

void ia_json_out_cut(struct ia_json_out *j, const char *name, const char *value, size_t max)
{
    name_member(j, name);
    if (value)
        put_string(j, value, max);
    else
        put_bytes(j, "null", 4);
}

void ia_json_out_text(struct ia_json_out *j, const char *name, const char *value)
{
    ia_json_out_cut(j, name, value, 0);
}

void ia_json_out_int(struct ia_json_out *j, const char *name, int64_t value)
{
    char digits[24];
    name_member(j, name);
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    put_bytes(j, digits, (size_t)n);
}

void ia_json_out_open(struct ia_json_out *j, const char *name)
{
    name_member(j, name);
    put_bytes(j, "{", 1);
}

void ia_json_out_close(struct ia_json_out *j)
{
    put_bytes(j, "}", 1);
}

const char *ia_json_out_end(struct ia_json_out *j)
{
    put_bytes(j, "}", 1);
    if (j->full)
        return NULL;
    j->out[j->used] = '\0';
    return j->out;
}
