// SPDX-License-Identifier: ISC
/* The configuration of a broker, read from the database: CAs, CRLs, roles, rules, address rules, issuers, scopes. */
#pragma once

#include "acl/ip.h"
#include "acl/policy.h"
#include "common/error.h"
#include "sql/db.h"
#include "sql/records_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What to read: a set. */
enum ia_load {
    IA_LOAD_CAS = 1,
    IA_LOAD_CRLS = 2,
    IA_LOAD_POLICY = 4, /* roles and rules */
    IA_LOAD_IPS = 8,
    IA_LOAD_ISSUERS = 16, /* issuers and scopes */
    IA_LOAD_ALL = 31,
};

/* Immutable; all texts live as long as this. What was not asked for is empty.
 *
 * Rows that hold words this program does not know fail safe: a rule with an unknown effect or action gets the topic
 * filter "", which no policy compiles, so that its role denies; an address rule with an unknown effect or scope gets
 * the network "", which makes its scope (an unknown one: GLOBAL) deny. */
struct ia_rows {
    const struct ia_ca_row *cas;
    size_t n_cas;
    const struct ia_crl_row *crls;
    size_t n_crls;
    const char *const *roles; /* as ia_policy_build takes them */
    size_t n_roles;
    const struct ia_rule *rules;      /* as ia_policy_build takes them */
    const char *const *rule_problems; /* beside rules[]: what role_rule.problem holds now, or NULL */
    size_t n_rules;
    const struct ia_ip_rule *ips; /* as ia_ip_set_build takes them */
    size_t n_ips;
    const struct ia_issuer_row *issuers;
    size_t n_issuers;
    const struct ia_scope_row *scopes;
    size_t n_scopes;
};

/* Read the parts in `what` (set of enum ia_load) as of one moment, in one transaction and one round trip.  The caller
 * owns *out. */
IA_MUST_USE enum ia_rc ia_db_load(struct ia_db *db, unsigned what, struct ia_rows **out, struct ia_err *err);
void ia_rows_free(struct ia_rows *rows);
