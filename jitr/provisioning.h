// SPDX-License-Identifier: ISC
/* What a registration gives a device, as far as it comes from its certificate: the template in iot_auth.ca.provisioning,
 * compiled once for each snapshot and filled in for each certificate that asks to be registered.  Whether what is missing
 * matters, and which roles are given, is decided by the commit (iot_auth.registration_plans), where the template that
 * counts stands.  Immutable after parsing; any thread. */
#pragma once

#include "common/error.h"
#include "jitr/ca_settings.h"
#include "sql/records_types.h"
#include "x509/identity.h"

#include <stdbool.h>

/* Compile the template of a row that has one.  IA_FORMAT says which text does not parse.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_provisioning_parse(const struct ia_ca_row *row, struct ia_provisioning **out,
                                             struct ia_err *err);
void ia_provisioning_free(struct ia_provisioning *provisioning);

/* The template of the CA, filled in for a certificate, as JSON:
 *   {"attributes": {name: value}, "missing": {name: why}, "tenant": … or "missing_tenant": why,
 *    "identity": {variable: value}}
 * `identity` is for hooks and is written with `with_identity` alone.  *out is owned by the caller; NULL where the CA has no
 * template and the identity is not asked for.  IA_NOMEM is the only failure. */
IA_MUST_USE enum ia_rc ia_provisioning_fill(const struct ia_ca_settings *ca, struct ia_identity *identity,
                                            bool with_identity, char **out, struct ia_err *err);
