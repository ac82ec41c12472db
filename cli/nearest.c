// SPDX-License-Identifier: ISC
#include "cli/nearest.h"

#include <string.h>

#define WORD_MAX 64 /* longer words get no suggestion */

static size_t least_of(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Damerau's distance: letters inserted, removed, replaced, or two neighbours exchanged. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least_of(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[m];
}

const char *ia_nearest(const char *typed, const char *const *words, size_t n)
{
    size_t len = strlen(typed);
    const char *nearest = NULL;
    size_t least = len / 3 + 2; /* further away, the word is another one */
    if (len == 0 || len > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t word_len = strlen(words[i]);
        if (word_len > WORD_MAX)
            continue;
        size_t distance = edit_distance(typed, len, words[i], word_len);
        if (word_len > len && strncmp(words[i], typed, len) == 0)
            distance = 1; /* the beginning of a word */
        if (distance < least && distance < word_len) {
            least = distance;
            nearest = words[i];
        }
    }
    return nearest;
}
