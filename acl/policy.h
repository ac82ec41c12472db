// SPDX-License-Identifier: ISC
/* Topic policy of one snapshot: roles compiled to topic tries.  Built once, then read-only, so safe from any thread. */
#pragma once

#include "acl/action.h"
#include "common/error.h"
#include "common/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of a check.  A topic with more levels is refused; Mosquitto itself accepts 200 slashes.  A role whose rules
 * could make one check visit more nodes than IA_POLICY_VISITS_MAX is refused when it is compiled, like a role with an
 * invalid rule. */
#define IA_TOPIC_LEVELS_MAX     201
#define IA_POLICY_VISITS_MAX    1024 /* nodes of one role's trie that one check visits, with at most 17 look-ups each */
#define IA_SUBJECT_ROLES_MAX    256  /* different roles of one principal; a principal with more is denied everything */
#define IA_POLICY_VARIABLES_MAX 256  /* different variables in all rules */

/* One row of role_rule (borrowed texts). */
struct ia_rule {
    int64_t rule_id;
    const char *role;
    bool allow;               /* else DENY */
    unsigned actions;         /* set of enum ia_action */
    const char *topic_filter; /* may contain ${variables}, each a whole level */
    int max_qos;              /* ALLOW PUBLISH: the highest QoS it allows; 2: any */
    bool allow_retain;        /* ALLOW PUBLISH: does it allow retained messages as well */
};

/* What a policy is compiled from; all borrowed until ia_policy_build returns. */
struct ia_policy_spec {
    const char *const *roles; /* every role, also those without rules; a rule of any other role is a problem */
    size_t n_roles;
    const struct ia_rule *rules;
    size_t n_rules;
};

struct ia_policy;
struct ia_role;

/* Compile all rules.  `problems` (may be NULL) gets each rule that cannot be compiled, by its rule_id, with the text
 * for `role_rule.problem`; the rule's role then denies everything, because a lost DENY opens access.  IA_NOMEM is the
 * only failure: *out stays NULL.  Reference-counted: the caller owns one reference of *out. */
IA_MUST_USE enum ia_rc ia_policy_build(const struct ia_policy_spec *spec, const struct ia_problem_callback *problems,
                                       struct ia_policy **out, struct ia_err *err);
struct ia_policy *ia_policy_ref(struct ia_policy *policy);
void ia_policy_free(struct ia_policy *policy);

/* The role with that name, or NULL.  Borrowed from the policy. */
const struct ia_role *ia_policy_role(const struct ia_policy *policy, const char *name);

/* The name of the i-th role in order of names; NULL after the last.  Borrowed from the policy. */
const char *ia_policy_role_name(const struct ia_policy *policy, size_t i);

/* The variables that the rules use, without `${}`: *names[0..n), n being returned.  ia_subject.values follows this
 * order. */
size_t ia_policy_variables(const struct ia_policy *policy, const char *const **names);

/* The principal of a check: its roles and, for each variable of the policy, its value or NULL when not set.  All
 * borrowed. */
struct ia_subject {
    const struct ia_role *const *roles;
    size_t n_roles;
    const char *const *values; /* a value that is empty, starts with `$` or contains `/ + #` counts as not set */
};

/* The topic that was checked last, split into its levels: a message is checked for its publisher and then for each of
 * its receivers, with the same topic.  For one thread. */
struct ia_topic_split;
struct ia_topic_split *ia_topic_split_new(void); /* NULL when out of memory */
void ia_topic_split_free(struct ia_topic_split *split);

struct ia_access {
    enum ia_action action;
    const char *topic;            /* a topic name; for SUBSCRIBE a topic filter, with its `$share/<group>/` */
    uint8_t qos;                  /* PUBLISH only */
    bool retain;                  /* PUBLISH only */
    struct ia_topic_split *split; /* kept by the caller from check to check; NULL: split on the stack */
};

/* Decide (MQTT 5 section 4.7).  A matching DENY of any role wins, then a matching ALLOW; otherwise IA_NO_MATCH (which
 * denies).  For PUBLISH and RECEIVE a rule matches when its filter matches the topic; for SUBSCRIBE when its filter
 * covers every topic of the requested filter.  Wildcards never match a first level that starts with `$`, and neither
 * does a variable of an ALLOW.  When a variable is not set, an ALLOW never matches, and a DENY matches any one level
 * there, also one that starts with `$`.
 *
 * Also IA_DENY: an invalid topic, a `$share` without a plain group name and a filter, an unknown action, a NULL role, a
 * role with a rule that could not be compiled (*rule_id is then that rule).  `access->topic` may come straight from the
 * wire.  *rule_id gets the rule that decided (the lowest id if several rules would decide the same), 0 if none did;
 * with NULL the check is faster, since the first ALLOW is enough.  Never allocates, iterative, bounded as stated above;
 * uses about 25 KiB of stack. */
enum ia_verdict ia_policy_check(const struct ia_policy *policy, const struct ia_subject *who,
                                const struct ia_access *access, int64_t *rule_id);
