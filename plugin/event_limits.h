// SPDX-License-Identifier: ISC
/* How many events of refusals, and of sessions that a client has ended by its own doing, are written: anyone can mint certificates and tokens, and a refused device may retry as
 * fast as it can.  One principal at most 2 a second on this node, all unregistered ones together 10 a second; the rest
 * is counted.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_event_limits;

struct ia_event_limits *ia_event_limits_new(void); /* NULL when out of memory */
void ia_event_limits_free(struct ia_event_limits *limits);

/* May one more event be written in this second?  `principal` NULL or "": not registered.  Counted if not. */
bool ia_event_limits_admit(struct ia_core *core, const char *principal);
