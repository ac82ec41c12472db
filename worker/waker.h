// SPDX-License-Identifier: ISC
/* Wakes the broker's loop.  Mosquitto 2.0 comes to TICK after network events or 100 ms, whichever is first: too slow
 * for ending ten thousand sessions in slices, or for a change that should be felt at once.  SIGURG, which is ignored by
 * default and which nothing here uses, interrupts epoll_wait; every other system call is restarted (SA_RESTART).  2.1
 * sleeps as TICK asks it to and needs none of this. */
#pragma once

#include <stdbool.h>

/* Take SIGURG for the calling thread, which is the broker's.  Does nothing where somebody else handles the signal
 * already. */
void ia_waker_open(void);
void ia_waker_close(void);

/* Interrupt the broker's wait now.  Any thread. */
void ia_waker_wake(void);

/* Interrupt it in a millisecond: from TICK, when there is more to do.  Broker thread. */
void ia_waker_wake_soon(void);
