// SPDX-License-Identifier: ISC
/* Limits the events of refusals, and of session ends that a client can cause itself: anyone can mint certificates and
 * tokens, and a refused device may retry as fast as it can.  At most 2 events a second for one principal on this node,
 * and 10 a second for all unregistered principals together; further events are only counted.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_event_limits;

struct ia_event_limits *ia_event_limits_new(void); /* NULL when out of memory */
void ia_event_limits_free(struct ia_event_limits *limits);

/* May one more event be written in this second?  `principal` NULL or "": not registered.  Counted if not. */
bool ia_event_limits_admit(struct ia_core *core, const char *principal);
