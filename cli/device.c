// SPDX-License-Identifier: ISC
/* iot-auth-check device: would this device be allowed that, and by which rule?  Answers from the registry, by the
 * admission table and the rights of the plugin: statuses of device, certificate and CA, roles, variables, rules.  What
 * depends on a connection is not checked: the chain with the CAs above and their CRLs, and addresses. */
#include "access/admission.h"
#include "access/rights.h"
#include "acl/policy.h"
#include "cli/cli.h"
#include "cli/util.h"
#include "common/reason.h"
#include "jitr/device_check.h"
#include "sql/devices.h"
#include "sql/rows.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct question {
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

static bool parse_action(const char *word, enum ia_action *out)
{
    static const struct {
        const char *word;
        enum ia_action action;
    } actions[] = {{"publish", IA_PUBLISH}, {"subscribe", IA_SUBSCRIBE}, {"receive", IA_RECEIVE}};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(word, actions[i].word) != 0)
            continue;
        *out = actions[i].action;
        return true;
    }
    return false;
}

static enum ia_rc add_option(struct question *q, int option, const char *value, struct ia_err *err)
{
    switch (option) {
    case 'c':
        q->client_id = value;
        return IA_OK;
    case 'e':
        q->event_prefix = value;
        return IA_OK;
    case 'q':
        if (value[0] < '0' || value[0] > '2' || value[1] != '\0')
            return ia_fail(err, IA_USAGE, "--qos must be 0, 1 or 2");
        q->access.qos = (uint8_t)(value[0] - '0');
        return IA_OK;
    case 'r':
        q->access.retain = true;
        return IA_OK;
    default:
        return ia_fail(err, IA_USAGE, "unknown option, or one without its value");
    }
}

static enum ia_rc read_arguments(struct question *q, int argc, char **argv, struct ia_err *err)
{
    static const struct option options[] = {{"client-id", required_argument, NULL, 'c'},
                                            {"event-prefix", required_argument, NULL, 'e'},
                                            {"qos", required_argument, NULL, 'q'},
                                            {"retain", no_argument, NULL, 'r'},
                                            {0}};
    enum ia_rc rc = IA_OK;
    opterr = 0;
    for (int option; rc == IA_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        rc = add_option(q, option, optarg, err);
    if (rc != IA_OK)
        return rc;
    if (argc - optind != 3)
        return ia_fail(err, IA_USAGE, "needs DEVICE_ID publish|subscribe|receive TOPIC");
    q->device_id = argv[optind];
    if (!parse_action(argv[optind + 1], &q->access.action))
        return ia_fail(err, IA_USAGE, "'%s' is not publish, subscribe or receive", argv[optind + 1]);
    q->access.topic = argv[optind + 2];
    return IA_OK;
}

/* ---- the registry ---- */

static enum ia_rc read_rows(const struct question *q, struct registry *r, struct ia_err *err)
{
    /* As psql: what PGHOST, PGSSLMODE … say. */
    struct ia_db_config config = {.conninfo = "", .node_name = "check", .insecure = true, .wake_fd = -1};
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
    (void)ctx;
    fprintf(stderr, "iot-auth-check device: rule %" PRId64 ": %s: its role denies everything\n", rule_id, text);
}

static void print_ca_problem(void *ctx, int64_t ca_id, const char *text)
{
    (void)ctx;
    fprintf(stderr, "iot-auth-check device: CA %" PRId64 ": %s: it admits nobody\n", ca_id, text);
}

static enum ia_rc build_snapshot(struct registry *r, struct ia_err *err)
{
    const struct ia_rows *rows = r->rows;
    const struct ia_problem_callback ca_problems = {print_ca_problem, NULL};
    enum ia_rc rc = ia_ca_settings_set_build(rows->cas, rows->n_cas, &ca_problems, &r->snapshot.ca_settings, err);
    if (rc != IA_OK)
        return rc;
    const struct ia_policy_spec spec = {
        .roles = rows->roles, .n_roles = rows->n_roles, .rules = rows->rules, .n_rules = rows->n_rules};
    const struct ia_problem_callback problems = {print_rule_problem, NULL};
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
        return "no certificate of a device of that id is registered";
    if (c->admission.detail[0])
        return c->admission.detail;
    return c->admission.ca ? c->admission.ca->name : "the CA is not registered";
}

/* Without --client-id the device id stands for it, as most devices use it. */
static const char *asked_client_id(const struct question *q, const struct candidate *c)
{
    if (q->client_id)
        return q->client_id;
    if (!ia_client_id_check(c->admission.ca, c->row->device_id, c->row->device_id))
        fputs("iot-auth-check device: the CA's templates do not admit the device id as client id: give --client-id\n",
              stderr);
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

int ia_cli_device(int argc, char **argv)
{
    struct question q = {.event_prefix = IA_EVENT_PREFIX_DEFAULT};
    struct registry r = {.snapshot = {.generation = 1}};
    struct ia_err err = {0};
    enum ia_rc rc = read_arguments(&q, argc, argv, &err);
    if (rc == IA_OK)
        rc = read_rows(&q, &r, &err);
    if (rc == IA_OK)
        rc = build_snapshot(&r, &err);
    int status = rc == IA_OK ? decide_question(&q, &r) : ia_cli_error(argv[0], "%s", err.msg);
    clear_registry(&r);
    return status;
}
