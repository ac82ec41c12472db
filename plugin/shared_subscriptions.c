// SPDX-License-Identifier: ISC
#include "plugin/shared_subscriptions.h"

#include "plugin/mosquitto_compat.h"

#include <stdlib.h>
#include <string.h>

#define SHARE       "$share/"
#define SAMPLE      "iot-auth-sample" /* a level that no rule names: only a wildcard matches it */
#define SAMPLE_TAIL SAMPLE "/" SAMPLE /* for '#': only another '#' matches two of them */
#define SAMPLE_MAX  2048

struct ia_shared_subscriptions {
    size_t n;
    char *filters[IA_SHARED_MAX];  /* owned */
    bool inherited[IA_SHARED_MAX]; /* of the session that was resumed, and not subscribed again since */
};

static bool is_shared(const char *filter)
{
    return strncmp(filter, SHARE, strlen(SHARE)) == 0;
}

/* The filter behind $share/GROUP/, or NULL. */
static const char *shared_filter(const char *filter)
{
    const char *end = strchr(filter + strlen(SHARE), '/');
    return end ? end + 1 : NULL;
}

/* A topic that stands for all that the filter matches.  False when it does not fit. */
static bool sample_topic(const char *filter, char *out, size_t size)
{
    size_t used = 0;
    for (const char *p = filter; *p; p++) {
        const char one[] = {*p, '\0'}, *piece = one;
        if (*p == '+')
            piece = SAMPLE;
        else if (*p == '#')
            piece = SAMPLE_TAIL;
        size_t len = strlen(piece);
        if (used + len >= size)
            return false;
        memcpy(out + used, piece, len);
        used += len;
    }
    out[used] = '\0';
    return used > 0;
}

static bool is_readable(const struct ia_core *core, const struct ia_client *client, const char *filter)
{
    char topic[SAMPLE_MAX];
    const char *inner = shared_filter(filter);
    if (!inner || !sample_topic(inner, topic, sizeof topic))
        return false;
    const struct ia_access access = {.action = IA_RECEIVE, .topic = topic};
    return ia_rights_check(&client->check.rights, core->snapshot, &access, NULL) == IA_ALLOW;
}

/* A free place, or that of an inherited filter: the broker may no longer have that subscription, and the list must not
 * refuse the client for ever.  IA_SHARED_MAX: there is none. */
static size_t find_place(const struct ia_shared_subscriptions *shared)
{
    size_t i = shared->n < IA_SHARED_MAX ? shared->n : 0;
    while (i < shared->n && !shared->inherited[i])
        i++;
    return i;
}

static bool put_filter(struct ia_shared_subscriptions *shared, const char *filter)
{
    size_t i = find_place(shared);
    char *copy = i < IA_SHARED_MAX ? strdup(filter) : NULL;
    if (!copy)
        return false;
    if (i < shared->n)
        free(shared->filters[i]);
    else
        shared->n++;
    shared->filters[i] = copy;
    shared->inherited[i] = false;
    return true;
}

static bool add_filter(struct ia_client *client, const char *filter)
{
    struct ia_shared_subscriptions *shared = client->check.shared;
    if (!shared)
        shared = client->check.shared = calloc(1, sizeof *shared);
    if (!shared)
        return false;
    for (size_t i = 0; i < shared->n; i++) {
        if (strcmp(shared->filters[i], filter) != 0)
            continue;
        shared->inherited[i] = false;
        return true;
    }
    return put_filter(shared, filter);
}

bool ia_shared_admit(const struct ia_core *core, struct ia_client *client, const struct ia_access *access)
{
    if (access->action != IA_SUBSCRIBE || !is_shared(access->topic))
        return true;
    return is_readable(core, client, access->topic) && add_filter(client, access->topic);
}

static void remove_filter(struct ia_shared_subscriptions *shared, size_t i)
{
    free(shared->filters[i]);
    shared->n--;
    shared->filters[i] = shared->filters[shared->n];
    shared->inherited[i] = shared->inherited[shared->n];
}

void ia_shared_remove(struct ia_client *client, const char *filter)
{
    struct ia_shared_subscriptions *shared = client->check.shared;
    for (size_t i = 0; shared && i < shared->n; i++) {
        if (strcmp(shared->filters[i], filter) != 0)
            continue;
        remove_filter(shared, i);
        return;
    }
}

void ia_shared_inherit(struct ia_client *client)
{
    struct ia_client *older = ia_client_previous(client);
    if (!older || client->check.shared)
        return;
    client->check.shared = older->check.shared;
    older->check.shared = NULL;
    for (size_t i = 0; client->check.shared && i < client->check.shared->n; i++)
        client->check.shared->inherited[i] = true;
}

bool ia_shared_is_lost(const struct ia_core *core, const struct ia_client *client, const char *filter)
{
    return is_shared(filter) && !is_readable(core, client, filter);
}

void ia_shared_delete_lost(const struct ia_core *core, struct ia_client *client)
{
    struct ia_shared_subscriptions *shared = client->check.shared;
    for (size_t i = shared ? shared->n : 0; i-- > 0;)
        if (!is_readable(core, client, shared->filters[i]) &&
            ia_mosq_unsubscribe(client->client_id, shared->filters[i]))
            remove_filter(shared, i);
}

void ia_shared_delete_all(struct ia_client *client)
{
    struct ia_shared_subscriptions *shared = client->check.shared;
    for (size_t i = shared ? shared->n : 0; i-- > 0;)
        if (ia_mosq_unsubscribe(client->client_id, shared->filters[i]))
            remove_filter(shared, i);
}

void ia_shared_forget_lost(const struct ia_core *core, struct ia_client *client)
{
    struct ia_shared_subscriptions *shared = client->check.shared;
    for (size_t i = shared ? shared->n : 0; i-- > 0;)
        if (!is_readable(core, client, shared->filters[i]))
            remove_filter(shared, i);
}

bool ia_shared_still_readable(const struct ia_core *core, const struct ia_client *client)
{
    const struct ia_shared_subscriptions *shared = client->check.shared;
    for (size_t i = 0; shared && i < shared->n; i++)
        if (!is_readable(core, client, shared->filters[i]))
            return false;
    return true;
}

void ia_shared_free(struct ia_shared_subscriptions *shared)
{
    for (size_t i = 0; shared && i < shared->n; i++)
        free(shared->filters[i]);
    free(shared);
}
