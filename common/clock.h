// SPDX-License-Identifier: ISC
/* Time.  Deciding code takes `now` as an argument; only plugin/ and the worker ask the clock. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Microseconds of a clock that never jumps. */
int64_t ia_monotonic_us(void);

/* Seconds, and microseconds, since 1970 UTC. */
int64_t ia_wall_s(void);
int64_t ia_wall_us(void);

#define IA_RFC3339_SIZE 32

/* "2026-01-31T12:00:00.123Z" of microseconds since 1970 into out[IA_RFC3339_SIZE]; returns out. */
const char *ia_rfc3339(int64_t wall_us, char out[IA_RFC3339_SIZE]);
