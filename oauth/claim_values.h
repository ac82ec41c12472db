// SPDX-License-Identifier: ISC
/* Values out of a token's claims by JSON Pointer: what scopes are mapped from, what an issuer requires, what variables
 * stand for.  Internal to oauth/. */
#pragma once

#include "oauth/claims.h"

/* Read the values that `map_scope` maps under all of the issuer's scope_claims: a string split at its spaces (RFC 6749
 * section 3.3), the strings of an array as they are, the names of an object's members; numbers, booleans, null and what
 * is deeper give nothing.  IA_R_TOKEN_MALFORMED for a text that was replaced (json.h), IA_R_TOKEN_CLAIMS for more than
 * IA_SCOPES_MAX different values that the issuer maps; `detail` then says so. */
enum ia_reason ia_claims_read_scopes(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *out,
                                     char detail[IA_DETAIL_MAX]);

/* Does the token have every claim that the issuer requires?  Types are not converted: "1" is not 1.  IA_R_NONE, or
 * IA_R_TOKEN_CLAIMS with pointer, wanted and claimed value in `detail`. */
enum ia_reason ia_claims_check_required(const json_t *payload, const struct ia_issuer *issuer,
                                        char detail[IA_DETAIL_MAX]);

/* Keep the scalar claims for `${claim.NAME}` and `${claim:/pointer}`: first the token's own members, then those of
 * objects and arrays in them, until IA_CLAIMS_MAX are kept; the others count as unset.  Marks are made of all of
 * them. */
void ia_claims_keep_values(const json_t *payload, struct ia_claims *out);
