// SPDX-License-Identifier: ISC
/* The registry as a broker would see it now: rows, and the snapshot that the brokers' own builder makes of them. */
#pragma once

#include "access/admission.h"
#include "cli/call.h"
#include "sql/db.h"
#include "sql/rows.h"

struct ia_decision {
    const struct ia_call *call;
    struct ia_db *db;
    struct ia_rows *rows;
    struct ia_snapshot *snapshot;
    int64_t now;
    bool asked;          /* the database was asked, and failed: see ia_decision_fail_loaded */
    bool with_addresses; /* --from: address rules count; else there are none */
};

/* Read and build.  `issuer` (or NULL): fetch the keys of this issuer where they come by URL.  Problems of rows are printed
 * to stderr.  The caller clears *d in any case. */
IA_MUST_USE enum ia_rc ia_decision_load(struct ia_decision *d, const struct ia_call *call, const char *issuer,
                                        struct ia_err *err);
void ia_decision_clear(struct ia_decision *d);

/* Fill in what the call says about the connection: address and client id. */
IA_MUST_USE enum ia_rc ia_decision_begin(const struct ia_decision *d, struct ia_admission *a, struct ia_err *err);

/* Print "deny: REASON detail", and what would have to be true instead by iot_auth.refusal_remedy, which gets `claimed`, a
 * JSON object as brokers write it into an event.  Returns IA_EXIT_DENY. */
int ia_decision_refuse(const struct ia_decision *d, const struct ia_admission *a, enum ia_reason reason,
                       const char *claimed);

/* Print "NAME=" and the roles of whoever was admitted. */
void ia_decision_print_roles(const struct ia_decision *d, const struct ia_admission *a);

/* The exit status for what the database answered: its schema or a privilege is missing, or it cannot be reached. */
int ia_decision_refused_as(const struct ia_err *err);

/* The failure of a check that could not be made, by its kind; the first after ia_decision_load. */
int ia_decision_fail_loaded(const struct ia_decision *d, const struct ia_call *call, const struct ia_err *err);
int ia_decision_fail(const struct ia_call *call, const struct ia_err *err);
