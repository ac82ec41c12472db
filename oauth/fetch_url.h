// SPDX-License-Identifier: ISC
/* URLs that may be fetched, and where an issuer's metadata lies.  Internal to oauth/. */
#pragma once

#include "oauth/fetch.h"

/* Is it plain http? */
bool ia_fetch_url_is_http(const char *url);

/* The URL of `issuer`'s metadata: OpenID Connect Discovery 1.0 section 4 (`rfc8414` false: the well-known path behind
 * the issuer's own), or RFC 8414 section 3.1 (before it).  IA_USAGE when the issuer is not a URL that may be fetched. */
IA_MUST_USE enum ia_rc ia_fetch_metadata_url(const char *issuer, bool rfc8414, bool insecure_http,
                                             char out[IA_FETCH_URL_MAX], struct ia_err *err);

/* `jwks_uri` out of the metadata in body[0..len), which must name exactly `issuer` (another one's metadata would let
 * that one sign) and, for an https issuer, stay on https. */
IA_MUST_USE enum ia_rc ia_fetch_metadata_read(const char *body, size_t len, const char *issuer, bool insecure_http,
                                              char out[IA_FETCH_URL_MAX], struct ia_err *err);

/* Seconds that a Cache-Control header (RFC 9111 section 5.2) gives, within the bounds of fetch.h. */
int ia_fetch_max_age(const char *cache_control);
