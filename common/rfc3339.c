// SPDX-License-Identifier: ISC
#include "common/rfc3339.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *ia_rfc3339_seconds(int64_t wall_s, char out[IA_RFC3339_SIZE])
{
    struct tm tm;
    time_t s = (time_t)wall_s;
    if (!gmtime_r(&s, &tm) || strftime(out, IA_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
    return out;
}

const char *ia_rfc3339(int64_t wall_us, char out[IA_RFC3339_SIZE])
{
    int64_t ms = wall_us / 1000 % 1000;
    int64_t s = wall_us / 1000000;
    if (wall_us < 0 && wall_us % 1000000 != 0) {
        ms = (wall_us % 1000000 + 1000000) / 1000;
        s--;
    }
    size_t n = strlen(ia_rfc3339_seconds(s, out));
    if (n > 0)
        (void)snprintf(out + n - 1, IA_RFC3339_SIZE - n + 1, ".%03dZ", (int)ms);
    return out;
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

/* time-secfrac = "." 1*DIGIT */
static bool take_fraction(const char **p)
{
    if (**p != '.')
        return true;
    (*p)++;
    size_t digits = strspn(*p, "0123456789");
    *p += digits;
    return digits > 0;
}

/* time-offset = "Z" / ("+" / "-") time-hour ":" time-minute, as seconds east of UTC. */
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

/* full-date ("T" / " ") partial-time time-offset, digits only: whether they name a day is checked afterwards. */
static bool take_date_time(const char *p, struct tm *tm, int *offset)
{
    return take_number(&p, 4, &tm->tm_year) && take_char(&p, "-") && take_number(&p, 2, &tm->tm_mon) &&
           take_char(&p, "-") && take_number(&p, 2, &tm->tm_mday) && take_char(&p, "Tt ") &&
           take_number(&p, 2, &tm->tm_hour) && take_char(&p, ":") && take_number(&p, 2, &tm->tm_min) &&
           take_char(&p, ":") && take_number(&p, 2, &tm->tm_sec) && take_fraction(&p) && take_offset(&p, offset) &&
           *p == '\0';
}

/* Does the calendar have this day?  timegm() moves 30 February to March instead of refusing it. */
static bool day_exists(struct tm tm)
{
    int month = tm.tm_mon, day = tm.tm_mday;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    (void)timegm(&tm);
    return tm.tm_mon == month && tm.tm_mday == day;
}

enum ia_rc ia_rfc3339_parse(const char *text, int64_t *out, struct ia_err *err)
{
    struct tm tm = {0};
    int offset;
    if (!take_date_time(text, &tm, &offset))
        return ia_fail(err, IA_FORMAT, "'%s' is not a time of RFC 3339 (2026-01-31T12:00:00Z)", text);
    bool year_exists = tm.tm_year >= 1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (!year_exists || !day_exists(tm) || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return ia_fail(err, IA_FORMAT, "'%s' does not exist in the calendar", text);
    *out = (int64_t)timegm(&tm) - offset;
    return IA_OK;
}
