// SPDX-License-Identifier: ISC
/* Test helper: a valid issuer row, to be changed by each case, and tokens for it. */
#pragma once

#include "oauth/token_cache.h"

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

/* The problem that the last fixture_set reported of its last issuer, "" for none. */
const char *fixture_problem(void);
const char *fixture_note(void); /* likewise */

/* A token with that payload (a JSON object), kid k1, typ at+jwt.  The caller frees. */
char *fixture_token(const char *payload);

/* ia_token_verify of that text, without and with a cache; cert may be NULL. */
enum ia_reason fixture_verify_at(struct ia_issuer_set *set, const char *token, size_t len, int64_t now,
                                 const void *cert, struct ia_token **out, struct ia_token_refusal *refusal);
enum ia_reason fixture_verify_cached(struct ia_token_cache *cache, struct ia_issuer_set *set, const char *token,
                                     size_t len, int64_t now, const void *cert, struct ia_token **out,
                                     struct ia_token_refusal *refusal);

/* Verify at NOW; *out may be NULL. */
enum ia_reason fixture_verify(struct ia_issuer_set *set, const char *token, struct ia_token **out,
                              struct ia_token_refusal *refusal);
