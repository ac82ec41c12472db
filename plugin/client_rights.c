// SPDX-License-Identifier: ISC
#include "plugin/client_rights.h"

#include "plugin/shared_subscriptions.h"

void ia_client_rights_resolve(const struct ia_core *core, struct ia_client *client)
{
    struct ia_client_check *check = &client->check;
    if (check->rights.generation == core->snapshot->generation)
        return;
    const struct ia_rights_holder who = {
        .ca = ia_ca_settings_find(core->snapshot->ca_settings, ia_client_ca_id(client)),
        .device = client->device,
        .token = client->token,
        .client_id = client->client_id,
    };
    ia_rights_resolve(&check->rights, core->snapshot, &who);
    check->published.known = check->received.known = false; /* decided by the former roles */
}

bool ia_client_rights_cover_shared(const struct ia_core *core, struct ia_client *client)
{
    if (!client->check.shared)
        return true;
    ia_client_rights_resolve(core, client);
    return ia_shared_still_readable(core, client);
}
