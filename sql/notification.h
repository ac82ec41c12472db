// SPDX-License-Identifier: ISC
/* Notifications (NOTIFY) on channel `iot_auth`: hints to read again, never data.  Any database role can send one, so the
 * parser takes anything, and a payload that it does not know is ignored: else junk would make every broker read all
 * devices again and again.  What a lost notification would have said is found by the resync from time to time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define IA_NOTIFICATION_MAX  8192 /* PostgreSQL's payloads are below 8000 bytes */
#define IA_NOTIFICATION_KEYS 256  /* more than these: all */

enum ia_notification_topic {
    IA_NOTIFICATION_UNKNOWN, /* to be ignored */
    IA_NOTIFICATION_CA,
    IA_NOTIFICATION_ROLE,
    IA_NOTIFICATION_DEVICE,
    IA_NOTIFICATION_ISSUER,
    IA_NOTIFICATION_IP,
    IA_NOTIFICATION_EVENT,
    IA_NOTIFICATION_RESERVED,  /* names that no device or app may take */
    IA_NOTIFICATION_CLIENT_ID, /* an administrator has released a client id */
    IA_NOTIFICATION_TOKEN,     /* a row of token_revocation */
    IA_NOTIFICATION_PSK,       /* the keys are PSK identities */
    IA_NOTIFICATION_NONCE,     /* the key is a nonce of ia_db_send_nonce, of this broker or another */
};

/* Not to be copied: keys[] point into text[]. */
struct ia_notification {
    enum ia_notification_topic topic;
    bool all; /* no usable list of keys: every row of the topic may have changed */
    size_t n_keys;
    const char *keys[IA_NOTIFICATION_KEYS]; /* the changed rows: ids or names, as the topic has them */
    char text[IA_NOTIFICATION_MAX];
};

/* Parse one payload: the topic word, then one key a line.  Cannot fail. */
void ia_notification_parse(const char *payload, struct ia_notification *out);
