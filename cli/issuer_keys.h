// SPDX-License-Identifier: ISC
/* The keys of one issuer that come by URL, fetched as brokers fetch them. */
#pragma once

#include "oauth/refresh.h"
#include "sql/rows.h"

/* Fetch the keys of issuer `name`, at most IA_FETCH_TIMEOUT_MS for each request.  IA_OK also where there is nothing to
 * fetch or the provider does not answer: ia_refresh_problem says so.  `ca_file` is the PEM file of the CAs that are
 * trusted for it, NULL: the system's.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_issuer_keys_fetch(const struct ia_rows *rows, const char *name, const char *ca_file,
                                            struct ia_refresh **out, struct ia_err *err);
