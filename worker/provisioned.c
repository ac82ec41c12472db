// SPDX-License-Identifier: ISC
#include "worker/provisioned.h"

#include "worker/answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The template makes nothing of the certificate, or it cannot be tried. */
static void refuse_request(const struct ia_sink *sink, struct ia_request *request, enum ia_rc rc,
                           const struct ia_err *err)
{
    const struct ia_registered outcome = {.outcome = "identity_invalid", .detail = err->msg};
    if (rc == IA_FORMAT)
        ia_answer_registration(sink, request, &outcome);
    else
        ia_answer_unavailable(sink, request, err->msg);
}

bool ia_provisioned_renew(const struct ia_provisioner *provisioner, struct ia_request *request,
                          const struct ia_sink *sink)
{
    struct ia_err err = {0};
    enum ia_rc rc = IA_OK;
    if (request->registration.stale)
        rc = ia_provisioner_fill(provisioner, &request->registration, false, &err);
    if (rc != IA_OK)
        refuse_request(sink, request, rc, &err);
    return rc == IA_OK;
}

void ia_provisioned_ask_hook(const struct ia_provisioner *provisioner, struct ia_hook_pool *hooks,
                             struct ia_request *request, const struct ia_sink *sink)
{
    struct ia_err err = {0};
    struct ia_register_request *registration = &request->registration;
    free(registration->hook_outcome);
    free(registration->hook_detail);
    registration->hook_outcome = registration->hook_detail = NULL;
    registration->hook_in_doubt = false;
    enum ia_rc rc = ia_provisioner_fill(provisioner, registration, true, &err);
    if (rc != IA_OK)
        refuse_request(sink, request, rc, &err);
    else if (!hooks || !ia_hook_pool_add(hooks, request))
        ia_answer_unavailable(sink, request, "too many registrations wait for the CA's hook");
}

void ia_provisioned_publish(const struct ia_sink *sink, struct ia_request *request)
{
    struct ia_register_request *registration = &request->registration;
    if (registration->hook_in_doubt || strcmp(registration->hook_outcome, "registered") != 0)
        return;
    struct ia_reply *reply = ia_reply_new(IA_REPLY_EVENT, registration->hook_detail);
    if (reply)
        (void)snprintf(reply->event, sizeof reply->event, "device/registered");
    ia_sink_send(sink, reply);
    free(registration->hook_detail);
    registration->hook_detail = NULL;
}

void ia_provisioned_answer(const struct ia_sink *sink, struct ia_request *request, const struct ia_registered *outcome)
{
    const struct ia_register_request *registration = &request->registration;
    struct ia_registered answer = *outcome;
    bool by_hook = registration->hook_outcome && strcmp(registration->hook_outcome, "registered") == 0;
    if (by_hook && strcmp(outcome->outcome, "known") == 0) {
        answer.outcome = registration->hook_outcome;
        answer.detail = registration->hook_detail;
    }
    ia_answer_registration(sink, request, &answer);
}
