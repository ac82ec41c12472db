// SPDX-License-Identifier: ISC
/* Answers registrations of certificates.  Everything that is waiting goes to the database in batches, of
 * which several are under way at a time; each item has an answer of its own.
 *
 * Items of one CA whose rows another transaction has locked wait in the worker and are tried again, while those of other
 * CAs go on.  A batch that the database refuses is sent again in halves, until the item that causes it stands alone.
 * Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/hook_pool.h"
#include "worker/provisioner.h"
#include "worker/sink.h"

struct ia_registrar;

/* Borrows everything; NULL: out of memory. */
struct ia_registrar *ia_registrar_new(struct ia_db *db, const char *node_name, const struct ia_sink *sink);
void ia_registrar_free(struct ia_registrar *registrar);

/* Where registrations whose CA has another template by the time of their commit get the new one from: borrowed, or (the
 * default) NULL, and they are refused. */
void ia_registrar_set_provisioner(struct ia_registrar *registrar, const struct ia_provisioner *provisioner);

/* Where registrations under CAs with a hook are made; likewise. */
void ia_registrar_set_hooks(struct ia_registrar *registrar, struct ia_hook_pool *hooks);

/* Take over a request of kind IA_REQUEST_REGISTER.  It is answered in any case. */
void ia_registrar_add(struct ia_registrar *registrar, struct ia_request *request);

/* Are so many requests waiting that no more should be added? */
bool ia_registrar_is_full(const struct ia_registrar *registrar);

/* Is there anything to send now?  Milliseconds until there is, -1: nothing is waiting for its time. */
bool ia_registrar_due(const struct ia_registrar *registrar);
int64_t ia_registrar_wait_ms(const struct ia_registrar *registrar);

/* One step: send what can be sent, wait for a result, a wake-up or a notification, and answer by the results that are
 * there.  A failure means that the connection was lost; what was under way has been answered as unavailable. */
IA_MUST_USE enum ia_rc ia_registrar_step(struct ia_registrar *registrar, struct ia_err *err);

/* Are batches under way?  Until they are finished, no other statement may use the connection. */
bool ia_registrar_is_busy(const struct ia_registrar *registrar);

/* Receive the results of what is under way, without sending more.  The connection is then free for other statements. */
IA_MUST_USE enum ia_rc ia_registrar_finish(struct ia_registrar *registrar, struct ia_err *err);

/* Answer everything that waits as IA_R_REGISTRY_UNAVAILABLE, with `detail`. */
void ia_registrar_refuse_all(struct ia_registrar *registrar, const char *detail);
