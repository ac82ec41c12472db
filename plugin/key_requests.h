// SPDX-License-Identifier: ISC
/* Asking the worker to fetch an issuer's keys, because a token names a key that is not known.  That takes no valid
 * signature, so a flood of such tokens must not fill the worker's queue: one request an issuer in 100 ms.  Broker
 * thread. */
#pragma once

#include "plugin/core.h"

struct ia_key_requests;

struct ia_key_requests *ia_key_requests_new(void); /* NULL when out of memory */
void ia_key_requests_free(struct ia_key_requests *requests);

void ia_key_requests_ask(struct ia_core *core, const char *issuer);
