// SPDX-License-Identifier: ISC
/* The answers to registrations.  Each call sends one answer and frees its request.  Worker thread. */
#pragma once

#include "sql/devices.h"
#include "worker/sink.h"

/* The database cannot be asked: IA_R_REGISTRY_UNAVAILABLE, with `detail`. */
void ia_answer_unavailable(const struct ia_sink *sink, struct ia_request *request, const char *detail);

/* The same for all requests of a list, which is empty then. */
void ia_answer_all_unavailable(const struct ia_sink *sink, struct ia_fifo *list, const char *detail);

/* A registration has had this outcome. */
void ia_answer_registration(const struct ia_sink *sink, struct ia_request *request,
                            const struct ia_registered *outcome);
