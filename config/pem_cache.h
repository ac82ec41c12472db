// SPDX-License-Identifier: ISC
/* Parsed certificates and CRLs, kept from build to build by row id and PEM text: parsing a certificate costs as much as
 * verifying one, and a build that adds one CA to ten thousand has to parse one.  Worker thread. */
#pragma once

#include "common/error.h"
#include "x509/cert.h"
#include "x509/crl.h"

#include <stdbool.h>
#include <stdint.h>

struct ia_pem_cache;

/* What the PEM text of one row parsed to.  Borrowed until ia_pem_cache_end. */
struct ia_parsed_pem {
    struct ia_cert *cert; /* of a CA row; NULL: invalid, and `error` says why */
    struct ia_crl *crl;   /* of a CRL row; likewise */
    struct ia_err error;
    bool is_new; /* parsed in this build, not in an earlier one */
};

struct ia_pem_cache *ia_pem_cache_new(void); /* NULL: out of memory */
void ia_pem_cache_free(struct ia_pem_cache *cache);

/* A build begins. */
void ia_pem_cache_begin(struct ia_pem_cache *cache);

/* The row with that id and PEM text, parsed.  NULL when out of memory: that says nothing about the row.  A CRL's `pem`
 * NULL: as it was parsed before, where the row cannot be read now. */
const struct ia_parsed_pem *ia_pem_cache_ca(struct ia_pem_cache *cache, int64_t ca_id, const char *pem);
const struct ia_parsed_pem *ia_pem_cache_crl(struct ia_pem_cache *cache, int64_t crl_id, const char *pem);

/* The build is complete: forget the rows that it did not ask for. */
void ia_pem_cache_end(struct ia_pem_cache *cache);
