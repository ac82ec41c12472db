// SPDX-License-Identifier: ISC
#include "worker/inbox.h"

#include "common/clock.h"
#include "common/queue.h"
#include "sql/batch.h"

#include <stdlib.h>

#define REQUESTS_MAX 8192
#define HOOK_MS      100
#define TURN_MS      250 /* then the worker's other steps get their turn; a notified change gets it at once */

struct ia_inbox {
    struct ia_inbox_parts parts;
    struct ia_queue *queue;
    struct ia_provisioner provisioner;
    struct ia_hook_pool *hooks;
};

struct ia_inbox *ia_inbox_new(const struct ia_inbox_parts *parts, const struct ia_worker_options *options, int wake_fd)
{
    const struct ia_hook_pool_options hooks = {
        .conninfo = options->db_conninfo,
        .node_name = options->node_name,
        .insecure = options->insecure_db_conninfo,
        .timeout_ms = options->hook_timeout_ms > 0 ? (int)options->hook_timeout_ms : HOOK_MS,
        .wake_fd = wake_fd};
    struct ia_inbox *inbox = calloc(1, sizeof *inbox);
    if (!inbox)
        return NULL;
    inbox->queue = ia_queue_new(REQUESTS_MAX);
    inbox->hooks = ia_hook_pool_new(&hooks);
    if (!inbox->queue || !inbox->hooks || !parts->registrar) {
        ia_inbox_free(inbox);
        return NULL;
    }
    inbox->parts = *parts;
    inbox->provisioner = (struct ia_provisioner){.config = parts->config};
    ia_registrar_set_provisioner(parts->registrar, &inbox->provisioner);
    ia_registrar_set_hooks(parts->registrar, inbox->hooks);
    return inbox;
}

static struct ia_request *take_request(struct ia_inbox *inbox)
{
    struct ia_link *link = ia_queue_pop(inbox->queue);
    return link ? ia_container_of(link, struct ia_request, link) : NULL;
}

void ia_inbox_free(struct ia_inbox *inbox)
{
    struct ia_request *request;
    if (!inbox)
        return;
    while (inbox->queue && (request = take_request(inbox)) != NULL)
        ia_request_free(request);
    ia_queue_free(inbox->queue);
    ia_hook_pool_free(inbox->hooks);
    free(inbox);
}

void ia_inbox_stop(struct ia_inbox *inbox)
{
    ia_hook_pool_stop(inbox->hooks);
}

bool ia_inbox_put(struct ia_inbox *inbox, struct ia_request *request)
{
    if (ia_queue_push(inbox->queue, &request->link))
        return true;
    ia_request_free(request);
    return false;
}

void ia_inbox_close(struct ia_inbox *inbox)
{
    ia_queue_close(inbox->queue);
}

bool ia_inbox_due(const struct ia_inbox *inbox)
{
    const struct ia_registrar *registrar = inbox->parts.registrar;
    return !ia_queue_is_empty(inbox->queue) || ia_registrar_due(registrar) || ia_registrar_is_busy(registrar);
}

int64_t ia_inbox_wait_ms(const struct ia_inbox *inbox)
{
    return ia_registrar_wait_ms(inbox->parts.registrar);
}

/* Take over a request that needs no connection now.  False: it is a question to the database. */
static bool accept_offline(struct ia_inbox *inbox, struct ia_request *request)
{
    switch (request->kind) {
    case IA_REQUEST_EVENT:
        ia_outbox_event(inbox->parts.outbox, request);
        return true;
    case IA_REQUEST_OWNER:
        ia_outbox_owner(inbox->parts.outbox, request);
        return true;
    case IA_REQUEST_REFUSAL:
        ia_outbox_refusal(inbox->parts.outbox, request);
        return true;
    case IA_REQUEST_CONNECTED:
        ia_outbox_connected(inbox->parts.outbox, request);
        return true;
    case IA_REQUEST_COUNTERS:
        ia_outbox_counters(inbox->parts.outbox, request);
        return true;
    case IA_REQUEST_KEYS:
        ia_config_sync_request_keys(inbox->parts.config, request->issuer);
        ia_request_free(request);
        return true;
    case IA_REQUEST_KEY_FILE:
        ia_psk_sync_read_keys(inbox->parts.psks);
        ia_request_free(request);
        return true;
    case IA_REQUEST_PSK:
        ia_psk_sync_ask(inbox->parts.psks, request->identity);
        ia_request_free(request);
        return true;
    case IA_REQUEST_RETIRE:
        ia_request_free(request);
        return true;
    default:
        return false;
    }
}

/* Hand every request to its part, as long as there is room for questions: the rest waits in the queue, which is
 * bounded. */
static void distribute_requests(struct ia_inbox *inbox)
{
    struct ia_request *request;
    while (!ia_registrar_is_full(inbox->parts.registrar) && (request = take_request(inbox)) != NULL) {
        if (accept_offline(inbox, request))
            continue;
        if (request->kind == IA_REQUEST_DEVICE) {
            ia_device_sync_ask(inbox->parts.devices, request->device_id);
            ia_request_free(request);
            continue;
        }
        ia_registrar_add(inbox->parts.registrar, request);
    }
}

enum ia_rc ia_inbox_serve(struct ia_inbox *inbox, struct ia_err *err)
{
    struct ia_registrar *registrar = inbox->parts.registrar;
    int64_t until = ia_monotonic_ms() + TURN_MS;
    enum ia_rc rc = IA_OK;
    do {
        distribute_requests(inbox);
        rc = ia_registrar_step(registrar, err);
    } while (rc == IA_OK && ia_registrar_is_busy(registrar) && ia_monotonic_ms() < until &&
             !ia_db_has_notification(inbox->parts.db));
    return rc;
}

enum ia_rc ia_inbox_finish(struct ia_inbox *inbox, struct ia_err *err)
{
    return ia_registrar_finish(inbox->parts.registrar, err);
}

void ia_inbox_refuse(struct ia_inbox *inbox)
{
    struct ia_request *request;
    while ((request = take_request(inbox)) != NULL) {
        if (accept_offline(inbox, request))
            continue;
        if (request->kind == IA_REQUEST_REGISTER)
            ia_registrar_add(inbox->parts.registrar, request);
        else
            ia_request_free(request);
    }
    ia_registrar_refuse_all(inbox->parts.registrar, "the database is not connected");
}
