// SPDX-License-Identifier: ISC
/* Where the parts of the worker send their replies and log lines: the queue to the broker thread, or a test's recorder.
 * Worker thread. */
#pragma once

#include "worker/channel.h"

struct ia_sink {
    void (*send)(void *ctx, struct ia_reply *reply); /* takes the reply over; may wait while too many are queued */
    void *ctx;
};

/* NULL (out of memory) is fine: the reply is lost. */
static inline void ia_sink_send(const struct ia_sink *sink, struct ia_reply *reply)
{
    if (reply)
        sink->send(sink->ctx, reply);
}

static inline void ia_sink_log(const struct ia_sink *sink, enum ia_log_level level, const char *text)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_LOG, text);
    if (reply)
        reply->level = level;
    ia_sink_send(sink, reply);
}
