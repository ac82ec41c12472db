// SPDX-License-Identifier: ISC
#include "cli/cell.h"

#include "common/str.h"

#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

/* Types by their number, the same in every PostgreSQL. */
enum { BOOL_OID = 16, TEXT_ARRAY_OID = 1009, TIMESTAMPTZ_OID = 1184 };

void ia_cell_setup(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* Marks that change the direction of what follows could show one id as another. */
static bool is_direction_mark(uint32_t cp)
{
    return cp == 0x200E || cp == 0x200F || cp == 0x061C || (cp >= 0x202A && cp <= 0x202E) ||
           (cp >= 0x2066 && cp <= 0x2069);
}

/* `text` with everything escaped that is not to be shown as it is; for the caller to free. */
static char *escape_text(const char *text)
{
    size_t left = strlen(text);
    char *out = malloc(left * 6 + 1), *end = out;
    if (!out)
        return NULL;
    while (left > 0) {
        uint32_t cp = 0xFFFD;
        size_t n = ia_utf8_next(text, left, &cp);
        if (n == 0 || ia_is_control(cp) || is_direction_mark(cp)) {
            n = n ? n : 1;
            end += snprintf(end, 7, "\\u%04x", cp & 0xFFFF);
        } else {
            memcpy(end, text, n);
            end += n;
        }
        text += n;
        left -= n;
    }
    *end = '\0';
    return out;
}

/* '2026-11-28 07:40:11.123+00', as the server shows a time in UTC, in the zone that is wanted. */
static char *time_text(const char *value, bool utc)
{
    struct tm tm = {0};
    char text[64], zone[16];
    const char *rest = strptime(value, "%Y-%m-%d %H:%M:%S", &tm);
    if (!rest || (*rest != '.' && strcmp(rest, "+00") != 0))
        return strdup(value); /* infinity, or before Christ */
    time_t at = timegm(&tm);
    if (!(utc ? gmtime_r(&at, &tm) : localtime_r(&at, &tm)))
        return strdup(value);
    (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    (void)strftime(zone, sizeof zone, "%z", &tm);
    size_t len = strlen(text);
    if (utc)
        (void)snprintf(text + len, sizeof text - len, "Z");
    else
        (void)snprintf(text + len, sizeof text - len, "%.3s:%s", zone, zone + 3);
    return strdup(text);
}

/* {a,"b c"} as: a, b c.  Where an element holds what must be escaped, as the server shows it. */
static char *array_text(const char *value)
{
    size_t len = strlen(value);
    if (len < 2 || value[0] != '{' || strchr(value, '\\') || value[1] == '{')
        return escape_text(value);
    char *out = malloc(len * 2), *end = out;
    if (!out)
        return NULL;
    bool quoted = false;
    for (size_t i = 1; i < len - 1; i++) {
        if (value[i] == '"') {
            quoted = !quoted;
            continue;
        }
        *end++ = value[i];
        if (value[i] == ',' && !quoted)
            *end++ = ' ';
    }
    *end = '\0';
    char *escaped = escape_text(out);
    free(out);
    return escaped;
}

char *ia_cell_text(const PGresult *result, int row, int column, bool utc)
{
    const char *value = PQgetvalue(result, row, column);
    if (PQgetisnull(result, row, column))
        return strdup("");
    switch (PQftype(result, column)) {
    case BOOL_OID:
        return strdup(*value == 't' ? "yes" : "no");
    case TEXT_ARRAY_OID:
        return array_text(value);
    case TIMESTAMPTZ_OID:
        return time_text(value, utc);
    default:
        return escape_text(value);
    }
}

static size_t code_point_width(uint32_t cp)
{
    int width = wcwidth((wchar_t)cp);
    return width > 0 ? (size_t)width : (width == 0 ? 0 : 1);
}

size_t ia_cell_width(const char *text)
{
    size_t width = 0, left = strlen(text);
    while (left > 0) {
        uint32_t cp = 0;
        size_t n = ia_utf8_next(text, left, &cp);
        width += n ? code_point_width(cp) : 1;
        text += n ? n : 1;
        left -= n ? n : 1;
    }
    return width;
}

void ia_cell_print(const char *text, size_t width, bool pad)
{
    size_t all = ia_cell_width(text), used = 0, left = strlen(text);
    size_t most = all > width ? width - 1 : width;
    while (left > 0) {
        uint32_t cp = 0;
        size_t n = ia_utf8_next(text, left, &cp), columns = n ? code_point_width(cp) : 1;
        if (used + columns > most)
            break;
        (void)fwrite(text, 1, n ? n : 1, stdout);
        used += columns;
        text += n ? n : 1;
        left -= n ? n : 1;
    }
    if (all > width) {
        fputs("…", stdout);
        used++;
    }
    for (; pad && used < width; used++)
        putchar(' ');
}
