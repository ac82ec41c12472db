// SPDX-License-Identifier: ISC
#include "worker/registrar.h"

#include "common/clock.h"
#include "sql/batch.h"
#include "worker/answers.h"
#include "worker/batch_pace.h"
#include "worker/locked_cas.h"
#include "worker/provisioned.h"

#include <stdlib.h>
#include <string.h>

#define WAITING_MAX    1024 /* requests that wait to be sent */
#define POSTPONED_MAX  1024 /* requests that wait for a lock */
#define GIVE_UP_MS     2500 /* a request that waits for a lock that long is refused: its client may try again */
#define STALE_MS       20 /* until a registration is tried again with the CA's new template, which is read meanwhile */
#define LOG_REFUSAL_MS 10000
#define STEP_MS        250 /* the longest wait of one step */

/* Requests that arrive within IA_PACE_SPACING_US of a batch wait for the next one, unless SPACING_ITEMS wait: a batch costs the
 * database as much as ten of its items, and in a storm the next new device is a millisecond away. */
#define SPACING_ITEMS 64

struct batch {
    struct ia_link link;
    bool by_token; /* else by certificate: all of its items */
    size_t n;
    int64_t sent_us;
    bool behind_another; /* sent while another batch was under way */
    struct ia_request *items[IA_DB_BATCH_MAX];
};

struct ia_registrar {
    struct ia_db *db;
    const char *node_name;
    const struct ia_sink *sink;
    const struct ia_provisioner *provisioner; /* or NULL */
    struct ia_hook_pool *hooks;               /* or NULL */
    struct ia_fifo waiting[2];                /* struct ia_request, to be sent: by certificate, by token */
    struct ia_fifo postponed;                 /* struct ia_request, under locked CAs */
    int64_t retry_ms;                         /* when `postponed` is looked through again */
    struct ia_fifo halves;                    /* struct batch, refused as a part of a larger batch: sent first */
    struct ia_fifo under_way;                 /* struct batch */
    size_t n_under_way;                       /* items of all batches under way */
    bool open;                                /* the connection is in batch mode */
    int64_t spaced_until_us, received_us;     /* no batch of few items before that; the latest result */
    struct ia_batch_pace pace;
    struct ia_locked_cas locked;
    uint64_t batch_number; /* of the latest */
    int64_t next_log_ms;   /* when the next refused request is logged */
};

struct ia_registrar *ia_registrar_new(struct ia_db *db, const char *node_name, const struct ia_sink *sink)
{
    struct ia_registrar *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->db = db;
    r->node_name = node_name;
    r->sink = sink;
    return r;
}

void ia_registrar_set_provisioner(struct ia_registrar *registrar, const struct ia_provisioner *provisioner)
{
    registrar->provisioner = provisioner;
}

void ia_registrar_set_hooks(struct ia_registrar *registrar, struct ia_hook_pool *hooks)
{
    registrar->hooks = hooks;
}

static struct batch *take_batch(struct ia_fifo *list)
{
    struct ia_link *link = ia_fifo_take(list);
    return link ? ia_container_of(link, struct batch, link) : NULL;
}

/* ---- refusals */

/* Keep a registration until the lock on its CA's rows may have been released. */
static void postpone_request(struct ia_registrar *r, struct ia_request *request, int64_t until_ms)
{
    if (ia_monotonic_ms() - request->taken_ms >= GIVE_UP_MS || r->postponed.n >= POSTPONED_MAX) {
        ia_answer_unavailable(r->sink, request,
                              request->registration.stale ? "the templates of the CA have changed"
                                                          : "the CA's rows are locked by another transaction");
        return;
    }
    if (r->postponed.n == 0 || until_ms < r->retry_ms)
        r->retry_ms = until_ms;
    ia_fifo_append(&r->postponed, &request->link);
}

static void refuse_batch(struct ia_registrar *r, struct batch *batch, const char *detail)
{
    for (size_t i = 0; i < batch->n; i++)
        ia_answer_unavailable(r->sink, batch->items[i], detail);
    free(batch);
}

static void refuse_batches(struct ia_registrar *r, struct ia_fifo *list, const char *detail)
{
    struct batch *batch;
    while ((batch = take_batch(list)) != NULL)
        refuse_batch(r, batch, detail);
}

void ia_registrar_refuse_all(struct ia_registrar *registrar, const char *detail)
{
    refuse_batches(registrar, &registrar->under_way, detail);
    refuse_batches(registrar, &registrar->halves, detail);
    ia_answer_all_unavailable(registrar->sink, &registrar->waiting[false], detail);
    ia_answer_all_unavailable(registrar->sink, &registrar->waiting[true], detail);
    ia_answer_all_unavailable(registrar->sink, &registrar->postponed, detail);
    registrar->n_under_way = 0;
    registrar->open = false;
}

static void free_batches(struct ia_fifo *list)
{
    struct batch *batch;
    while ((batch = take_batch(list)) != NULL) {
        for (size_t i = 0; i < batch->n; i++)
            ia_request_free(batch->items[i]);
        free(batch);
    }
}

void ia_registrar_free(struct ia_registrar *registrar)
{
    if (!registrar)
        return;
    free_batches(&registrar->under_way);
    free_batches(&registrar->halves);
    ia_requests_free(&registrar->waiting[false]);
    ia_requests_free(&registrar->waiting[true]);
    ia_requests_free(&registrar->postponed);
    free(registrar);
}

/* ---- waiting requests */

static void await_sending(struct ia_registrar *r, struct ia_request *request)
{
    ia_fifo_append(&r->waiting[ia_request_is_by_token(request)], &request->link);
}

void ia_registrar_add(struct ia_registrar *registrar, struct ia_request *request)
{
    request->taken_ms = ia_monotonic_ms();
    await_sending(registrar, request);
}

static size_t count_waiting(const struct ia_registrar *r)
{
    return r->waiting[false].n + r->waiting[true].n;
}

bool ia_registrar_is_full(const struct ia_registrar *registrar)
{
    return count_waiting(registrar) >= WAITING_MAX;
}

/* Milliseconds until the waiting requests may be sent, rounded up. */
static int64_t spacing_left_ms(const struct ia_registrar *r)
{
    int64_t left = count_waiting(r) < SPACING_ITEMS ? r->spaced_until_us - ia_monotonic_us() : 0;
    return left > 0 ? (left + 999) / 1000 : 0;
}

static int64_t retry_left_ms(const struct ia_registrar *r)
{
    int64_t left = r->retry_ms - ia_monotonic_ms();
    return left > 0 ? left : 0;
}

int64_t ia_registrar_wait_ms(const struct ia_registrar *registrar)
{
    int64_t spacing = count_waiting(registrar) ? spacing_left_ms(registrar) : -1;
    int64_t retry = registrar->postponed.n ? retry_left_ms(registrar) : -1;
    int64_t hooks = registrar->hooks ? ia_hook_pool_wait_ms(registrar->hooks) : -1;
    return ia_sooner_ms(ia_sooner_ms(spacing, retry), hooks);
}

bool ia_registrar_due(const struct ia_registrar *registrar)
{
    return registrar->halves.n || ia_registrar_wait_ms(registrar) == 0;
}

bool ia_registrar_is_busy(const struct ia_registrar *registrar)
{
    return registrar->under_way.n > 0;
}

/* ---- sending */

static struct batch *new_batch(void)
{
    struct batch *batch = malloc(sizeof *batch);
    if (batch)
        batch->n = 0;
    return batch;
}

/* Registrations under CAs or issuers that are not locked, as many as may be under way. */
static void fill_batch(struct ia_registrar *r, struct batch *batch)
{
    struct ia_fifo *waiting = &r->waiting[batch->by_token];
    size_t room = ia_batch_pace_limit(&r->pace) - r->n_under_way;
    int64_t now = ia_monotonic_ms();
    r->batch_number++;
    while (batch->n < IA_DB_BATCH_MAX && batch->n < room && waiting->n > 0) {
        struct ia_request *request = ia_requests_take(waiting);
        int64_t until = ia_locked_cas_try(&r->locked, ia_request_lock_key(request), r->batch_number, now);
        if (until)
            postpone_request(r, request, until);
        else if (ia_provisioned_renew(r->provisioner, request, r->sink))
            batch->items[batch->n++] = request;
    }
}

/* The next batch to send, or NULL: nothing is waiting, or out of memory (which a later step may have). */
static struct batch *next_batch(struct ia_registrar *r)
{
    if (r->halves.n > 0)
        return take_batch(&r->halves);
    if (count_waiting(r) == 0 || spacing_left_ms(r) > 0 || r->n_under_way >= ia_batch_pace_limit(&r->pace))
        return NULL;
    struct batch *batch = new_batch();
    if (!batch)
        return NULL;
    batch->by_token = r->waiting[true].n > r->waiting[false].n; /* the longer queue first */
    fill_batch(r, batch);
    if (batch->n > 0)
        return batch;
    free(batch);
    return NULL;
}

static enum ia_rc send_registrations(struct ia_registrar *r, const struct batch *batch, struct ia_err *err)
{
    struct ia_registration items[IA_DB_BATCH_MAX];
    for (size_t i = 0; i < batch->n; i++) {
        const struct ia_register_request *item = &batch->items[i]->registration;
        items[i] = (struct ia_registration){.info = &item->info,
                                            .device_id = item->device_id,
                                            .ca_id = item->ca_id,
                                            .issuer = item->issuer[0] ? item->issuer : NULL,
                                            .node = r->node_name,
                                            .address = item->address[0] ? item->address : NULL,
                                            .terms = item->terms[0] ? item->terms : NULL,
                                            .provision = item->provision};
    }
    return ia_db_batch_register(r->db, items, batch->n, r->node_name, err);
}

/* Takes the batch over. */
static enum ia_rc send_batch(struct ia_registrar *r, struct batch *batch, struct ia_err *err)
{
    enum ia_rc rc = r->open ? IA_OK : ia_db_batch_begin(r->db, err);
    r->open |= rc == IA_OK;
    if (rc == IA_OK)
        rc = send_registrations(r, batch, err);
    if (rc != IA_OK) {
        refuse_batch(r, batch, err->msg);
        return ia_db_connected(r->db) ? IA_OK : rc;
    }
    batch->sent_us = ia_monotonic_us();
    batch->behind_another = r->under_way.n > 0;
    r->n_under_way += batch->n;
    r->spaced_until_us = batch->sent_us + IA_PACE_SPACING_US;
    ia_fifo_append(&r->under_way, &batch->link);
    return IA_OK;
}

/* Requests whose pause is over are looked at again. */
static void retry_postponed(struct ia_registrar *r)
{
    if (r->postponed.n == 0 || retry_left_ms(r) > 0)
        return;
    for (size_t n = r->postponed.n; n > 0; n--)
        await_sending(r, ia_requests_take(&r->postponed));
}

static enum ia_rc close_batches(struct ia_registrar *r, struct ia_err *err)
{
    if (!r->open || r->under_way.n > 0)
        return IA_OK;
    r->open = false;
    return ia_db_batch_end(r->db, err);
}

static enum ia_rc send_waiting(struct ia_registrar *r, struct ia_err *err)
{
    struct batch *batch = NULL;
    enum ia_rc rc = ia_db_batch_must_end(r->db) ? close_batches(r, err) : IA_OK;
    if (rc != IA_OK || ia_db_batch_must_end(r->db))
        return rc;
    retry_postponed(r);
    while (rc == IA_OK && r->under_way.n < ia_batch_pace_batches(&r->pace) && (batch = next_batch(r)) != NULL)
        rc = send_batch(r, batch, err);
    return rc;
}

/* ---- receiving */

static void log_refusal(struct ia_registrar *r, const char *text)
{
    int64_t now = ia_monotonic_ms();
    if (now < r->next_log_ms)
        return;
    r->next_log_ms = now + LOG_REFUSAL_MS;
    ia_sink_log(r->sink, IA_LOG_ERROR, text);
}

/* The database has refused a batch with the connection sound.  The halves are sent again; an item that is refused by
 * itself is answered. */
static void split_batch(struct ia_registrar *r, struct batch *batch, const char *detail)
{
    struct batch *second = batch->n > 1 ? new_batch() : NULL;
    if (!second) {
        log_refusal(r, detail);
        refuse_batch(r, batch, detail);
        return;
    }
    size_t n = batch->n / 2;
    second->n = batch->n - n;
    second->by_token = batch->by_token;
    memcpy(second->items, batch->items + n, second->n * sizeof *second->items);
    batch->n = n;
    ia_fifo_append(&r->halves, &batch->link);
    ia_fifo_append(&r->halves, &second->link);
}

static void take_outcome(struct ia_registrar *r, struct ia_request *request, const struct ia_registered *outcome)
{
    int64_t key = ia_request_lock_key(request);
    if (strcmp(outcome->outcome, "busy") == 0) {
        postpone_request(r, request, ia_locked_cas_note(&r->locked, key, ia_monotonic_ms()));
        return;
    }
    ia_locked_cas_clear(&r->locked, key);
    if (strcmp(outcome->outcome, "stale_template") == 0) {
        request->registration.stale = true;
        if (r->provisioner)
            ia_provisioner_reload(r->provisioner);
        postpone_request(r, request, ia_monotonic_ms() + STALE_MS);
        return;
    }
    if (strcmp(outcome->outcome, "hook") == 0)
        ia_provisioned_ask_hook(r->provisioner, r->hooks, request, r->sink);
    else
        ia_provisioned_answer(r->sink, request, outcome);
}

/* Registrations that were made, or not, by way of a hook. */
static void take_hook_outcomes(struct ia_registrar *r)
{
    struct ia_request *request;
    while (r->hooks && (request = ia_hook_pool_take(r->hooks)) != NULL) {
        const struct ia_register_request *made = &request->registration;
        const struct ia_registered outcome = {
            .outcome = made->hook_outcome ? made->hook_outcome : "registry_unavailable", .detail = made->hook_detail};
        if (strcmp(outcome.outcome, "registered") != 0 && strcmp(outcome.outcome, "known") != 0) {
            take_outcome(r, request, &outcome);
            continue;
        }
        ia_provisioned_publish(r->sink, request);
        request->taken_ms = ia_monotonic_ms(); /* no wait for a lock */
        await_sending(r, request);
    }
}

static enum ia_rc receive_registrations(struct ia_registrar *r, struct batch *batch, struct ia_err *err)
{
    struct ia_registered_items *outcomes = NULL;
    enum ia_rc rc = ia_db_batch_registered(r->db, batch->by_token, batch->n, &outcomes, err);
    r->n_under_way -= batch->n;
    if (rc != IA_OK)
        return rc;
    int64_t now = ia_monotonic_us();
    ia_batch_pace_note(&r->pace, batch->n, now - batch->sent_us, batch->behind_another ? now - r->received_us : -1);
    for (size_t i = 0; i < batch->n; i++)
        take_outcome(r, batch->items[i], &outcomes->items[i]);
    ia_registered_items_free(outcomes);
    free(batch);
    return IA_OK;
}

static enum ia_rc receive_batch(struct ia_registrar *r, struct ia_err *err)
{
    struct batch *batch = take_batch(&r->under_way);
    enum ia_rc rc = receive_registrations(r, batch, err);
    r->received_us = ia_monotonic_us();
    if (rc == IA_OK)
        return IA_OK;
    if (!ia_db_connected(r->db)) {
        refuse_batch(r, batch, err->msg);
        return rc;
    }
    split_batch(r, batch, err->msg);
    return IA_OK;
}

/* The connection was lost: whether the registrations under way were committed is unknown, and a new try finds out. */
static enum ia_rc fail_lost(struct ia_registrar *r, enum ia_rc rc, const struct ia_err *err)
{
    refuse_batches(r, &r->under_way, err->msg);
    r->n_under_way = 0;
    r->open = false;
    return rc;
}

/* ---- steps */

/* As long as nothing is to be sent. */
static int64_t step_wait_ms(const struct ia_registrar *r)
{
    int64_t wait = ia_registrar_wait_ms(r);
    return wait > 0 && wait < STEP_MS ? wait : STEP_MS;
}

enum ia_rc ia_registrar_step(struct ia_registrar *registrar, struct ia_err *err)
{
    take_hook_outcomes(registrar);
    enum ia_rc rc = send_waiting(registrar, err);
    int64_t wait = step_wait_ms(registrar);
    while (rc == IA_OK && registrar->under_way.n > 0) {
        bool ready = false;
        rc = ia_db_batch_wait(registrar->db, wait, &ready, err);
        if (rc != IA_OK || !ready)
            break;
        rc = receive_batch(registrar, err);
        wait = 0;
    }
    return rc == IA_OK ? IA_OK : fail_lost(registrar, rc, err);
}

enum ia_rc ia_registrar_finish(struct ia_registrar *registrar, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    while (rc == IA_OK && registrar->under_way.n > 0)
        rc = receive_batch(registrar, err);
    if (rc == IA_OK)
        rc = close_batches(registrar, err);
    return rc == IA_OK ? IA_OK : fail_lost(registrar, rc, err);
}
