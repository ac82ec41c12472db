// SPDX-License-Identifier: ISC
/* Revoked tokens (iot_auth.token_revocation): those of an issuer that have a value in a claim and were issued at or before
 * a time.  Whoever writes the rows, an administrator or the receiver of a provider's signals, they are rows like these.
 * Part of a snapshot: built once, then immutable; any thread. */
#pragma once

#include "common/error.h"
#include "common/reason.h"
#include "oauth/refusal.h"

#include <stddef.h>
#include <stdint.h>

struct ia_token;

struct ia_revocation {
    int64_t id;
    const char *issuer;    /* name of the issuer's row */
    const char *claim;     /* JSON Pointer */
    const char *value;     /* as `${claim:/pointer}` writes it; never a pattern */
    int64_t issued_before; /* seconds since 1970: tokens with an iat at or before it, or without iat */
    int64_t until;         /* likewise: the row counts for nothing from then on; 0: no end */
    bool unreadable;       /* claim or value could not be read: all tokens of the issuer are refused */
};

struct ia_revocation_set;

/* Copies what it needs.  The caller owns one reference of *out. */
IA_MUST_USE enum ia_rc ia_revocations_build(const struct ia_revocation *rows, size_t n, struct ia_revocation_set **out,
                                            struct ia_err *err);
struct ia_revocation_set *ia_revocations_ref(struct ia_revocation_set *set);
void ia_revocations_free(struct ia_revocation_set *set); /* gives one reference back; NULL is fine */

/* Is the token revoked at `now`?  IA_R_NONE, or IA_R_TOKEN_REVOKED and `detail` with the id of the row.  One look-up in a
 * hash table for each claim of the token, however many rows there are. */
enum ia_reason ia_revocations_check(const struct ia_revocation_set *set, const struct ia_token *token, int64_t now,
                                    char detail[IA_DETAIL_MAX]);
