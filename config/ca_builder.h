// SPDX-License-Identifier: ISC
/* Builds the CAs of a snapshot, with their CRLs and settings, from rows.  Worker thread. */
#pragma once

#include "common/error.h"
#include "config/pem_cache.h"
#include "jitr/ca_settings.h"
#include "sql/rows.h"
#include "x509/ca_set.h"

/* Called for each CA whose columns have to be written: its certificate was parsed for the first time (`info`, NULL where
 * it is invalid), or its problem is another one than its row says (`problem`, NULL: none). */
struct ia_ca_report {
    void (*report)(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem);
    void *ctx;
};

struct ia_cas_input {
    struct ia_pem_cache *cache;
    const struct ia_rows *rows;        /* of which the CAs and CRLs are read */
    int64_t now;                       /* seconds since 1970 */
    const struct ia_ca_report *report; /* NULL: the caller has no use for reports */
};

struct ia_built_cas {
    struct ia_ca_set *cas;
    struct ia_ca_settings_set *settings;
};

/* IA_NOMEM is the only failure, and *out stays as it is: an invalid row admits no device, and its problem is reported.
 * The caller owns one reference of each member of *out. */
IA_MUST_USE enum ia_rc ia_cas_build(const struct ia_cas_input *in, struct ia_built_cas *out, struct ia_err *err);
