// SPDX-License-Identifier: ISC
#include "sql/notification.h"

#include <string.h>

static const struct {
    const char *word;
    enum ia_notification_topic topic;
} topics[] = {
    {"ca", IA_NOTIFICATION_CA},
    {"role", IA_NOTIFICATION_ROLE},
    {"device", IA_NOTIFICATION_DEVICE},
    {"issuer", IA_NOTIFICATION_ISSUER},
    {"ip", IA_NOTIFICATION_IP},
    {"event", IA_NOTIFICATION_EVENT},
    {"reserved", IA_NOTIFICATION_RESERVED},
    {"client_id", IA_NOTIFICATION_CLIENT_ID},
    {"token", IA_NOTIFICATION_TOKEN},
    {"psk", IA_NOTIFICATION_PSK},
    {"nonce", IA_NOTIFICATION_NONCE},
};

static enum ia_notification_topic topic_of(const char *word)
{
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        if (strcmp(topics[i].word, word) == 0)
            return topics[i].topic;
    return IA_NOTIFICATION_UNKNOWN;
}

/* End the line at `p` and return the next one, NULL at the end of the text. */
static char *end_line(char *p)
{
    char *newline = strchr(p, '\n');
    if (!newline)
        return NULL;
    *newline = '\0';
    return newline + 1;
}

void ia_notification_parse(const char *payload, struct ia_notification *out)
{
    out->n_keys = 0;
    out->all = true;
    out->topic = IA_NOTIFICATION_UNKNOWN;
    size_t len = strnlen(payload, sizeof out->text);
    if (len == sizeof out->text)
        return;
    memcpy(out->text, payload, len + 1);
    char *next = end_line(out->text);
    out->topic = topic_of(out->text);
    if (out->topic == IA_NOTIFICATION_UNKNOWN)
        return;
    for (char *key = next; key; key = next) {
        next = end_line(key);
        if (out->n_keys == IA_NOTIFICATION_KEYS || key[0] == '\0' || strcmp(key, "*") == 0) {
            out->n_keys = 0;
            return;
        }
        out->keys[out->n_keys++] = key;
    }
    out->all = out->n_keys == 0;
}
