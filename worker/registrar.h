// SPDX-License-Identifier: ISC
/* Answers look-ups and registrations of certificates.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/sink.h"

struct ia_registrar;

/* Borrows everything; NULL: out of memory. */
struct ia_registrar *ia_registrar_new(struct ia_db *db, const char *node_name, const struct ia_sink *sink);
void ia_registrar_free(struct ia_registrar *registrar);

/* Answer one request of kind IA_REQUEST_LOOKUP or IA_REQUEST_REGISTER, which stays the caller's.  What the database
 * refuses with the connection sound is answered as IA_R_REGISTRY_UNAVAILABLE and logged; a failure means that the
 * connection was lost (and the request was answered). */
IA_MUST_USE enum ia_rc ia_registrar_serve(struct ia_registrar *registrar, const struct ia_request *request,
                                          struct ia_err *err);

/* Answer such a request as IA_R_REGISTRY_UNAVAILABLE, with `detail`. */
void ia_registrar_refuse(struct ia_registrar *registrar, const struct ia_request *request, const char *detail);
