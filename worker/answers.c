// SPDX-License-Identifier: ISC
#include "worker/answers.h"

#include <string.h>

static struct ia_reply *new_answer(const struct ia_request *request, enum ia_reason reason, const char *detail)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, detail);
    if (!reply)
        return NULL;
    memcpy(reply->answer.fingerprint, request->registration.info.fingerprint, sizeof reply->answer.fingerprint);
    reply->answer.reason = reason;
    return reply;
}

static void set_device(struct ia_reply *reply, const struct ia_device_row *row)
{
    if (!reply)
        return;
    reply->answer.device = ia_device_new(row);
    reply->answer.reason = reply->answer.device ? IA_R_NONE : IA_R_INTERNAL;
}

void ia_answer_unavailable(const struct ia_sink *sink, struct ia_request *request, const char *detail)
{
    ia_sink_send(sink, new_answer(request, IA_R_REGISTRY_UNAVAILABLE, detail));
    ia_request_free(request);
}

void ia_answer_all_unavailable(const struct ia_sink *sink, struct ia_fifo *list, const char *detail)
{
    struct ia_request *request;
    while ((request = ia_requests_take(list)) != NULL)
        ia_answer_unavailable(sink, request, detail);
}

void ia_answer_registration(const struct ia_sink *sink, struct ia_request *request, const struct ia_registered *outcome)
{
    bool registered = strcmp(outcome->outcome, "registered") == 0;
    bool known = registered || strcmp(outcome->outcome, "known") == 0;
    struct ia_reply *reply = new_answer(request, ia_reason_from_name(outcome->outcome), outcome->detail);
    if (reply)
        reply->answer.registered = registered;
    if (known && outcome->device)
        set_device(reply, outcome->device);
    ia_sink_send(sink, reply);
    ia_request_free(request);
}
