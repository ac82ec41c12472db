// SPDX-License-Identifier: ISC
#include "worker/channel.h"

#include <stdlib.h>
#include <string.h>

struct ia_request *ia_request_new(enum ia_request_kind kind, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    struct ia_request *r = calloc(1, sizeof *r + len + 1);
    if (!r)
        return NULL;
    r->kind = kind;
    if (text)
        memcpy(r->text, text, len);
    return r;
}

void ia_request_free(struct ia_request *request)
{
    if (!request)
        return;
    ia_snapshot_free(request->snapshot);
    free(request);
}

struct ia_reply *ia_reply_new(enum ia_reply_kind kind, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    struct ia_reply *r = calloc(1, sizeof *r + len + 1);
    if (!r)
        return NULL;
    r->kind = kind;
    if (text)
        memcpy(r->text, text, len);
    return r;
}

void ia_reply_free(struct ia_reply *reply)
{
    if (!reply)
        return;
    ia_snapshot_free(reply->snapshot);
    for (size_t i = 0; i < reply->n_devices; i++)
        ia_device_free(reply->devices[i]);
    free(reply->devices);
    for (size_t i = 0; i < reply->n_ids; i++)
        free(reply->ids[i]);
    free(reply->ids);
    free(reply);
}
