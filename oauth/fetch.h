// SPDX-License-Identifier: ISC
/* Fetches JWK sets over HTTPS without blocking: the worker thread calls ia_fetcher_run between its other work.
 *
 * What a provider can make the broker do is limited: https only (plain http for loopback, or with insecure_http), certificate
 * and host name always verified, no proxy and no .netrc from the environment, at most 3 redirects and those to https
 * only, 256 KiB as sent and as decoded, IA_FETCH_TIMEOUT_MS a request.  Freeing the fetcher aborts what is in flight at once. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

#define IA_FETCH_TIMEOUT_MS         5000
#define IA_FETCH_CONNECT_TIMEOUT_MS 3000
#define IA_FETCH_MAX_AGE_MIN_S      60
#define IA_FETCH_MAX_AGE_MAX_S      3600
#define IA_FETCH_MAX_AGE_DEFAULT_S  300
#define IA_FETCH_AT_ONCE            8
#define IA_FETCH_URL_MAX            2048

struct ia_fetch_options {
    const char *ca_file; /* PEM file of the only CAs trusted; NULL: the system's */
    bool insecure_http;  /* plain http beyond loopback as well */
};

/* The result of one fetch; borrowed for the call. */
struct ia_fetch_result {
    const char *name; /* as given to ia_fetcher_start */
    const char *body; /* the JWK set's text, NUL-terminated; NULL when it failed */
    size_t body_len;
    int max_age_s;       /* from Cache-Control, within the bounds above */
    const char *problem; /* one line, "" for none */
};
typedef void ia_fetch_done(void *ctx, const struct ia_fetch_result *result);

struct ia_fetcher;

/* `done` is called from ia_fetcher_run only.  The caller owns *out; one thread. */
IA_MUST_USE enum ia_rc ia_fetcher_new(const struct ia_fetch_options *options, ia_fetch_done *done, void *ctx,
                                      struct ia_fetcher **out, struct ia_err *err);
void ia_fetcher_free(struct ia_fetcher *fetcher); /* never waits */

/* May that URL be fetched?  IA_USAGE and why not: not https, credentials in it, no host … */
IA_MUST_USE enum ia_rc ia_fetch_url_check(const char *url, bool insecure_http, struct ia_err *err);

/* Begin a fetch for the issuer row `name`: from `jwks_url`, or when that is NULL by discovery from `issuer`
 * (<issuer>/.well-known/openid-configuration, then RFC 8414's path), whose document must name exactly that issuer.
 * IA_UNAVAILABLE when IA_FETCH_AT_ONCE are in flight or that name is.  On failure done() is not called. */
IA_MUST_USE enum ia_rc ia_fetcher_start(struct ia_fetcher *fetcher, const char *name, const char *issuer,
                                        const char *jwks_url, struct ia_err *err);

/* Progress all transfers; never blocks.  Call it whenever ia_fetcher_fd is readable; more often is harmless. */
void ia_fetcher_run(struct ia_fetcher *fetcher);
size_t ia_fetcher_busy(const struct ia_fetcher *fetcher); /* fetches in flight */

/* The one descriptor to poll for reading: readable when ia_fetcher_run has something to do, time-outs included.  -1
 * before the first fetch, then the same until ia_fetcher_free. */
int ia_fetcher_fd(const struct ia_fetcher *fetcher);
