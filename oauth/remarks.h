// SPDX-License-Identifier: ISC
/* What is to be said of an issuer, collected into one line.  Internal to oauth/. */
#pragma once

#include "common/error.h"
#include "oauth/issuer.h"

#include <stddef.h>

/* Several remarks as one line; truncated where it is full. */
struct ia_remarks {
    char text[IA_ISSUER_TEXT_MAX];
    size_t used;
};
void ia_remarks_add(struct ia_remarks *remarks, const char *fmt, ...) IA_PRINTF(2, 3);
