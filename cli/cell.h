// SPDX-License-Identifier: ISC
/* One value of a result as it is shown to people. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

/* The text of one value for the caller to free; NULL: out of memory.  Times are in the local zone, or with `utc` in UTC;
 * arrays without braces; true and false are yes and no; what could disturb a terminal is escaped. */
char *ia_cell_text(const PGresult *result, int row, int column, bool utc);

/* Columns that `text` takes on a terminal. */
size_t ia_cell_width(const char *text);

/* Print `text` in exactly `width` columns, cut with … where it is longer; `pad` says whether to fill up. */
void ia_cell_print(const char *text, size_t width, bool pad);

/* Set the character type locale, once, so that widths are right. */
void ia_cell_setup(void);
