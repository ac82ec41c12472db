// SPDX-License-Identifier: ISC
/* Wakes the broker's loop.  Mosquitto 2.0 runs TICK after network events or after 100 ms, whichever is first: too slow
 * for disconnecting ten thousand clients in slices, or for a change that has to take effect at once.  SIGURG, which is
 * ignored by default and which neither Mosquitto nor the plugin uses otherwise, interrupts epoll_wait; every other system
 * call is restarted (SA_RESTART).  Mosquitto 2.1 sleeps for as long as TICK asks it to and needs none of this. */
#pragma once

#include <stdbool.h>

/* Handle SIGURG for the calling thread, which is the broker's.  Does nothing if the signal already has a handler. */
void ia_waker_open(void);
void ia_waker_close(void);

/* Interrupt the broker's wait now.  Any thread. */
void ia_waker_wake(void);

/* Interrupt it in a millisecond: from TICK, when there is more to do.  Broker thread. */
void ia_waker_wake_soon(void);
