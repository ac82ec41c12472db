// SPDX-License-Identifier: ISC
/* check device: would this device be allowed that, and by which rule?  Answers from the registry, by the
 * admission table and the rights of the plugin: statuses of device, certificate and CA, roles, variables, rules.  What
 * depends on a connection is not checked: the chain with the CAs above and their CRLs, and addresses. */
#include "access/admission.h"
#include "access/rights.h"
#include "acl/policy.h"
#include "acl/rule_text.h"
#include "cli/check.h"
#include "cli/decision.h"
#include "cli/registry.h"
#include "common/reason.h"
#include "jitr/device_check.h"
#include "sql/devices.h"
#include "sql/rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct question {
    const struct ia_call *call;
    const char *device_id;
    const char *client_id; /* NULL: not given */
    const char *event_prefix;
    struct ia_access access;
};

/* What the registry says. */
struct registry {
    struct ia_rows *rows;
    struct ia_device_rows *devices;
    struct ia_snapshot snapshot; /* CA settings and policy; the command has no use for the rest */
};

/* The certificate that the device is decided by. */
struct candidate {
    const struct ia_device_row *row;
    struct ia_device *device;
    struct ia_admission admission;
    enum ia_reason reason; /* why the device may not connect with it */
};

/* ---- the question ---- */

static void read_arguments(struct question *q, const struct ia_call *call)
{
    const char *qos = ia_call_get(call, "qos"), *prefix = ia_call_get(call, "event-prefix");
    q->call = call;
    q->device_id = ia_call_get(call, "DEVICE_ID");
    q->client_id = ia_call_get(call, "client-id");
    q->event_prefix = prefix ? prefix : IA_EVENT_PREFIX_DEFAULT;
    q->access.qos = qos ? (uint8_t)(qos[0] - '0') : 0;
    q->access.retain = ia_call_has(call, "retain");
    q->access.action = (enum ia_action)ia_action_from_name(ia_call_get(call, "ACTION"));
    q->access.topic = ia_call_get(call, "TOPIC");
}

/* ---- the registry ---- */

static enum ia_rc read_rows(const struct question *q, struct registry *r, struct ia_err *err)
{
    const char *source;
    /* As psql: what PGHOST, PGSSLMODE … say. */
    struct ia_db_config config = {
        .conninfo = ia_registry_conninfo(q->call, &source), .node_name = "check", .insecure = true, .wake_fd = -1};
    struct ia_db *db = NULL;
    enum ia_rc rc = ia_db_new(&config, &db, err);
    if (rc == IA_OK)
        rc = ia_db_connect(db, err);
    if (rc == IA_OK)
        rc = ia_db_devices_by_id(db, &q->device_id, 1, &r->devices, err);
    if (rc == IA_OK)
        rc = ia_db_load(db, IA_LOAD_CAS | IA_LOAD_POLICY, &r->rows, err);
    if (rc == IA_OK && r->rows->missing)
        rc = ia_fail(err, r->rows->refusal.rc, "%s", r->rows->refusal.msg);
    ia_db_free(db);
    return rc;
}

static void print_rule_problem(void *ctx, int64_t rule_id, const char *text)
{
    (void)ia_call_fail(ctx, 0, "rule %" PRId64 ": %s: its role denies everything", rule_id, text);
}

static void print_ca_problem(void *ctx, int64_t ca_id, const char *text)
{
    (void)ia_call_fail(ctx, 0, "CA %" PRId64 ": %s: it admits nobody", ca_id, text);
}

static enum ia_rc build_snapshot(const struct question *q, struct registry *r, struct ia_err *err)
{
    const struct ia_rows *rows = r->rows;
    const struct ia_problem_callback ca_problems = {print_ca_problem, (void *)q->call};
    enum ia_rc rc = ia_ca_settings_set_build(rows->cas, rows->n_cas, &ca_problems, &r->snapshot.ca_settings, err);
    if (rc != IA_OK)
        return rc;
    const struct ia_policy_spec spec = {
        .roles = rows->roles, .n_roles = rows->n_roles, .rules = rows->rules, .n_rules = rows->n_rules};
    const struct ia_problem_callback problems = {print_rule_problem, (void *)q->call};
    return ia_policy_build(&spec, &problems, &r->snapshot.policy, err);
}

static void clear_registry(struct registry *r)
{
    ia_policy_free(r->snapshot.policy);
    ia_ca_settings_set_free(r->snapshot.ca_settings);
    ia_rows_free(r->rows);
    ia_device_rows_free(r->devices);
}

/* ---- who asks ---- */

static struct candidate decide_candidate(const struct question *q, const struct registry *r,
                                         const struct ia_device_row *row, int64_t now)
{
    struct candidate c = {.row = row, .device = ia_device_new(row), .reason = IA_R_INTERNAL};
    c.admission = (struct ia_admission){.context = IA_ADMIT_COMMAND,
                                        .snapshot = &r->snapshot,
                                        .now = now,
                                        .client_id = q->client_id,
                                        .ca_id = row->certificate_ca_id,
                                        .device = c.device};
    if (c.device)
        c.reason = ia_admission_decide(&c.admission);
    return c;
}

/* Of several certificates the device would use one that admits it, of its own CA if there is such a one. */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if ((a->reason == IA_R_NONE) != (b->reason == IA_R_NONE))
        return a->reason == IA_R_NONE;
    bool a_own = a->row->certificate_ca_id == a->row->device_ca_id;
    bool b_own = b->row->certificate_ca_id == b->row->device_ca_id;
    return a_own && !b_own;
}

static struct candidate choose_certificate(const struct question *q, const struct registry *r, int64_t now)
{
    struct candidate best = {.reason = IA_R_DEVICE_UNKNOWN};
    for (size_t i = 0; i < r->devices->n; i++) {
        struct candidate c = decide_candidate(q, r, &r->devices->rows[i], now);
        bool better = !best.row || is_better(&c, &best);
        ia_device_free(better ? best.device : c.device);
        if (better)
            best = c;
    }
    return best;
}

/* ---- the answer ---- */

static const struct ia_rule *rule_of(const struct ia_rows *rows, int64_t rule_id)
{
    for (size_t i = 0; i < rows->n_rules; i++)
        if (rows->rules[i].rule_id == rule_id)
            return &rows->rules[i];
    return NULL;
}

static int print_verdict(enum ia_verdict verdict, const struct ia_rule *rule)
{
    bool allowed = verdict == IA_ALLOW;
    fputs(allowed ? "allow" : "deny: topic_denied", stdout);
    if (rule)
        printf(" rule %" PRId64 " of role %s: %s %s\n", rule->rule_id, rule->role, rule->allow ? "ALLOW" : "DENY",
               rule->topic_filter);
    else if (verdict == IA_NO_MATCH)
        puts(" no rule allows it");
    else
        printf(" the topic is not valid, a role is broken, or it has more than %d roles\n", IA_SUBJECT_ROLES_MAX);
    return allowed ? IA_EXIT_ALLOW : IA_EXIT_DENY;
}

static int print_refusal(enum ia_reason reason, const char *detail)
{
    printf("deny: %s %s\n", ia_reason_name(reason), detail);
    return IA_EXIT_DENY;
}

static const char *refusal_detail(const struct candidate *c)
{
    if (!c->row)
        return "no certificate and no pre-shared key of a device of that id is registered";
    if (c->admission.detail[0])
        return c->admission.detail;
    if (c->admission.ca)
        return c->admission.ca->name;
    return c->row->certificate_ca_id ? "the CA is not registered" : "the device has no CA";
}

/* Without --client-id the device id stands for it, as most devices use it. */
static const char *asked_client_id(const struct question *q, const struct candidate *c)
{
    if (q->client_id)
        return q->client_id;
    if (c->admission.ca && !ia_client_id_check(c->admission.ca, c->row->device_id, c->row->device_id))
        (void)ia_call_fail(q->call, 0, "the CA's templates do not admit the device id as client id: give --client-id");
    return c->row->device_id;
}

static int decide_topic(const struct question *q, const struct registry *r, const struct candidate *c)
{
    if (q->access.action == IA_PUBLISH && ia_rights_is_event_topic(q->event_prefix, q->access.topic))
        return print_refusal(IA_R_TOPIC_DENIED, "only the broker publishes events");
    const struct ia_rights_holder who = {
        .ca = c->admission.ca, .device = c->device, .client_id = asked_client_id(q, c)};
    struct ia_rights rights = {0};
    int64_t rule_id = 0;
    ia_rights_resolve(&rights, &r->snapshot, &who);
    enum ia_verdict verdict = ia_rights_check(&rights, &r->snapshot, &q->access, &rule_id);
    ia_rights_clear(&rights);
    return print_verdict(verdict, rule_of(r->rows, rule_id));
}

static int decide_question(const struct question *q, const struct registry *r)
{
    struct candidate c = choose_certificate(q, r, (int64_t)time(NULL));
    int status = c.reason == IA_R_NONE ? decide_topic(q, r, &c) : print_refusal(c.reason, refusal_detail(&c));
    ia_device_free(c.device);
    return status;
}

/* As iot-auth-check it has one status for everything that was not decided. */
static int fail_question(const struct ia_call *call, const struct ia_err *err)
{
    bool is_old_name = strcmp(call->program, "iot-auth-check") == 0;
    return ia_call_fail(call, is_old_name ? IA_EXIT_USAGE : ia_decision_refused_as(err), "%s", err->msg);
}

int ia_check_device(const struct ia_call *call)
{
    struct question q = {0};
    struct registry r = {.snapshot = {.generation = 1}};
    struct ia_err err = {0};
    read_arguments(&q, call);
    enum ia_rc rc = read_rows(&q, &r, &err);
    if (rc == IA_OK)
        rc = build_snapshot(&q, &r, &err);
    int status = rc == IA_OK ? decide_question(&q, &r) : fail_question(call, &err);
    clear_registry(&r);
    return status;
}
