// SPDX-License-Identifier: ISC
/* How long to wait before the next attempt to connect. */
#pragma once

#include <stdint.h>

#define IA_BACKOFF_MIN_MS 100
#define IA_BACKOFF_MAX_MS 5000

/* Milliseconds to wait after failed attempt number `attempt` (0 is the first): up to 200 ms, doubled each time until
 * IA_BACKOFF_MAX_MS, of which the upper half is drawn by `random` (any 32 bits), so that many brokers that lost one
 * server do not return in step.  Always within IA_BACKOFF_MIN_MS … IA_BACKOFF_MAX_MS. */
int ia_backoff_ms(unsigned attempt, uint32_t random);
