// SPDX-License-Identifier: ISC
/* Topic policy of one snapshot: roles compiled to topic tries.  Built once, then read-only, so safe from any thread. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of a check.  Deeper topics are refused, not walked: Mosquitto itself lets through 200 slashes.  A role whose
 * rules could make one check visit more nodes than that is refused when it is compiled, as a bad rule would be. */
#define IA_TOPIC_LEVELS_MAX     201
#define IA_POLICY_VISITS_MAX    1024 /* nodes of one role's trie that one check visits, at most 17 looks from each */
#define IA_SUBJECT_ROLES_MAX    256  /* different roles of one principal: with more it is denied everything */
#define IA_POLICY_VARIABLES_MAX 256  /* different variables in all rules */

enum ia_action { IA_PUBLISH = 1, IA_SUBSCRIBE = 2, IA_RECEIVE = 4 };

/* One row of role_rule (borrowed texts). */
struct ia_rule {
    int64_t rule_id;
    const char *role;
    bool allow;               /* else DENY */
    unsigned actions;         /* set of enum ia_action */
    const char *topic_filter; /* may hold ${variables}, each one whole level */
    int max_qos;              /* PUBLISH: highest QoS that this ALLOW admits, 2 leaves it open */
    bool allow_retain;        /* PUBLISH: may the message be retained, true leaves it open */
};

struct ia_policy;
struct ia_role;

/* Told for each rule that cannot be compiled: the text for `role_rule.problem`.  Its role then denies everything. */
typedef void ia_policy_problem(void *ctx, int64_t rule_id, const char *text);

/* Compile all rules.  `roles` names every role, also those without rules; a rule of an unlisted role is a problem.
 * IA_NOMEM is the only failure: *out stays NULL.  Reference-counted: the caller owns one reference of *out. */
IA_MUST_USE enum ia_rc ia_policy_build(const char *const *roles, size_t n_roles, const struct ia_rule *rules, size_t n,
                                       ia_policy_problem *problem, void *ctx, struct ia_policy **out,
                                       struct ia_err *err);
struct ia_policy *ia_policy_ref(struct ia_policy *policy);
void ia_policy_free(struct ia_policy *policy);

/* The role of that name, or NULL: borrowed from the policy. */
const struct ia_role *ia_policy_role(const struct ia_policy *policy, const char *name);

/* The names of all roles, in their order: NULL from the last one on.  Borrowed from the policy. */
const char *ia_policy_role_name(const struct ia_policy *policy, size_t i);

/* The variables that the rules use, without `${}`: names[0..n).  A session's `values` follow the same order. */
size_t ia_policy_variables(const struct ia_policy *policy, const char *const **names);

/* Who asks: the roles and, for each variable of the policy, its value or NULL when unset.  All borrowed. */
struct ia_subject {
    const struct ia_role *const *roles;
    size_t n_roles;
    const char *const *values; /* empty, with a leading `$` or holding `/ + #`: counts as unset */
};

/* The topic that was checked last, cut into its levels: a message is asked about for its sender and then for each of
 * its receivers.  For one thread. */
struct ia_topic_split;
struct ia_topic_split *ia_topic_split_new(void); /* NULL when out of memory */
void ia_topic_split_free(struct ia_topic_split *split);

struct ia_access {
    enum ia_action action;
    const char
        *topic;  /* topic name, or for SUBSCRIBE a topic filter, `$share/<group>/` still on; straight from the wire */
    uint8_t qos; /* PUBLISH only */
    bool retain; /* PUBLISH only */
    struct ia_topic_split *split; /* where topics are cut, kept by the caller from check to check; NULL: on the stack */
};

/* Decide (MQTT 5 section 4.7).  A DENY that matches wins, in whichever role, then an ALLOW; otherwise IA_NO_MATCH
 * (which denies).  PUBLISH and RECEIVE match the topic; SUBSCRIBE matches where a rule covers every topic of the
 * requested filter.  Wildcards never match a leading `$` level, and neither does an ALLOW variable.  With an unset
 * variable an ALLOW never matches and a DENY matches any one level there, also one that begins with `$`.
 *
 * IA_DENY also: an invalid topic, a `$share` without a plain group name and a filter, an unknown action, a NULL role, a
 * role with a rule that could not be compiled (*rule_id is then that rule).  *rule_id gets the rule that decided, the
 * lowest id where several would, 0 if none did; NULL is quicker, since one ALLOW is enough.  Never allocates,
 * iterative, bounded as stated above; uses about 25 KiB of stack. */
enum ia_verdict ia_policy_check(const struct ia_policy *policy, const struct ia_subject *who,
                                const struct ia_access *access, int64_t *rule_id);
