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

static void put_escaped_byte(struct ia_json_out *j, unsigned char c)
{
    char text[8];
    if (c == '"' || c == '\\')
        (void)snprintf(text, sizeof text, "\\%c", c);
    else
        (void)snprintf(text, sizeof text, "\\u%04x", c);
    put_bytes(j, text, strlen(text));
}

/* The length of the well-formed UTF-8 sequence at p, at most 4, or 0. */
static size_t sequence_length(const char *p)
{
    for (size_t n = 1; n <= 4 && p[n - 1]; n++)
        if (ia_utf8_valid(p, n))
            return n;
    return 0;
}

static void put_string(struct ia_json_out *j, const char *text)
{
    put_bytes(j, "\"", 1);
    for (const char *p = text; *p;) {
        unsigned char c = (unsigned char)*p;
        size_t n = c < 0x80 ? 1 : sequence_length(p);
        if (n == 0)
            put_bytes(j, "\xEF\xBF\xBD", 3);
        else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7F)
            put_escaped_byte(j, c);
        else
            put_bytes(j, p, n);
        p += n ? n : 1;
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
    if (j->used > 1)
        put_bytes(j, ",", 1);
    put_string(j, name);
    put_bytes(j, ":", 1);
}

void ia_json_out_text(struct ia_json_out *j, const char *name, const char *value)
{
    name_member(j, name);
    if (value)
        put_string(j, value);
    else
        put_bytes(j, "null", 4);
}

void ia_json_out_int(struct ia_json_out *j, const char *name, int64_t value)
{
    char digits[24];
    name_member(j, name);
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    put_bytes(j, digits, (size_t)n);
}

const char *ia_json_out_end(struct ia_json_out *j)
{
    put_bytes(j, "}", 1);
    if (j->full)
        return NULL;
    j->out[j->used] = '\0';
    return j->out;
}
