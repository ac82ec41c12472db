// SPDX-License-Identifier: ISC
/* Why a token was refused. */
#pragma once

#include "common/error.h"
#include "common/reason.h"

#include <stdbool.h>
#include <stddef.h>

#define IA_DETAIL_MAX  192 /* bytes of a detail, NUL included */
#define IA_CLAIMED_MAX 160 /* bytes of a claimed value, NUL included */

/* What a refused token says of itself, for people who look for a wrong setting: not verified, anybody can write it.
 * UTF-8 without control characters, truncated with "…"; "" where it is absent or not a text. */
struct ia_token_claimed {
    char iss[IA_CLAIMED_MAX];
    char aud[IA_CLAIMED_MAX]; /* several separated by blanks */
    char azp[IA_CLAIMED_MAX];
    char kid[IA_CLAIMED_MAX];
    char typ[IA_CLAIMED_MAX];
};

/* For log and event.  `detail` and `issuer` hold nothing of the token but its registered issuer. */
struct ia_token_refusal {
    char issuer[129];  /* name of the issuer's row, "" when the token names no registered one */
    bool device;       /* tokens of that issuer make devices */
    bool refresh_keys; /* fetching the issuer's keys again may help */
    char detail[IA_DETAIL_MAX];
    struct ia_token_claimed claimed;
};

/* Write `detail` (truncated when too long) and return `reason`. */
enum ia_reason ia_refusal_set(char detail[IA_DETAIL_MAX], enum ia_reason reason, const char *fmt, ...) IA_PRINTF(3, 4);

/* Append text[0..len) to a claimed value as it may be shown; behind other text, after a blank. */
void ia_claimed_add(char claimed[IA_CLAIMED_MAX], const char *text, size_t len);
