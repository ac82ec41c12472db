// SPDX-License-Identifier: ISC
#include "worker/provisioned.h"

#include "worker/answers.h"

#include <stdlib.h>
#include <string.h>

bool ia_provisioned_renew(const struct ia_provisioner *provisioner, struct ia_request *request,
                          const struct ia_sink *sink)
{
    struct ia_err err = {0};
    if (!request->registration.stale)
        return true;
    if (provisioner && ia_provisioner_fill(provisioner, &request->registration, false, &err) == IA_OK)
        return true;
    ia_answer_unavailable(sink, request, provisioner ? err.msg : "the CA's provisioning was changed");
    return false;
}

void ia_provisioned_ask_hook(const struct ia_provisioner *provisioner, struct ia_hook_pool *hooks,
                             struct ia_request *request, const struct ia_sink *sink)
{
    struct ia_err err = {0};
    struct ia_register_request *registration = &request->registration;
    free(registration->hook_outcome);
    free(registration->hook_detail);
    registration->hook_outcome = registration->hook_detail = NULL;
    if (!provisioner || !hooks)
        ia_answer_unavailable(sink, request, "registration hooks cannot be asked");
    else if (ia_provisioner_fill(provisioner, registration, true, &err) != IA_OK)
        ia_answer_unavailable(sink, request, err.msg);
    else if (!ia_hook_pool_add(hooks, request))
        ia_answer_unavailable(sink, request, "too many registrations wait for the CA's hook");
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
