// SPDX-License-Identifier: ISC
#include "worker/channel.h"

#include <openssl/crypto.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A zeroed message whose text begins at `at`. */
static void *new_message(size_t size, size_t at, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    char *message = calloc(1, size + len + 1);
    if (message && text)
        memcpy(message + at, text, len + 1);
    return message;
}

struct ia_request *ia_request_new(enum ia_request_kind kind, const char *text)
{
    struct ia_request *r = new_message(sizeof *r, offsetof(struct ia_request, text), text);
    if (r)
        r->kind = kind;
    return r;
}

void ia_request_free(struct ia_request *request)
{
    if (request && request->kind == IA_REQUEST_RETIRE)
        ia_snapshot_free(request->snapshot);
    if (request && request->kind == IA_REQUEST_REGISTER) {
        free(request->registration.provision);
        OPENSSL_free(request->registration.der);
        free(request->registration.hook_outcome);
        free(request->registration.hook_detail);
    }
    free(request);
}

struct ia_request *ia_requests_take(struct ia_fifo *list)
{
    struct ia_link *link = ia_fifo_take(list);
    return link ? ia_container_of(link, struct ia_request, link) : NULL;
}

void ia_requests_free(struct ia_fifo *list)
{
    while (list->n > 0)
        ia_request_free(ia_requests_take(list));
}

struct ia_reply *ia_reply_new(enum ia_reply_kind kind, const char *text)
{
    struct ia_reply *r = new_message(sizeof *r, offsetof(struct ia_reply, text), text);
    if (r)
        r->kind = kind;
    return r;
}

static void clear_records(struct ia_device_records *records)
{
    for (size_t i = 0; i < records->n; i++)
        ia_device_free(records->items[i]);
    for (size_t i = 0; i < records->n_ids; i++)
        free(records->ids[i]);
    free(records->items);
    free(records->ids);
}

static void clear_reply(struct ia_reply *reply)
{
    switch (reply->kind) {
    case IA_REPLY_SNAPSHOT:
        ia_snapshot_free(reply->snapshot);
        break;
    case IA_REPLY_ANSWER:
        ia_device_free(reply->answer.device);
        break;
    case IA_REPLY_DEVICES:
    case IA_REPLY_STATES:
    case IA_REPLY_CLOSED:
    case IA_REPLY_PAGE:
        clear_records(&reply->records);
        break;
    case IA_REPLY_OWNERS:
        free(reply->owners.keys);
        break;
    case IA_REPLY_PSKS:
        free(reply->psks.rows);
        break;
    case IA_REPLY_KEYRING:
        ia_keyring_free(reply->keyring);
        break;
    default:
        break; /* the other kinds own nothing */
    }
}

void ia_reply_free(struct ia_reply *reply)
{
    if (reply)
        clear_reply(reply);
    free(reply);
}
