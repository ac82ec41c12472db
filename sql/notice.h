// SPDX-License-Identifier: ISC
/* Notifications on channel `iot_auth`: hints to read again, never data.  Any database role can send one, so the parser
 * takes anything: what it does not understand means 'everything may have changed'. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define IA_NOTICE_MAX  8192 /* PostgreSQL's payloads are below 8000 bytes */
#define IA_NOTICE_KEYS 256  /* more than these: all */

enum ia_notice_topic {
    IA_NOTICE_UNKNOWN, /* `all` is set: read everything again */
    IA_NOTICE_CA,
    IA_NOTICE_ROLE,
    IA_NOTICE_DEVICE,
    IA_NOTICE_ISSUER,
    IA_NOTICE_IP,
    IA_NOTICE_EVENT,
};

/* Not to be copied: keys[] point into text[]. */
struct ia_notice {
    enum ia_notice_topic topic;
    bool all; /* no usable list of keys: every row of the topic may have changed */
    size_t n_keys;
    const char *keys[IA_NOTICE_KEYS]; /* the changed rows: ids or names, as the topic has them */
    char text[IA_NOTICE_MAX];
};

/* Parse one payload: the topic word, then one key a line.  Cannot fail. */
void ia_notice_parse(const char *payload, struct ia_notice *out);
