// SPDX-License-Identifier: ISC
/* Dates and times as RFC 3339 writes them (section 5.6), always in UTC. */
#pragma once

#include "common/error.h"

#include <stdint.h>

#define IA_RFC3339_SIZE 32

/* "2026-01-31T12:00:00.123Z" of microseconds since 1970 into out[IA_RFC3339_SIZE]; returns out.  Truncated, not
 * rounded: never in the future.  "" for a year that the C library cannot count. */
const char *ia_rfc3339(int64_t wall_us, char out[IA_RFC3339_SIZE]);

/* "2026-01-31T12:00:00Z" of seconds since 1970; otherwise as above. */
const char *ia_rfc3339_seconds(int64_t wall_s, char out[IA_RFC3339_SIZE]);

/* Parse a date and time with any offset into seconds since 1970.  A fraction of a second is dropped, a leap second is
 * the first second of the next minute, and a space may stand for the 'T' (section 5.6's note). */
IA_MUST_USE enum ia_rc ia_rfc3339_parse(const char *text, int64_t *out, struct ia_err *err);
