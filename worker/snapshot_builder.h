// SPDX-License-Identifier: ISC
/* Builds snapshots from rows.  Parts that did not change are shared with the snapshot before.  Worker thread. */
#pragma once

#include "access/snapshot.h"
#include "oauth/refresh.h"
#include "sql/rows.h"

/* What is wrong with a row, for its `problem` column: told once for each row that has, or had, a problem. */
struct ia_row_problem_sink {
    void *ctx;
    void (*ca)(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem);
    void (*rule)(void *ctx, int64_t rule_id, const char *problem);
    void (*issuer)(void *ctx, const char *name, const char *problem);
    void (*note)(void *ctx, const char *text); /* for the log alone */
};

struct ia_builder; /* the worker's: parsed certificates and the parts built last */

struct ia_builder *ia_builder_new(void);
void ia_builder_free(struct ia_builder *builder);

/* Does the snapshot built last have that role? */
bool ia_builder_knows_role(const struct ia_builder *builder, const char *role);

/* Build a snapshot from the parts that `rows` holds (`what`: set of enum ia_load, CAs and CRLs together) and, for the
 * others, those built before.  `refresh` has the keys of issuers whose jwks come by URL.  IA_NOMEM is the only failure.
 * The caller owns *out. */
IA_MUST_USE enum ia_rc ia_builder_build(struct ia_builder *builder, unsigned what, const struct ia_rows *rows,
                                        const struct ia_refresh *refresh, int64_t now,
                                        const struct ia_row_problem_sink *sink, struct ia_snapshot **out,
                                        struct ia_err *err);
