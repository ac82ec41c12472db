// SPDX-License-Identifier: ISC
/* check topic: the decision of a file of rules, without a database. */
#include "acl/policy.h"
#include "acl/rule_text.h"
#include "cli/check.h"
#include "cli/input.h"
#include "common/reason.h"
#include "common/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (64 << 20)

static const char *const role_name = "rules";

/* A rule's id is the number of its line. */
struct rules {
    struct ia_rule *at;
    size_t n;
    const char **lines; /* the original lines, by number from 1 on */
};

struct inputs {
    const struct ia_call *call;
    const char *file;
    const char *vars[IA_POLICY_VARIABLES_MAX]; /* NAME=VALUE */
    size_t n_vars;
    struct ia_access access;
    char *text;   /* the file, split by the parser */
    char *copies; /* a copy of the file, for `lines` */
    struct rules rules;
};

static enum ia_rc add_variable(struct inputs *in, const char *text, struct ia_err *err)
{
    const char *why = NULL;
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return ia_fail(err, IA_USAGE, "--var needs NAME=VALUE");
    if (!ia_value_valid(equals + 1, strlen(equals + 1), &why))
        return ia_fail(err, IA_USAGE, "--var %.60s: no client can have this value: %s", text, why);
    if (in->n_vars == IA_POLICY_VARIABLES_MAX)
        return ia_fail(err, IA_USAGE, "more than %d variables", IA_POLICY_VARIABLES_MAX);
    in->vars[in->n_vars++] = text;
    return IA_OK;
}

static enum ia_rc read_arguments(struct inputs *in, const struct ia_call *call, struct ia_err *err)
{
    const struct ia_values *variables = ia_call_list(call, "var");
    const char *qos = ia_call_get(call, "qos");
    enum ia_rc rc = IA_OK;
    for (size_t i = 0; rc == IA_OK && i < variables->n; i++)
        rc = add_variable(in, variables->items[i], err);
    in->call = call;
    in->file = ia_call_get(call, "rules");
    in->access.qos = qos ? (uint8_t)(qos[0] - '0') : 0;
    in->access.retain = ia_call_has(call, "retain");
    in->access.action = (enum ia_action)ia_action_from_name(ia_call_get(call, "ACTION"));
    in->access.topic = ia_call_get(call, "TOPIC");
    return rc;
}

/* Split `text` into lines; lines[1] is the first. */
static void split_lines(char *text, const char **lines)
{
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        *++lines = line;
}

static size_t count_lines(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* A comment starts with `#`.  A rule never does, although `#` is a filter. */
static bool holds_rule(const char *line)
{
    line += strspn(line, " \t\r");
    return *line != '\0' && *line != '#';
}

static enum ia_rc read_rules(struct inputs *in, struct ia_err *err)
{
    enum ia_rc rc = ia_cli_read_text(in->file, FILE_MAX, &in->text, err);
    if (rc != IA_OK)
        return rc;
    struct rules *rules = &in->rules;
    size_t most = count_lines(in->text) + 1;
    rules->at = calloc(most, sizeof *rules->at);
    rules->lines = calloc(most, sizeof *rules->lines);
    in->copies = strdup(in->text);
    if (!rules->at || !rules->lines || !in->copies)
        return ia_nomem(err);
    split_lines(in->copies, rules->lines);
    char *rest = in->text;
    for (int64_t line = 1; rest; line++) {
        struct ia_err cause = {0};
        char *text = strsep(&rest, "\n");
        if (!holds_rule(text))
            continue;
        struct ia_rule *rule = &rules->at[rules->n++];
        *rule = (struct ia_rule){.rule_id = line, .role = role_name};
        rc = ia_rule_parse(text, rule, &cause);
        if (rc != IA_OK)
            return ia_fail(err, rc, "%s: line %" PRId64 ": %s", in->file, line, cause.msg);
    }
    return IA_OK;
}

static const char *value_of(const struct inputs *in, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < in->n_vars; i++)
        if (strncmp(in->vars[i], name, len) == 0 && in->vars[i][len] == '=')
            return in->vars[i] + len + 1;
    return NULL;
}

static enum ia_verdict decide_access(const struct inputs *in, const struct ia_policy *policy, int64_t *rule_id)
{
    const char *values[IA_POLICY_VARIABLES_MAX];
    const char *const *names;
    size_t n = ia_policy_variables(policy, &names);
    for (size_t i = 0; i < n; i++)
        values[i] = value_of(in, names[i]);
    const struct ia_role *role = ia_policy_role(policy, role_name);
    struct ia_subject who = {.roles = &role, .n_roles = 1, .values = values};
    return ia_policy_check(policy, &who, &in->access, rule_id);
}

static int print_verdict(const struct inputs *in, enum ia_verdict verdict, int64_t rule_id)
{
    if (verdict == IA_ALLOW)
        fputs("allow", stdout);
    else
        printf("deny: %s", ia_reason_name(IA_R_TOPIC_DENIED));
    if (rule_id)
        printf(" line %" PRId64 ": %s\n", rule_id, in->rules.lines[rule_id]);
    else
        puts(verdict == IA_NO_MATCH ? " no rule allows it" : " the topic is not valid");
    return verdict == IA_ALLOW ? IA_EXIT_ALLOW : IA_EXIT_DENY;
}

static void print_problem(void *ctx, int64_t rule_id, const char *text)
{
    const struct inputs *in = ctx;
    (void)ia_call_fail(in->call, 0, "%s: line %" PRId64 ": %s: its role denies everything", in->file, rule_id, text);
}

static int run_topic(struct inputs *in, const struct ia_call *call, struct ia_err *err)
{
    struct ia_policy *policy = NULL;
    if (read_arguments(in, call, err) != IA_OK || read_rules(in, err) != IA_OK)
        return IA_EXIT_USAGE;
    const struct ia_policy_spec spec = {
        .roles = &role_name, .n_roles = 1, .rules = in->rules.at, .n_rules = in->rules.n};
    const struct ia_problem_callback problems = {print_problem, in};
    if (ia_policy_build(&spec, &problems, &policy, err) != IA_OK)
        return IA_EXIT_USAGE;
    int64_t rule_id = 0;
    enum ia_verdict verdict = decide_access(in, policy, &rule_id);
    ia_policy_free(policy);
    return print_verdict(in, verdict, rule_id);
}

int ia_check_topic(const struct ia_call *call)
{
    struct inputs in = {0};
    struct ia_err err = {0};
    int status = run_topic(&in, call, &err);
    if (status == IA_EXIT_USAGE)
        status = ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    free(in.rules.at);
    free(in.rules.lines);
    free(in.copies);
    free(in.text);
    return status;
}
