// SPDX-License-Identifier: ISC
/* Suggestions for misspelt words. */
#pragma once

#include <stddef.h>

/* The word of words[0..n) that is nearest to `typed`, or NULL where none is near enough to be meant. */
const char *ia_nearest(const char *typed, const char *const *words, size_t n);
