// SPDX-License-Identifier: ISC
#include "worker/registrar.h"

#include "common/clock.h"
#include "sql/devices.h"

#include <stdlib.h>
#include <string.h>

#define LOCKED_CAS     64
#define LOCKED_MS      1000 /* no further registration is tried on a CA's row that is locked */
#define LOG_REFUSAL_MS 10000

struct ia_registrar {
    struct ia_db *db;
    const char *node_name;
    const struct ia_sink *sink;
    int64_t next_log_ms; /* when the next refused request is logged */
    struct {
        int64_t ca_id, until_ms;
    } locked[LOCKED_CAS]; /* CAs whose rows another transaction has locked; by ca_id modulo LOCKED_CAS */
};

struct ia_registrar *ia_registrar_new(struct ia_db *db, const char *node_name, const struct ia_sink *sink)
{
    struct ia_registrar *registrar = calloc(1, sizeof *registrar);
    if (!registrar)
        return NULL;
    registrar->db = db;
    registrar->node_name = node_name;
    registrar->sink = sink;
    return registrar;
}

void ia_registrar_free(struct ia_registrar *registrar)
{
    free(registrar);
}

/* ---- answers */

static struct ia_reply *new_answer(const struct ia_request *request, enum ia_reason reason, const char *detail)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, detail);
    if (!reply)
        return NULL;
    bool registering = request->kind == IA_REQUEST_REGISTER;
    memcpy(reply->answer.fingerprint, registering ? request->registration.info.fingerprint : request->fingerprint,
           sizeof reply->answer.fingerprint);
    reply->answer.registering = registering;
    reply->answer.reason = reason;
    return reply;
}

static void set_device(struct ia_reply *reply, const struct ia_device_row *row)
{
    if (!reply)
        return;
    reply->answer.device = ia_device_new(row);
    reply->answer.reason = reply->answer.device ? IA_R_NONE : IA_R_INTERNAL;
}

void ia_registrar_refuse(struct ia_registrar *registrar, const struct ia_request *request, const char *detail)
{
    ia_sink_send(registrar->sink, new_answer(request, IA_R_REGISTRY_UNAVAILABLE, detail));
}

/* ---- look-ups */

static enum ia_rc look_up(struct ia_registrar *registrar, const struct ia_request *request, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_device_by_fingerprint(registrar->db, request->fingerprint, &rows, err);
    if (rc != IA_OK)
        return rc;
    struct ia_reply *reply = new_answer(request, IA_R_DEVICE_UNKNOWN, NULL);
    if (rows->n)
        set_device(reply, &rows->rows[0]);
    ia_sink_send(registrar->sink, reply);
    ia_device_rows_free(rows);
    return IA_OK;
}

/* ---- registrations */

/* An open transaction of an administrator on one CA's row must not cost the devices of the other CAs a lock time-out
 * for each registration under that CA. */
static bool is_locked(const struct ia_registrar *registrar, int64_t ca_id)
{
    size_t slot = (size_t)ca_id % LOCKED_CAS;
    return registrar->locked[slot].ca_id == ca_id && ia_monotonic_ms() < registrar->locked[slot].until_ms;
}

/* The more CAs are locked, the longer each is left alone: together they take a third of the time, and the other CAs have
 * the rest. */
static void note_locked(struct ia_registrar *registrar, int64_t ca_id)
{
    size_t slot = (size_t)ca_id % LOCKED_CAS;
    int64_t now = ia_monotonic_ms(), pause = 0;
    registrar->locked[slot].ca_id = ca_id;
    registrar->locked[slot].until_ms = now + LOCKED_MS;
    for (size_t i = 0; i < LOCKED_CAS; i++)
        pause += registrar->locked[i].until_ms > now ? LOCKED_MS : 0;
    registrar->locked[slot].until_ms = now + pause;
}

static void send_outcome(struct ia_registrar *registrar, const struct ia_request *request,
                         const struct ia_registered *outcome)
{
    bool registered = strcmp(outcome->outcome, "registered") == 0;
    bool known = registered || strcmp(outcome->outcome, "known") == 0;
    struct ia_reply *reply = new_answer(request, ia_reason_from_name(outcome->outcome), outcome->detail);
    if (reply)
        reply->answer.registered = registered;
    if (known && outcome->device)
        set_device(reply, outcome->device);
    ia_sink_send(registrar->sink, reply);
}

static enum ia_rc register_device(struct ia_registrar *registrar, const struct ia_request *request, struct ia_err *err)
{
    const struct ia_register_request *r = &request->registration;
    if (is_locked(registrar, r->ca_id))
        return ia_fail(err, IA_UNAVAILABLE, "the CA's row is locked by another transaction");
    const struct ia_registration registration = {.info = &r->info,
                                                 .device_id = r->device_id,
                                                 .ca_id = r->ca_id,
                                                 .node = registrar->node_name,
                                                 .address = r->address[0] ? r->address : NULL};
    struct ia_registered *outcome = NULL;
    enum ia_rc rc = ia_db_register(registrar->db, &registration, &outcome, err);
    if (rc == IA_UNAVAILABLE && ia_db_connected(registrar->db))
        note_locked(registrar, r->ca_id);
    if (rc != IA_OK)
        return rc;
    send_outcome(registrar, request, outcome);
    ia_registered_free(outcome);
    return IA_OK;
}

/* ---- requests */

static void log_refusal(struct ia_registrar *registrar, const char *text)
{
    int64_t now = ia_monotonic_ms();
    if (now < registrar->next_log_ms)
        return;
    registrar->next_log_ms = now + LOG_REFUSAL_MS;
    ia_sink_log(registrar->sink, IA_LOG_ERROR, text);
}

enum ia_rc ia_registrar_serve(struct ia_registrar *registrar, const struct ia_request *request, struct ia_err *err)
{
    enum ia_rc rc = request->kind == IA_REQUEST_REGISTER ? register_device(registrar, request, err)
                                                         : look_up(registrar, request, err);
    if (rc == IA_OK)
        return IA_OK;
    ia_registrar_refuse(registrar, request, err->msg);
    if (!ia_db_connected(registrar->db))
        return rc;
    log_refusal(registrar, err->msg); /* the database refused this request alone: the others go on */
    return IA_OK;
}
