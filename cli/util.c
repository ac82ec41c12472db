// SPDX-License-Identifier: ISC
#include "cli/util.h"

#include "cli/cli.h"
#include "common/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define READ_STEP 65536

enum ia_rc ia_cli_read_stream(FILE *in, const char *name, size_t max, char **out, size_t *len, struct ia_err *err)
{
    ia_autofree char *text = NULL;
    size_t used = 0, size = 0;
    for (;;) {
        if (size - used < 2) {
            size += READ_STEP;
            char *grown = realloc(text, size);
            if (!grown)
                return ia_fail(err, IA_NOMEM, "%s: out of memory", name);
            text = grown;
        }
        size_t got = fread(text + used, 1, size - used - 1, in);
        used += got;
        if (used > max)
            return ia_fail(err, IA_FORMAT, "%s: longer than %zu bytes", name, max);
        if (got == 0)
            break;
    }
    if (ferror(in))
        return ia_fail(err, IA_IO, "%s: %s", name, strerror(errno));
    text[used] = '\0';
    *out = text;
    *len = used;
    text = NULL;
    return IA_OK;
}

enum ia_rc ia_cli_read_text(const char *path, size_t max, char **out, struct ia_err *err)
{
    FILE *in = fopen(path, "rbe");
    if (!in)
        return ia_fail(err, IA_IO, "%s: %s", path, strerror(errno));
    char *text = NULL;
    size_t len = 0;
    enum ia_rc rc = ia_cli_read_stream(in, path, max, &text, &len, err);
    (void)fclose(in);
    if (rc != IA_OK)
        return rc;
    if (strlen(text) != len) {
        free(text);
        return ia_fail(err, IA_FORMAT, "%s: holds a NUL byte", path);
    }
    *out = text;
    return IA_OK;
}

/* Take exactly `digits` decimal digits. */
static bool take_number(const char **p, int digits, int *out)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        value = value * 10 + (**p - '0');
    }
    *out = value;
    return true;
}

static bool take_char(const char **p, const char *any_of)
{
    if (**p == '\0' || !strchr(any_of, **p))
        return false;
    (*p)++;
    return true;
}

static bool take_fraction(const char **p)
{
    if (**p != '.')
        return true;
    (*p)++;
    size_t digits = strspn(*p, "0123456789");
    *p += digits;
    return digits > 0;
}

/* Z, or +hh:mm, as seconds east of UTC. */
static bool take_offset(const char **p, int *seconds)
{
    int hours, minutes;
    *seconds = 0;
    if (take_char(p, "Zz"))
        return true;
    bool west = **p == '-';
    if (!take_char(p, "+-") || !take_number(p, 2, &hours) || !take_char(p, ":") || !take_number(p, 2, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    *seconds = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar; libc's timegm is no part of C17. */
static int64_t days_since_1970(int year, int month, int day)
{
    int64_t y = year - 1; /* the years that are over */
    int64_t days = y * 365 + y / 4 - y / 100 + y / 400 - 719162;
    for (int m = 1; m < month; m++)
        days += days_in_month(year, m);
    return days + day - 1;
}

enum ia_rc ia_cli_parse_time(const char *text, int64_t *out, struct ia_err *err)
{
    const char *p = text;
    int year, month, day, hour, minute, second, offset;
    if (!take_number(&p, 4, &year) || !take_char(&p, "-") || !take_number(&p, 2, &month) || !take_char(&p, "-") ||
        !take_number(&p, 2, &day) || !take_char(&p, "Tt ") || !take_number(&p, 2, &hour) || !take_char(&p, ":") ||
        !take_number(&p, 2, &minute) || !take_char(&p, ":") || !take_number(&p, 2, &second) || !take_fraction(&p) ||
        !take_offset(&p, &offset) || *p != '\0')
        return ia_fail(err, IA_FORMAT, "'%s' is not a time of RFC 3339 (2026-01-31T12:00:00Z)", text);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 60)
        return ia_fail(err, IA_FORMAT, "'%s' is no date and time", text);
    *out = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    return IA_OK;
}

int ia_cli_complain(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "iot-auth-check %s: ", command);
    (void)vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return IA_EXIT_USAGE;
}
