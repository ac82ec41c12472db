// SPDX-License-Identifier: ISC
/* Why a token was refused. */
#pragma once

#include "common/error.h"
#include "common/reason.h"

#include <stdbool.h>

#define IA_DETAIL_MAX 192 /* bytes of a detail */

/* For log and event.  Holds nothing of the token but its registered issuer. */
struct ia_token_refusal {
    char issuer[129];  /* name of the issuer's row, "" when the token names no registered one */
    bool refresh_keys; /* fetching the issuer's keys again may help */
    char detail[IA_DETAIL_MAX];
};

/* Write `detail` (truncated when too long) and return `reason`. */
enum ia_reason ia_refusal_set(char detail[IA_DETAIL_MAX], enum ia_reason reason, const char *fmt, ...) IA_PRINTF(3, 4);
