// SPDX-License-Identifier: ISC
/* Builds snapshots from rows.  Parts that did not change are shared with the snapshot before.  Worker thread. */
#pragma once

#include "access/snapshot.h"
#include "common/problem.h"
#include "config/ca_builder.h"
#include "oauth/refresh.h"
#include "sql/rows.h"

/* What is wrong with rows, for their `problem` columns: called once for each row whose problem is another one than the
 * row says.  `text` NULL: the row has no problem any more. */
struct ia_row_problems {
    struct ia_ca_report ca;
    struct ia_problem_callback rule;        /* by rule_id */
    struct ia_problem_callback issuer;      /* by the index in rows->issuers */
    struct ia_problem_callback issuer_note; /* likewise, for the column `note` */
    struct ia_problem_callback ip_rule;     /* by rule_id; at each build, because there is no column */
};

struct ia_builder; /* parsed certificates, and the parts built last */

struct ia_builder *ia_builder_new(void); /* NULL: out of memory */
void ia_builder_free(struct ia_builder *builder);

/* The CAs that were built last, borrowed until the next build; NULL before the first. */
const struct ia_ca_set *ia_builder_cas(const struct ia_builder *builder);

/* Their settings, likewise. */
const struct ia_ca_settings_set *ia_builder_ca_settings(const struct ia_builder *builder);

/* Does the snapshot that was built last have that role? */
bool ia_builder_has_role(const struct ia_builder *builder, const char *role);

/* What one build reads; all borrowed for the call. */
struct ia_build_input {
    unsigned parts; /* set of enum ia_load, CAs and CRLs together: these are built, the others are shared */
    const struct ia_rows *rows;
    const struct ia_refresh
        *refresh; /* the keys of issuers whose jwks come by URL; NULL where there is no such issuer */
    int64_t now;  /* seconds since 1970 */
    const struct ia_row_problems *problems;
};

/* Build a snapshot of the parts in input->parts and, for the others, of those built before.  IA_NOMEM is the only
 * failure.  The caller owns *out, which is NULL while a part has never been built. */
IA_MUST_USE enum ia_rc ia_builder_build(struct ia_builder *builder, const struct ia_build_input *input,
                                        struct ia_snapshot **out, struct ia_err *err);
