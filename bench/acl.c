// SPDX-License-Identifier: ISC
/* The cost of one topic check, with 20 rules in the role and with 100,000.
 *
 * The large role contains the rules of the small one and 99,980 more.  'own topic' is a device's usual traffic: a rule
 * with its id.  'all rules' uses topics of rules from the whole role, so that cache misses count as well. */
#include "acl/policy.h"
#include "bench.h"

#include <string.h>

#define CALLS  32768
#define ROUNDS 300
#define TOPICS 4096 /* different topics in one run; a power of two */
#define TEXT   96

static const char *const base[] = {
    "devices/${device_id}/#",
    "devices/${device_id}/state/+/reported",
    "tenants/${tenant}/broadcast",
    "tenants/${tenant}/groups/+/commands",
    "firmware/+/announce",
    "firmware/stable/manifest",
    "time/now",
    "status/+",
};
#define N_BASE (sizeof base / sizeof base[0])

struct role {
    size_t n;
    struct ia_rule *rules;
    char (*filters)[TEXT];
    struct ia_policy *policy;
    const struct ia_role *role;
    const char *values[8];
    double build_ms;
};

static void name_rule(char *out, size_t i)
{
    if (i < N_BASE)
        (void)snprintf(out, TEXT, "%s", base[i]);
    else
        (void)snprintf(out, TEXT, "plants/plant-%zu/lines/line-%zu/machines/%zu/state", i % 40, i % 977, i);
}

static void build_policy(void *ctx, size_t calls)
{
    static const char *const names[] = {"device"};
    struct role *r = ctx;
    const struct ia_policy_spec spec = {.roles = names, .n_roles = 1, .rules = r->rules, .n_rules = r->n};
    (void)calls;
    ia_policy_free(r->policy);
    bench_need(ia_policy_build(&spec, NULL, &r->policy, NULL) == IA_OK, "build");
}

static struct role make_role(size_t n)
{
    struct role r = {.n = n, .rules = calloc(n, sizeof *r.rules), .filters = calloc(n, sizeof *r.filters)};
    bench_need(r.rules && r.filters, "memory");
    for (size_t i = 0; i < n; i++) {
        name_rule(r.filters[i], i);
        r.rules[i] = (struct ia_rule){.rule_id = (int64_t)i + 1,
                                      .role = "device",
                                      .allow = i % 10 != 9,
                                      .actions = IA_ACTIONS_ALL,
                                      .topic_filter = r.filters[i],
                                      .max_qos = 2,
                                      .allow_retain = true};
    }
    r.build_ms = bench_ns(build_policy, &r, 1, 5) / 1e6;
    r.role = ia_policy_role(r.policy, "device");
    const char *const *variables;
    size_t used = ia_policy_variables(r.policy, &variables);
    for (size_t i = 0; i < used; i++)
        r.values[i] = strcmp(variables[i], "device_id") == 0 ? "pump-4711" : "acme";
    return r;
}

/* One kind of traffic: the topics, and how many of them were allowed. */
struct run {
    const struct role *role;
    enum ia_action action;
    char topics[TOPICS][TEXT];
    size_t allowed;
};

static void check_all(void *ctx, size_t calls)
{
    struct run *run = ctx;
    struct ia_subject who = {.roles = &run->role->role, .n_roles = 1, .values = run->role->values};
    run->allowed = 0;
    for (size_t i = 0; i < calls; i++) {
        struct ia_access access = {.action = run->action, .topic = run->topics[i & (TOPICS - 1)], .qos = 1};
        int64_t rule;
        run->allowed += ia_policy_check(run->role->policy, &who, &access, &rule) == IA_ALLOW;
    }
}

static void own_topic(struct run *run, size_t i)
{
    (void)snprintf(run->topics[i], TEXT, "devices/pump-4711/telemetry/sensor-%zu", i % 100);
}

static void all_rules(struct run *run, size_t i)
{
    size_t n = run->role->n - N_BASE;
    name_rule(run->topics[i], N_BASE + (size_t)random() % n);
}

static void no_rule(struct run *run, size_t i)
{
    (void)snprintf(run->topics[i], TEXT, "devices/pump-%zu/telemetry/temperature", i);
}

static const struct {
    const char *name;
    enum ia_action action;
    void (*topic)(struct run *run, size_t i);
} kinds[] = {
    {"publish, own topic", IA_PUBLISH, own_topic},
    {"receive, all rules", IA_RECEIVE, all_rules},
    {"subscribe, all rules", IA_SUBSCRIBE, all_rules},
    {"publish, no rule", IA_PUBLISH, no_rule},
};

static double measure_checks(const struct role *role, size_t kind)
{
    static struct run run;
    run.role = role;
    run.action = kinds[kind].action;
    for (size_t i = 0; i < TOPICS; i++)
        kinds[kind].topic(&run, i);
    double ns = bench_ns(check_all, &run, CALLS, ROUNDS);
    bench_need((kinds[kind].topic == no_rule) == (run.allowed == 0), "decision");
    return ns;
}

int main(void)
{
    struct role few = make_role(20);
    struct role many = make_role(100000);
    (void)printf("%-24s %12s %12s %8s\n", "ns per check", "20 rules", "100000 rules", "ratio");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        double small = measure_checks(&few, i);
        double large = measure_checks(&many, i);
        (void)printf("%-24s %12.1f %12.1f %8.2f\n", kinds[i].name, small, large, large / small);
    }
    (void)printf("%-24s %12.2f %12.2f\n", "ms to build", few.build_ms, many.build_ms);
    return EXIT_SUCCESS;
}
