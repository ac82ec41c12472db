// SPDX-License-Identifier: ISC
/* Registrations that need more than one try: another template by the time of the commit, or a hook.  Worker thread. */
#pragma once

#include "sql/devices.h"
#include "worker/channel.h"
#include "worker/hook_pool.h"
#include "worker/provisioner.h"
#include "worker/sink.h"

/* Fill in the CA's present template where the one before was another; `provisioner` may be NULL.  False: the request has
 * been refused, and freed. */
bool ia_provisioned_renew(const struct ia_provisioner *provisioner, struct ia_request *request,
                          const struct ia_sink *sink);

/* The CA has a hook: the registration is made on another connection, with the identity that the hook gets.  Takes the
 * request over; both parts may be NULL. */
void ia_provisioned_ask_hook(const struct ia_provisioner *provisioner, struct ia_hook_pool *hooks,
                             struct ia_request *request, const struct ia_sink *sink);

/* A registration by way of a hook was committed: its event is published now, whatever becomes of the request.  Where the commit
 * is in doubt the answer publishes it. */
void ia_provisioned_publish(const struct ia_sink *sink, struct ia_request *request);

/* Answer and free a request.  What was registered by way of a hook is known by now, and answered as registered. */
void ia_provisioned_answer(const struct ia_sink *sink, struct ia_request *request, const struct ia_registered *outcome);
