// SPDX-License-Identifier: ISC
/* When everything is read again, whatever notifications say: one may have been lost.  Worker thread. */
#pragma once

#include "worker/notifications.h"

#include <stdint.h>

struct ia_rereads {
    int64_t resync_ms; /* all devices are read again that often */
    int64_t next_reread_ms, next_resync_ms;
};

/* There is a new connection, which has read everything.  Spread over the interval: all brokers reconnect at once when the
 * database restarts, and would read everything at once from then on. */
void ia_rereads_schedule(struct ia_rereads *rereads);

/* Mark what is due. */
void ia_rereads_start(struct ia_rereads *rereads, const struct ia_notification_targets *targets);

/* Milliseconds until something is due. */
int64_t ia_rereads_wait_ms(const struct ia_rereads *rereads);
