// SPDX-License-Identifier: ISC
/* Test helper: an issuer row that is fine, to be bent by each case, and tokens for it. */
#pragma once

#include "oauth/token.h"

#define NOW    1700000000
#define ISS    "https://idp.example/realm"
#define CERT   "0123456789abcdef0123456789abcdef"            /* 32 bytes that stand for a certificate's SHA-256 */
#define X5T    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY" /* the same in base64url */
#define CLAIMS "\"iss\":\"" ISS "\",\"aud\":\"mqtt\",\"exp\":1700000300"

/* An ACTIVE row 'idp' with one Ed25519 key 'k1' (the one that fixture_token signs with). */
struct ia_issuer_spec fixture_spec(void);

/* A set of specs[0..n); fails the test when there is no memory. */
struct ia_issuer_set *fixture_set(const struct ia_issuer_spec *specs, size_t n);
struct ia_issuer_set *fixture_one(struct ia_issuer_spec spec);

/* What the last fixture_set told of its last issuer, "" for nothing. */
const char *fixture_problem(void);

/* A token with that payload (a JSON object), kid k1, typ at+jwt.  The caller frees. */
char *fixture_token(const char *payload);

/* Verify at NOW; *out may be NULL. */
enum ia_reason fixture_verify(const struct ia_issuer_set *set, const char *token, struct ia_token **out,
                              struct ia_token_refusal *why);
