// SPDX-License-Identifier: ISC
/* Running a verb that is wholly described by its row of the table: SQL first, then queries that show the result. */
#pragma once

#include "cli/call.h"
#include "cli/registry.h"

/* Run the verb: the question, the connection, the SQL, the output.  Returns an ia_exit. */
int ia_run_verb(const struct ia_call *call);

/* Run a query and print its rows as the call wants them: a table, a record, or JSON, one object a line.  Returns an
 * ia_exit. */
int ia_run_query(struct ia_registry *registry, const struct ia_call *call, const struct ia_query *query,
                 const char *const *values, int n);

/* Run several queries and print them: tables under their titles, or one JSON object with an array for each. */
int ia_run_queries(struct ia_registry *registry, const struct ia_call *call, const struct ia_query *queries, size_t n,
                   const char *const *values, int n_values);
