// SPDX-License-Identifier: ISC
/* Fills in the template of a CA again, for a registration whose first one was of another template.  Worker thread. */
#pragma once

#include "common/error.h"
#include "worker/channel.h"
#include "worker/config_sync.h"

struct ia_provisioner {
    struct ia_config_sync *config; /* borrowed: what was read last */
};

/* The CAs' settings are to be read again, because the registry has newer ones. */
void ia_provisioner_reload(const struct ia_provisioner *provisioner);

/* Put what the CA's present templates make of the request's certificate into it: the device id and what the registration gives,
 * with the identity of the certificate for a hook.  Otherwise err says why the request is to be refused (IA_FORMAT: the
 * template makes no device id of the certificate), and the request is as before.  `provisioner` may be NULL. */
IA_MUST_USE enum ia_rc ia_provisioner_fill(const struct ia_provisioner *provisioner,
                                           struct ia_register_request *request, bool with_identity, struct ia_err *err);
