// SPDX-License-Identifier: ISC
/* Loading the configuration in parts.  Internal to sql/. */
#pragma once

#include "sql/private.h"
#include "sql/rows.h"

#define IA_PARTS 9

/* The rows of one load and the memory they stand on. */
struct ia_loaded {
    struct ia_rows rows; /* first: it is what the caller gets */
    struct ia_arena arena;
    const char **notes;
    PGresult *results[IA_PARTS];
    struct ia_kept_result *kept; /* further results that rows point into */
};

/* One part: its statements, and what becomes of its rows.  The columns begin with those of `keys`: the first of them
 * names a row in `by_key`, the others say whose scope it closes. */
struct ia_part {
    enum ia_load load;
    const char *name; /* in messages */
    enum ia_statement all, keys, by_key;
    struct ia_columns columns;
    bool (*take)(struct ia_loaded *l, const struct ia_decoded *d); /* false: out of memory */
};
extern const struct ia_part ia_parts[IA_PARTS];
