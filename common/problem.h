// SPDX-License-Identifier: ISC
/* How a builder reports rows that it cannot use.  A builder that compiles many rows does not stop at the first bad one:
 * it reports each and closes that row's own scope. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* `report` is called once for each problem, on the builder's thread and before the builder returns.  `id` is the id of
 * the row; where rows are known by name (issuers) the row's index in the builder's input; 0 where there are no rows
 * (the keys of one key set).  `text` is what the row's `problem` column is to hold; it is valid during the call only
 * and never holds a secret. */
struct ia_problem_callback {
    void (*report)(void *ctx, int64_t id, const char *text);
    void *ctx;
};

/* Report one problem.  `to` and its function may be NULL: the caller has no use for problems. */
static inline void ia_problem_report(const struct ia_problem_callback *to, int64_t id, const char *text)
{
    if (to && to->report)
        to->report(to->ctx, id, text);
}
