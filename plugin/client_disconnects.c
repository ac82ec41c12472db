// SPDX-License-Identifier: ISC
/* The live clients that are to be disconnected, in the order in which they were marked. */
#include "plugin/clients_private.h"

#include <utlist.h>

void ia_client_disconnect_remove(struct ia_clients *all, struct ia_client *client)
{
    if (!client->disconnect_pending)
        return;
    DL_DELETE2(all->disconnect, client, prev_disconnect, next_disconnect);
    client->disconnect_pending = false;
}

void ia_client_mark_disconnect(struct ia_clients *clients, struct ia_client *client, enum ia_reason reason)
{
    if (!client->live || client->disconnect_reason != IA_R_NONE)
        return;
    client->disconnect_reason = reason;
    ia_client_retry_disconnect(clients, client);
}

void ia_client_retry_disconnect(struct ia_clients *clients, struct ia_client *client)
{
    if (!client->live || client->disconnect_pending)
        return;
    client->disconnect_pending = true;
    DL_APPEND2(clients->disconnect, client, prev_disconnect, next_disconnect);
}

struct ia_client *ia_clients_next_disconnect(struct ia_clients *clients)
{
    struct ia_client *client = clients->disconnect;
    if (client)
        ia_client_disconnect_remove(clients, client);
    return client;
}
