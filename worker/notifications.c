// SPDX-License-Identifier: ISC
#include "worker/notifications.h"

/* A notification of all CAs comes after a restored dump too, which notifies of no names and no revoked tokens; one of all
 * devices notifies of no pre-shared keys. */
static unsigned changed_parts(const struct ia_notification *n)
{
    static const unsigned parts[] = {
        [IA_NOTIFICATION_CA] = IA_LOAD_CAS | IA_LOAD_CRLS,
        [IA_NOTIFICATION_ROLE] = IA_LOAD_POLICY,
        [IA_NOTIFICATION_ISSUER] = IA_LOAD_ISSUERS,
        [IA_NOTIFICATION_IP] = IA_LOAD_IPS,
        [IA_NOTIFICATION_RESERVED] = IA_LOAD_RESERVED,
        [IA_NOTIFICATION_TOKEN] = IA_LOAD_REVOCATIONS,
        [IA_NOTIFICATION_NONCE] = 0, /* the last topic */
    };
    return parts[n->topic] |
           (n->topic == IA_NOTIFICATION_CA && n->all ? (unsigned)(IA_LOAD_RESERVED | IA_LOAD_REVOCATIONS) : 0u);
}

static void dispatch_notification(const struct ia_notification_targets *to, const struct ia_notification *n)
{
    ia_config_sync_notified(to->config, changed_parts(n));
    if (n->topic == IA_NOTIFICATION_EVENT)
        ia_status_events_notified(to->events, n);
    if (n->topic == IA_NOTIFICATION_CLIENT_ID)
        ia_releases_notified(to->releases);
    if (n->topic == IA_NOTIFICATION_NONCE && n->n_keys == 1)
        ia_listen_check_heard(to->listening, n->keys[0]);
    bool psks = n->topic == IA_NOTIFICATION_PSK;
    if (n->all && (psks || n->topic == IA_NOTIFICATION_DEVICE))
        ia_psk_sync_refresh(to->psks);
    for (size_t i = 0; psks && i < n->n_keys; i++)
        ia_psk_sync_changed(to->psks, n->keys[i]);
    bool devices = n->topic == IA_NOTIFICATION_DEVICE;
    if (devices && n->all)
        ia_device_sync_restart(to->devices);
    for (size_t i = 0; devices && i < n->n_keys; i++)
        ia_device_sync_changed(to->devices, n->keys[i]);
}

void ia_notifications_take(struct ia_db *db, const struct ia_notification_targets *to)
{
    struct ia_notification n;
    while (ia_db_notification(db, &n))
        dispatch_notification(to, &n);
}
