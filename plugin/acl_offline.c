// SPDX-License-Identifier: ISC
#include "plugin/acl_check.h"

#include "common/principal.h"
#include "plugin/admit.h"
#include "plugin/client_rights.h"
#include "plugin/device_requests.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/revalidate.h"

#include <string.h>

bool ia_acl_is_final(const struct ia_client *client)
{
    return client->device_deleted || client->disconnect_reason == IA_R_DEVICE_REVOKED;
}

/* ---- records of a device */

struct offline_check {
    struct ia_core *core;
    const struct ia_access *access;
    const char *client_id;
    bool scopes_unknown; /* a device of an issuer may have more rights, by the scopes of a token that is not known: what
                            no rule mentions is let through */
    bool known, allowed;
};

/* Does the CA, or the issuer, of the device admit its devices? */
static bool is_owner_active(const struct ia_snapshot *snapshot, const struct ia_device *device,
                            const struct ia_ca_settings *settings)
{
    const char *issuer = ia_device_issuer(device);
    return issuer ? ia_issuer_set_admits_devices(snapshot->issuers, issuer) : settings && settings->active;
}

/* May the device of this record, not connected, have what it asks for?  A will or retained message of a device that may
 * not be connected now is withheld. */
static bool may_publish_offline(const struct ia_snapshot *snapshot, const struct ia_device *device,
                                const struct ia_ca_settings *settings)
{
    return device->status == IA_DEVICE_ACTIVE && device->certificate_status == IA_CERT_ACTIVE &&
           is_owner_active(snapshot, device, settings);
}

/* What memory says of a device that is not connected.  Of two certificates the one with more rights counts. */
static bool check_record(void *ctx, struct ia_device *device)
{
    struct offline_check *o = ctx;
    struct ia_rights *rights = &o->core->acl->offline_rights;
    const struct ia_snapshot *snapshot = o->core->snapshot;
    const struct ia_ca_settings *settings = ia_ca_settings_find(snapshot->ca_settings, device->certificate_ca_id);
    bool publishes = o->access->action == IA_PUBLISH;
    o->known = true;
    if (device->status == IA_DEVICE_REVOKED || (publishes && !may_publish_offline(snapshot, device, settings)))
        return true;
    if (ia_device_issuer(device) ? !is_owner_active(snapshot, device, NULL) : !settings) {
        o->allowed =
            true; /* its CA's or issuer's row cannot be used at present: no reason to drop the device's queue */
        return false;
    }
    const struct ia_rights_holder who = {.ca = settings, .device = device, .client_id = o->client_id};
    ia_rights_resolve(rights, snapshot, &who);
    enum ia_verdict verdict = ia_rights_check(rights, snapshot, o->access, NULL);
    o->allowed |= verdict == IA_ALLOW || (verdict == IA_NO_MATCH && o->scopes_unknown && ia_device_issuer(device));
    return !o->allowed;
}

/* ---- an ended session of this memory */

static bool check_token_rights(const struct ia_core *core, struct ia_client *client, const struct ia_access *access)
{
    ia_client_rights_resolve(core, client);
    return ia_rights_check(&client->check.rights, core->snapshot, access, NULL) == IA_ALLOW;
}

/* Its will, perhaps an hour later: could it still be connected?  One that we disconnected has none. */
static bool may_have_will(struct ia_core *core, const struct ia_client *client)
{
    return !client->certificate_deleted && client->disconnect_reason == IA_R_NONE &&
           ia_revalidate_ended(core, client) == IA_R_NONE;
}

bool ia_acl_check_ended(struct ia_core *core, struct ia_client *client, const struct ia_access *access)
{
    bool named = client->kind == IA_CLIENT_DEVICE || client->kind == IA_CLIENT_APP;
    if (!named || ia_acl_is_final(client))
        return false;
    if (access->action == IA_PUBLISH && !may_have_will(core, client))
        return false;
    if (client->token)
        return check_token_rights(core, client, access);
    struct offline_check o = {.core = core, .access = access, .client_id = client->client_id};
    ia_device_cache_each(core->devices, ia_client_username(client), check_record, &o);
    if (!o.known)
        (void)check_record(&o, client->device);
    return o.allowed;
}

/* ---- by name alone */

/* The owner of that client id, if it is that principal.  The publisher of a retained message comes with both names and
 * no more, and is not the context that it once was. */
static struct ia_client *owner_named(struct ia_core *core, const struct mosquitto *context, const char *username)
{
    const char *id = mosquitto_client_id(context);
    struct ia_client *owner = id ? ia_client_owner(core->clients, id) : NULL;
    return owner && strcmp(ia_client_username(owner), username) == 0 ? owner : NULL;
}

/* Should an app's retained message be withheld because the app is known to have lost its rights? */
static bool is_withheld(struct ia_core *core, const struct mosquitto *context, const char *username,
                        const struct ia_access *access)
{
    struct ia_client *owner = owner_named(core, context, username);
    if (!owner)
        return !ia_issuer_set_admits(core->snapshot->issuers, username);
    if (owner->disconnect_reason != IA_R_NONE)
        return true;
    return !(owner->live ? check_token_rights(core, owner, access) : ia_acl_check_ended(core, owner, access));
}

/* A retained message whose publisher is asked about (check_retain_source) comes with a context without a protocol. */
static bool is_retained_source(const struct mosquitto *context, const struct ia_access *access)
{
    return access->action == IA_PUBLISH && mosquitto_client_protocol_version(context) == 0;
}

/* A principal that is not in memory: what waits for it is not thrown away, Mosquitto asks again when it is back; nor are
 * retained messages.  A will is published only for a context that is known to be that principal's: a name proves
 * nothing. */
bool ia_acl_check_by_name(struct ia_core *core, const struct mosquitto *context, const struct ia_access *access)
{
    const char *username = mosquitto_client_username(context);
    bool retained = is_retained_source(context, access);
    bool benign = access->action == IA_RECEIVE || retained;
    if (!username || !core->snapshot)
        return benign;
    if (access->action == IA_PUBLISH && !retained && !ia_clients_kept_is_of(core->clients, context, username))
        return false;
    if (ia_principal_is_app(username))
        return benign && !(retained && is_withheld(core, context, username, access));
    struct offline_check o = {
        .core = core, .access = access, .client_id = mosquitto_client_id(context), .scopes_unknown = benign};
    ia_device_cache_each(core->devices, username, check_record, &o);
    if (o.known)
        return o.allowed;
    if (retained)
        ia_device_requests_ask_by_name(core, username);
    return benign;
}

/* Without a device or app of that name the client is a password user, and is treated as it would be without this
 * plugin. With a full cache an evicted device cannot be distinguished from a password user: then nobody is deferred, so
 * that the device keeps its queue and its retained messages. */
bool ia_acl_is_deferred_by_name(struct ia_core *core, const struct mosquitto *context)
{
    const char *username = mosquitto_client_username(context);
    if (!core->options.defer_others)
        return false;
    if (!username || ia_clients_kept_is_of(core->clients, context, NULL))
        return true;
    return !ia_device_cache_is_full(core->devices) && !ia_login_is_principal(core, username) &&
           !owner_named(core, context, username) && !ia_clients_kept_is_of(core->clients, context, username);
}
