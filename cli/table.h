// SPDX-License-Identifier: ISC
/* Results for people: tables that fit the terminal, times in the local zone. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

/* Print the rows under their column names.  On a terminal the columns are narrowed to its width; else nothing is cut.
 * Control characters and direction marks, which a certificate or a client may hold, are shown escaped. */
void ia_table_print(const PGresult *result, bool utc);

/* Print each row as lines 'column  value'. */
void ia_table_print_record(const PGresult *result, bool utc);
