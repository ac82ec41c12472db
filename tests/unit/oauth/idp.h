// SPDX-License-Identifier: ISC
/* Test helper: an HTTP server on 127.0.0.1, plain or TLS, that answers from a list. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct idp;

/* Begin to serve.  With `tls`, under a fresh self-signed certificate for `localhost` (idp_ca_file). */
struct idp *idp_start(bool tls);
void idp_stop(struct idp *idp);

int idp_port(const struct idp *idp);
const char *idp_ca_file(const struct idp *idp);

/* Answer requests for `path` with `response` (a whole HTTP response; copied); NULL: never answer. */
void idp_serve(struct idp *idp, const char *path, const char *response);
/* 200 with that body and these further header lines. */
void idp_serve_body(struct idp *idp, const char *path, const char *headers, const char *body);

void idp_serve_bytes(struct idp *idp, const char *path, const char *headers, const void *body, size_t len);

/* Run the fetcher until nothing is in flight, woken by its descriptor alone; a fetch that needs more than that fails the
 * test. */
struct ia_fetcher;
void idp_finish_fetches(struct ia_fetcher *fetcher);

/* Wait for the fetcher's descriptor, at most timeout_ms; is it readable? */
bool idp_wait_for_fetcher(const struct ia_fetcher *fetcher, int timeout_ms);

unsigned idp_requests(struct idp *idp, const char *path);
