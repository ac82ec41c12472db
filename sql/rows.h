// SPDX-License-Identifier: ISC
/* The configuration of a broker, read from the database: CAs, CRLs, roles, rules, address rules, issuers, scopes,
 * reserved names, revoked tokens. */
#pragma once

#include "acl/ip.h"
#include "acl/policy.h"
#include "common/error.h"
#include "oauth/revocation.h"
#include "sql/db.h"
#include "sql/records_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What to read: a set.  Each part is loaded, refused and retried by itself. */
enum ia_load {
    IA_LOAD_CAS = 1,
    IA_LOAD_CRLS = 2,
    IA_LOAD_ROLES = 4,
    IA_LOAD_IPS = 8,
    IA_LOAD_ISSUER_ROWS = 16,
    IA_LOAD_RULES = 32,
    IA_LOAD_SCOPES = 64,
    IA_LOAD_RESERVED = 128,
    IA_LOAD_REVOCATIONS = 256,
    IA_LOAD_POLICY = IA_LOAD_ROLES | IA_LOAD_RULES,
    IA_LOAD_ISSUERS = IA_LOAD_ISSUER_ROWS | IA_LOAD_SCOPES,
    IA_LOAD_ALL = 511,
};

#define IA_ROWS_NOTES_MAX 64

/* Immutable; all texts live as long as this. What was not asked for is empty.
 *
 * Rows that hold words this program does not know fail safe: a rule with an unknown effect or action gets the topic
 * filter "", which no policy compiles, so that its role denies; an address rule with an unknown effect or scope gets
 * the network "", which makes its scope (an unknown one: GLOBAL) deny.  So do rows with a fault (records_types.h): a CA
 * or an issuer is not ACTIVE, a role is left out, which denies to all that have it; a CRL's and a scope's fault is for
 * the builder to put on their CA and issuer. */
struct ia_rows {
    unsigned missing;         /* the parts that could not be read now: empty here, to be asked for again */
    struct ia_err refusal;    /* why, of the first of them */
    const char *const *notes; /* for the log: faults of rows that have no `problem` column */
    size_t n_notes;
    const struct ia_ca_row *cas;
    size_t n_cas;
    const struct ia_crl_row *crls;
    size_t n_crls;
    const char *const *roles; /* as ia_policy_build takes them */
    size_t n_roles;
    const struct ia_rule *rules;      /* as ia_policy_build takes them */
    const char *const *rule_problems; /* beside rules[]: what role_rule.problem holds now, or NULL */
    const char *const *rule_faults;   /* beside rules[]: the row's fault, or NULL */
    size_t n_rules;
    const struct ia_ip_rule *ips; /* as ia_ip_set_build takes them */
    size_t n_ips;
    const struct ia_issuer_row *issuers;
    size_t n_issuers;
    const struct ia_scope_row *scopes;
    size_t n_scopes;
    const char *const *reserved; /* names that no device or app may take */
    size_t n_reserved;
    const struct ia_revocation *revocations;
    size_t n_revocations;
};

/* Read the parts in `what` (set of enum ia_load).  Usually as of one moment, in one transaction and one round trip.  A
 * part that the server refuses is left to `missing`, and the others are read.  Where a row is the reason, it is searched
 * for by halving and comes with a fault.  IA_OK also when all parts are missing; any other code: the connection is lost,
 * or there is no memory.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_db_load(struct ia_db *db, unsigned what, struct ia_rows **out, struct ia_err *err);
void ia_rows_free(struct ia_rows *rows);
