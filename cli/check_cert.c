// SPDX-License-Identifier: ISC
/* check cert: would a broker admit this certificate now?  The steps of CONNECT (access/admission.h), with the one step
 * that asks the registry answered read-only. */
#include "cli/check.h"
#include "cli/decision.h"
#include "cli/pem_blocks.h"
#include "cli/registry.h"
#include "common/json_out.h"
#include "common/str.h"
#include "jitr/provisioning.h"
#include "sql/devices.h"
#include "x509/shown_certificate.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENT_MAX  64  /* certificates of one command line */
#define TEXTS_MAX 512 /* roles, or names and values of attributes, that a registration gives */

/* Attributes as texts, as rules see them. */
#define WOULD_REGISTER                                                                                                 \
    "SELECT w.outcome, w.detail, w.device_status, "                                                                    \
    "(SELECT coalesce(json_object_agg(e.key, e.value), '{}') FROM jsonb_each_text(w.attributes) e), "                  \
    "to_json(coalesce(w.roles, '{}')), w.tenant, w.expected, w.hook "                                                  \
    "FROM iot_auth.would_register(decode($1, 'hex'), $2, $3::bigint, $4, $5, $6) w"

struct shown {
    size_t n;
    struct ia_cert *certs[SENT_MAX]; /* the leaf first */
};

struct question {
    struct ia_decision decision;
    struct shown shown;
    struct ia_chain chain;
    struct ia_cert_info info;
    bool would_register;
    bool expected;                    /* … by an entry of the list */
    json_t *attributes;               /* … with these; NULL: none */
    char hook[520];                   /* … if this function allows it; "": none */
    int failed;                       /* exit status where the registry could not be asked: then there is no decision */
    char client_id[IA_VALUE_MAX + 1]; /* where none is given */
};

/* ---- the certificates */

static enum ia_rc take_cert(void *ctx, const char *file, const char *pem, struct ia_err *err)
{
    struct shown *shown = ctx;
    struct ia_err cause = {0};
    if (shown->n == SENT_MAX)
        return ia_fail(err, IA_USAGE, "%s: more than %d certificates", file, SENT_MAX);
    if (ia_cert_parse_pem(pem, &shown->certs[shown->n], &cause) != IA_OK)
        return ia_fail(err, IA_FORMAT, "%s: %s", file, cause.msg);
    shown->n++;
    return IA_OK;
}

static enum ia_rc read_shown(struct question *q, const struct ia_call *call, struct ia_err *err)
{
    const struct ia_values *more = ia_call_list(call, "INTERMEDIATE.pem");
    enum ia_rc rc = ia_pem_blocks_each(ia_call_get(call, "LEAF.pem"), take_cert, &q->shown, err);
    for (size_t i = 0; rc == IA_OK && i < more->n; i++)
        rc = ia_pem_blocks_each(more->items[i], take_cert, &q->shown, err);
    return rc;
}

static enum ia_rc verify_shown(struct question *q, struct ia_err *err)
{
    STACK_OF(X509) *sent = sk_X509_new_null();
    bool complete = sent != NULL;
    for (size_t i = 1; complete && i < q->shown.n; i++)
        complete = sk_X509_push(sent, ia_cert_x509(q->shown.certs[i])) > 0;
    if (complete)
        ia_chain_verify(q->decision.snapshot->cas, ia_cert_x509(q->shown.certs[0]), sent, q->decision.now, &q->chain);
    sk_X509_free(sent);
    return complete ? IA_OK : ia_nomem(err);
}

/* ---- the record */

/* Borrows the texts of a JSON list, or of an object as name, value, name, value …; as many as fit into room[TEXTS_MAX]. */
static struct ia_texts texts_of(json_t *json, const char *room[TEXTS_MAX])
{
    size_t n = 0, index;
    const char *name;
    json_t *value;
    json_array_foreach(json, index, value) {
        if (n < TEXTS_MAX && json_is_string(value))
            room[n++] = json_string_value(value);
    }
    json_object_foreach(json, name, value) {
        if (n + 1 < TEXTS_MAX && json_is_string(value)) {
            room[n++] = name;
            room[n++] = json_string_value(value);
        }
    }
    return (struct ia_texts){.items = room, .n = n};
}

/* A device that would be registered now, as its record would be. */
static enum ia_reason new_record(struct question *q, struct ia_admission *a, const PGresult *answer)
{
    const char *status = PQgetvalue(answer, 0, 2);
    const char *attributes[TEXTS_MAX], *roles[TEXTS_MAX];
    struct ia_device_row row = {.device_id = a->device_id,
                                .device_status = strcmp(status, "PENDING") == 0 ? IA_DEVICE_PENDING : IA_DEVICE_ACTIVE,
                                .certificate_status = IA_CERT_ACTIVE,
                                .certificate_ca_id = a->ca->ca_id,
                                .device_ca_id = a->ca->ca_id,
                                .tenant = PQgetisnull(answer, 0, 5) ? NULL : PQgetvalue(answer, 0, 5),
                                .not_after = a->info->not_after};
    memcpy(row.fingerprint, a->info->fingerprint, sizeof row.fingerprint);
    json_decref(q->attributes);
    json_t *names = json_loads(PQgetvalue(answer, 0, 4), 0, NULL);
    q->attributes = json_loads(PQgetvalue(answer, 0, 3), 0, NULL);
    row.attrs = texts_of(q->attributes, attributes);
    row.roles = texts_of(names, roles);
    q->expected = strcmp(PQgetvalue(answer, 0, 6), "t") == 0;
    (void)snprintf(q->hook, sizeof q->hook, "%s", PQgetvalue(answer, 0, 7));
    a->device = ia_device_new(&row);
    json_decref(names);
    q->would_register = true;
    return a->device ? IA_R_NONE : IA_R_INTERNAL;
}

/* What broker_register would answer; see iot_auth.would_register. */
static enum ia_reason ask_registration(struct question *q, struct ia_admission *a)
{
    char fingerprint[2 * IA_FINGERPRINT_LEN + 1], ca_id[24];
    ia_autofree char *provision = NULL;
    enum ia_reason reason = IA_R_INTERNAL;
    struct ia_identity identity;
    int status;
    ia_identity_read(a->leaf, &identity);
    if (ia_provisioning_fill(a->ca, &identity, false, &provision, NULL) != IA_OK)
        return IA_R_INTERNAL;
    const char *const values[] = {fingerprint, a->device_id, ca_id, a->info->serial, a->ca->terms, provision};
    ia_hex(a->info->fingerprint, IA_FINGERPRINT_LEN, fingerprint);
    (void)snprintf(ca_id, sizeof ca_id, "%" PRId64, a->ca->ca_id);
    struct ia_registry *registry = ia_registry_open(q->decision.call, &status);
    PGresult *result = registry ? ia_registry_run(registry, WOULD_REGISTER, values, 6) : NULL;
    if (result && strcmp(PQgetvalue(result, 0, 0), "registered") == 0)
        reason = new_record(q, a, result);
    else if (result)
        reason = ia_admission_refuse(a, ia_reason_from_name(PQgetvalue(result, 0, 0)), PQgetvalue(result, 0, 1));
    else
        q->failed = registry ? ia_registry_status(registry) : status;
    PQclear(result);
    ia_registry_close(registry);
    return reason;
}

static enum ia_reason find_record(void *ctx, struct ia_admission *a)
{
    struct question *q = ctx;
    struct ia_device_rows *rows = NULL;
    struct ia_err err = {0};
    if (ia_db_device_by_fingerprint(q->decision.db, a->info->fingerprint, &rows, &err) != IA_OK) {
        q->failed = ia_decision_fail(q->decision.call, &err);
        return IA_R_REGISTRY_UNAVAILABLE;
    }
    bool is_known = rows->n > 0;
    if (is_known)
        a->device = ia_device_new(&rows->rows[0]);
    ia_device_rows_free(rows);
    if (is_known)
        return a->device ? IA_R_NONE : IA_R_INTERNAL;
    return ask_registration(q, a);
}

static const char *no_conflict(void *ctx, const char *username)
{
    (void)ctx; /* only brokers know who is connected */
    (void)username;
    return NULL;
}

/* ---- the answer */

static void print_line(const char *name, const char *value)
{
    if (value && *value)
        printf("%s=%s\n", name, value);
}

/* What the certificate says of itself, as brokers write it into an event. */
static int print_refusal(const struct question *q, const struct ia_admission *a, enum ia_reason reason)
{
    char text[4096];
    struct ia_shown_certificate claimed;
    struct ia_json_out json;
    ia_shown_certificate_read(ia_cert_x509(q->shown.certs[0]), &claimed);
    const struct {
        const char *name, *value;
    } members[] = {{"claimed_subject", claimed.subject},
                   {"claimed_issuer", claimed.issuer},
                   {"claimed_authority_key_id", claimed.authority_key_id},
                   {"claimed_not_after", claimed.not_after},
                   {"serial", claimed.serial}};
    ia_json_out_begin(&json, text, sizeof text);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        ia_json_out_text(&json, members[i].name, *members[i].value ? members[i].value : NULL);
    ia_json_out_text(&json, "client_id", a->client_id);
    int status = ia_decision_refuse(&q->decision, a, reason, ia_json_out_end(&json));
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        print_line(members[i].name, members[i].value);
    return status;
}

/* What its registration would give the device. */
static void print_provision(const struct question *q, const struct ia_admission *a)
{
    if (!q->would_register)
        return;
    char *attributes = json_object_size(q->attributes) ? json_dumps(q->attributes, JSON_SORT_KEYS) : NULL;
    print_line("expected", q->expected ? "yes" : NULL);
    print_line("attributes", attributes);
    print_line("tenant", ia_device_tenant(a->device));
    print_line("hook", q->hook);
    if (q->hook[0])
        puts("note=the hook was not run: it may refuse the device, or give it something else");
    free(attributes);
}

static int print_admission(const struct question *q, const struct ia_admission *a)
{
    printf("allow device=%s\n", a->device_id);
    print_line("ca", a->ca->name);
    print_line("client_id", a->client_id);
    print_line("registered", q->would_register ? "no; it would register now" : "yes");
    print_provision(q, a);
    ia_decision_print_roles(&q->decision, a);
    return IA_EXIT_ALLOW;
}

/* Without --client-id the device id stands for it, as most devices use it: the steps before the client id find it out. */
static enum ia_reason decide_admission(struct question *q, struct ia_admission *a)
{
    enum ia_reason reason = ia_admission_decide(a);
    if (a->client_id || !a->device_id)
        return reason;
    (void)snprintf(q->client_id, sizeof q->client_id, "%s", a->device_id);
    a->client_id = q->client_id;
    return ia_admission_decide(a);
}

static int decide_question(struct question *q, struct ia_err *err)
{
    const struct ia_admission_hooks hooks = {.ctx = q, .client_id_conflict = no_conflict, .find_device = find_record};
    struct ia_admission a = {.context = IA_ADMIT_DEVICE,
                             .leaf = ia_cert_x509(q->shown.certs[0]),
                             .info = &q->info,
                             .chain = &q->chain,
                             .chain_generation = q->decision.snapshot->ca_generation,
                             .hooks = &hooks};
    if (ia_decision_begin(&q->decision, &a, err) != IA_OK)
        return ia_decision_fail(q->decision.call, err);
    enum ia_reason reason = decide_admission(q, &a);
    int status = q->failed;
    if (!status)
        status = reason == IA_R_NONE ? print_admission(q, &a) : print_refusal(q, &a, reason);
    ia_device_free(a.device);
    return status;
}

int ia_check_cert(const struct ia_call *call)
{
    static struct question q; /* too large for the stack */
    struct ia_err err = {0};
    int status;
    enum ia_rc rc = read_shown(&q, call, &err);
    if (rc == IA_OK)
        rc = ia_decision_load(&q.decision, call, NULL, &err);
    if (rc == IA_OK)
        rc = verify_shown(&q, &err);
    status = rc == IA_OK ? decide_question(&q, &err) : ia_decision_fail_loaded(&q.decision, call, &err);
    for (size_t i = 0; i < q.shown.n; i++)
        ia_cert_free(q.shown.certs[i]);
    json_decref(q.attributes);
    ia_decision_clear(&q.decision);
    return status;
}
