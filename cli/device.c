// SPDX-License-Identifier: ISC
/* iot-auth-check device: would this device be allowed that, and by which rule?  Answers from the registry, with the
 * code of the plugin: statuses of device, certificate and CA, roles, variables, rules.  What depends on a connection is
 * not looked at: the chain with the CAs above and their CRLs, and addresses. */
#include "acl/policy.h"
#include "cli/cli.h"
#include "cli/util.h"
#include "common/reason.h"
#include "common/str.h"
#include "jitr/device_check.h"
#include "sql/devices.h"
#include "sql/rows.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENT_PREFIX "$iot-auth/events" /* the plugin's default: nobody else publishes there */

struct question {
    const char *device_id, *client_id;
    bool client_id_given;
    struct ia_access access;
};

/* What the registry says. */
struct registry {
    struct ia_rows *rows;
    struct ia_device_rows *devices;
    struct ia_ca_settings_set *ca_settings;
    struct ia_policy *policy;
};

/* The certificate that the device is judged by, and its CA. */
struct holder {
    const struct ia_device_row *row;
    const struct ia_ca_settings *ca; /* NULL: it is not registered */
    enum ia_reason reason;           /* why the device may not connect with it */
};

/* ---- the question ---- */

static enum ia_rc add_option(struct question *q, int option, const char *value, struct ia_err *err)
{
    switch (option) {
    case 'c':
        q->client_id = value;
        q->client_id_given = true;
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
    unsigned action = ia_action_from_name(argv[optind + 1]);
    if (!action)
        return ia_fail(err, IA_USAGE, "'%s' is not publish, subscribe or receive", argv[optind + 1]);
    q->access.action = (enum ia_action)action;
    q->access.topic = argv[optind + 2];
    if (!q->client_id_given)
        q->client_id = q->device_id;
    return IA_OK;
}

/* ---- the registry ---- */

static enum ia_rc read_rows(const struct question *q, struct registry *r, struct ia_err *err)
{
    struct ia_db_config config = {.conninfo = "", .node_name = "check", .wake_fd = -1};
    struct ia_db *db = NULL;
    enum ia_rc rc = ia_db_new(&config, &db, err);
    if (rc == IA_OK)
        rc = ia_db_connect(db, err);
    if (rc == IA_OK)
        rc = ia_db_devices_by_id(db, &q->device_id, 1, &r->devices, err);
    if (rc == IA_OK)
        rc = ia_db_load(db, IA_LOAD_CAS | IA_LOAD_POLICY, &r->rows, err);
    ia_db_free(db);
    return rc;
}

static void note_rule(void *ctx, int64_t rule_id, const char *text)
{
    (void)ctx;
    fprintf(stderr, "iot-auth-check device: rule %" PRId64 ": %s: its role denies everything\n", rule_id, text);
}

static void note_ca(void *ctx, int64_t ca_id, const char *text)
{
    (void)ctx;
    fprintf(stderr, "iot-auth-check device: CA %" PRId64 ": %s: it admits nobody\n", ca_id, text);
}

static enum ia_rc build(struct registry *r, struct ia_err *err)
{
    const struct ia_rows *rows = r->rows;
    enum ia_rc rc = ia_ca_settings_set_build(rows->cas, rows->n_cas, note_ca, NULL, &r->ca_settings, err);
    if (rc != IA_OK)
        return rc;
    const struct ia_policy_spec spec = {
        .roles = rows->roles, .n_roles = rows->n_roles, .rules = rows->rules, .n_rules = rows->n_rules};
    const struct ia_problem_callback problems = {note_rule, NULL};
    return ia_policy_build(&spec, &problems, &r->policy, err);
}

static void clear(struct registry *r)
{
    ia_policy_free(r->policy);
    ia_ca_settings_set_free(r->ca_settings);
    ia_rows_free(r->rows);
    ia_device_rows_free(r->devices);
}

/* ---- who asks ---- */

static enum ia_reason reason_of(const struct registry *r, const struct holder *h, int64_t now)
{
    if (!h->ca || !h->ca->active)
        return IA_R_CA_INACTIVE;
    struct ia_device *device = ia_device_new(h->row);
    if (!device)
        return IA_R_INTERNAL;
    enum ia_reason reason =
        ia_decide_device(device, r->ca_settings, &h->row->certificate_ca_id, 1, h->row->device_id, now);
    ia_device_free(device);
    return reason;
}

/* Of several certificates the device would use one that admits it, of its own CA if there is such a one. */
static bool better(const struct holder *a, const struct holder *b)
{
    if ((a->reason == IA_R_NONE) != (b->reason == IA_R_NONE))
        return a->reason == IA_R_NONE;
    bool a_own = a->row->certificate_ca_id == a->row->device_ca_id;
    bool b_own = b->row->certificate_ca_id == b->row->device_ca_id;
    return a_own && !b_own;
}

static struct holder choose(const struct registry *r, int64_t now)
{
    struct holder best = {.reason = IA_R_DEVICE_UNKNOWN};
    for (size_t i = 0; i < r->devices->n; i++) {
        struct holder h = {.row = &r->devices->rows[i]};
        h.ca = ia_ca_settings_find(r->ca_settings, h.row->certificate_ca_id);
        h.reason = reason_of(r, &h, now);
        if (!best.row || better(&h, &best))
            best = h;
    }
    return best;
}

static const char *attribute(const struct ia_device_row *row, const char *name)
{
    for (size_t i = 0; i + 1 < row->attrs.n; i += 2)
        if (strcmp(row->attrs.items[i], name) == 0)
            return row->attrs.items[i + 1];
    return NULL;
}

static const char *variable(const struct question *q, const struct holder *h, const char *name)
{
    const char *value = NULL;
    if (strcmp(name, "device_id") == 0)
        value = h->row->device_id;
    else if (strcmp(name, "client_id") == 0)
        value = q->client_id;
    else if (strcmp(name, "tenant") == 0)
        value = h->row->tenant;
    else if (strcmp(name, "ca") == 0)
        value = h->ca->name;
    else if (strncmp(name, "attr.", 5) == 0)
        value = attribute(h->row, name + 5);
    return value && ia_value_valid(value, strlen(value), NULL) ? value : NULL;
}

/* ---- the answer ---- */

static const struct ia_rule *rule_of(const struct ia_rows *rows, int64_t rule_id)
{
    for (size_t i = 0; i < rows->n_rules; i++)
        if (rows->rules[i].rule_id == rule_id)
            return &rows->rules[i];
    return NULL;
}

static int answer(enum ia_verdict verdict, const struct ia_rule *rule)
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

static int deny(enum ia_reason reason, const char *detail)
{
    printf("deny: %s %s\n", ia_reason_name(reason), detail);
    return IA_EXIT_DENY;
}

static bool is_event_topic(const struct ia_access *access)
{
    size_t n = strlen(EVENT_PREFIX);
    char end = '\0';
    if (access->action != IA_PUBLISH || strncmp(access->topic, EVENT_PREFIX, n) != 0)
        return false;
    end = access->topic[n];
    return end == '/' || end == '\0';
}

/* Add that role to the list of different ones. */
static void add_role(const struct registry *r, const char *name, const struct ia_role **roles, size_t *n)
{
    const struct ia_role *role = ia_policy_role(r->policy, name);
    for (size_t i = 0; i < *n; i++)
        if (role && roles[i] == role)
            return;
    roles[(*n)++] = role;
}

/* Judge with the roles of the certificate's CA and the device's own. */
static enum ia_rc judge(const struct question *q, const struct registry *r, const struct holder *h,
                        enum ia_verdict *verdict, int64_t *rule_id, struct ia_err *err)
{
    const char *const *variables;
    size_t n_values = ia_policy_variables(r->policy, &variables);
    size_t n_roles = 0;
    ia_autofree const char **values = calloc(n_values + 1, sizeof *values);
    ia_autofree const struct ia_role **roles = calloc(h->ca->n_roles + h->row->roles.n + 1, sizeof *roles);
    if (!values || !roles)
        return ia_nomem(err);
    for (size_t i = 0; i < n_values; i++)
        values[i] = variable(q, h, variables[i]);
    for (size_t i = 0; i < h->ca->n_roles; i++)
        add_role(r, h->ca->roles[i], roles, &n_roles);
    for (size_t i = 0; i < h->row->roles.n; i++)
        add_role(r, h->row->roles.items[i], roles, &n_roles);
    *verdict = IA_DENY;
    if (n_roles > IA_SUBJECT_ROLES_MAX)
        return IA_OK;
    struct ia_subject who = {.roles = roles, .n_roles = n_roles, .values = values};
    *verdict = ia_policy_check(r->policy, &who, &q->access, rule_id);
    return IA_OK;
}

static enum ia_rc decide(const struct question *q, const struct registry *r, int *status, struct ia_err *err)
{
    struct holder h = choose(r, (int64_t)time(NULL));
    if (h.reason != IA_R_NONE) {
        *status = deny(h.reason, h.row ? (h.ca ? h.ca->name : "the CA is not registered")
                                       : "no certificate of a device of that id is registered");
        return IA_OK;
    }
    if (!ia_decide_client_id(h.ca, h.row->device_id, q->client_id)) {
        if (q->client_id_given) {
            *status = deny(IA_R_CLIENT_ID_MISMATCH, "the client id fits no template of the CA");
            return IA_OK;
        }
        fputs("iot-auth-check device: the CA's templates do not admit the device id as client id: give --client-id\n",
              stderr);
    }
    if (is_event_topic(&q->access)) {
        *status = deny(IA_R_TOPIC_DENIED, "events are the broker's alone");
        return IA_OK;
    }
    int64_t rule_id = 0;
    enum ia_verdict verdict = IA_DENY;
    enum ia_rc rc = judge(q, r, &h, &verdict, &rule_id, err);
    if (rc == IA_OK)
        *status = answer(verdict, rule_of(r->rows, rule_id));
    return rc;
}

int ia_cli_device(int argc, char **argv)
{
    struct question q = {0};
    struct registry r = {0};
    struct ia_err err = {0};
    int status = IA_EXIT_USAGE;
    enum ia_rc rc = read_arguments(&q, argc, argv, &err);
    if (rc == IA_OK)
        rc = read_rows(&q, &r, &err);
    if (rc == IA_OK)
        rc = build(&r, &err);
    if (rc == IA_OK)
        rc = decide(&q, &r, &status, &err);
    if (rc != IA_OK)
        status = ia_cli_error(argv[0], "%s", err.msg);
    clear(&r);
    return status;
}
