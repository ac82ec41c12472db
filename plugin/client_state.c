// SPDX-License-Identifier: ISC
/* What changes of a client while it is connected.  Whoever changes what its rights depend on makes them be resolved again. */
#include "plugin/clients.h"

#include <string.h>

void ia_client_set_device(struct ia_client *client, struct ia_device *device)
{
    if (client->device != device) {
        ia_device_free(client->device);
        client->device = ia_device_ref(device);
    }
    client->device_deleted = client->certificate_deleted = false;
    client->check.rights.generation = 0; /* roles and attributes may have changed */
}

void ia_client_set_deleted(struct ia_client *client, bool device_too)
{
    client->certificate_deleted = true;
    client->device_deleted = device_too;
}

void ia_client_set_token(struct ia_client *client, struct ia_token *token)
{
    ia_token_free(client->token);
    client->token = token;
    client->check.rights.generation = 0;
}

void ia_client_set_token_hash(struct ia_client *client, const uint8_t hash[32])
{
    memcpy(client->token_hash, hash, sizeof client->token_hash);
}

void ia_client_set_validated(struct ia_client *client, uint64_t generation)
{
    client->validated_generation = generation;
}

void ia_client_set_expiry(struct ia_client *client, int64_t expires_at)
{
    client->expires_at = expires_at;
}

void ia_client_set_cannot_disconnect(struct ia_client *client, bool cannot)
{
    client->cannot_disconnect = cannot;
}
