// SPDX-License-Identifier: ISC
/* A small world of certificates by name, for table-driven suites: see pki.c for who signed whom. */
#pragma once

#include "x509/ca_set.h"
#include "x509/chain.h"

#include <openssl/x509.h>

/* Borrowed: made at the first use and kept.  An unknown name aborts. */
X509 *pki_cert(const char *name);
X509_CRL *pki_crl(const char *name);

/* A set of "root -inter renewed+crl1+crl2": names of certificates, `-` in front of one that is INACTIVE, `!` of one
 * that is REVOKED, `+` before each
 * of its CRLs.  The n-th has ca_id n.  Problems go to pki_problems. */
struct ia_ca_set *pki_set(const char *list, int64_t now);
const char *pki_problems(void); /* "1: text\n…" of the last set */

/* "inter leaf" as a stack; the caller frees the stack, not what it holds. */
STACK_OF(X509) * pki_stack(const char *list);
