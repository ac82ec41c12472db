// SPDX-License-Identifier: ISC
#include "sql/notice.h"

#include <string.h>

static const struct {
    const char *word;
    enum ia_notice_topic topic;
} topics[] = {
    {"ca", IA_NOTICE_CA},         {"role", IA_NOTICE_ROLE}, {"device", IA_NOTICE_DEVICE},
    {"issuer", IA_NOTICE_ISSUER}, {"ip", IA_NOTICE_IP},     {"event", IA_NOTICE_EVENT},
};

static enum ia_notice_topic topic_of(const char *word)
{
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        if (strcmp(topics[i].word, word) == 0)
            return topics[i].topic;
    return IA_NOTICE_UNKNOWN;
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

void ia_notice_parse(const char *payload, struct ia_notice *out)
{
    out->n_keys = 0;
    out->all = true;
    out->topic = IA_NOTICE_UNKNOWN;
    size_t len = strnlen(payload, sizeof out->text);
    if (len == sizeof out->text)
        return;
    memcpy(out->text, payload, len + 1);
    char *next = end_line(out->text);
    out->topic = topic_of(out->text);
    if (out->topic == IA_NOTICE_UNKNOWN)
        return;
    for (char *key = next; key; key = next) {
        next = end_line(key);
        if (out->n_keys == IA_NOTICE_KEYS || key[0] == '\0' || strcmp(key, "*") == 0) {
            out->n_keys = 0;
            return;
        }
        out->keys[out->n_keys++] = key;
    }
    out->all = out->n_keys == 0;
}
