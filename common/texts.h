// SPDX-License-Identifier: ISC
/* A list of texts that somebody else owns. */
#pragma once

#include <stddef.h>

struct ia_texts {
    const char *const *items; /* borrowed, none of them NULL */
    size_t n;
};
