// SPDX-License-Identifier: ISC
#include "acl/private.h"
#include "common/str.h"

#include <stdlib.h>

/* Matching a topic and covering a requested filter are the same search, because a topic is a filter without wildcards.
 * A rule covers a request exactly when every level of the rule is '+' or equals the request's level, and their ends
 * agree ('/#' covers both ends).  Topics that start with '$' are an exception: '+' in the first level covers none of
 * them.
 *
 * The search is iterative: `pending` holds the nodes that are still to be visited.  Each carries the classes (trie.h)
 * that can still be decided there: a variable that is not set, for example, leaves only the DENY classes. */

struct pending {
    uint64_t path; /* see trie.h */
    uint32_t node;
    uint16_t depth;
    ia_classes wanted;
};

/* One search in the trie of one role. */
struct search {
    const struct ia_trie *trie;
    const struct ia_levels *levels;
    const char *const *values;
    bool overflow; /* never true: a role that could need more is refused when it is compiled */
    size_t n;
    struct pending pending[IA_POLICY_VISITS_MAX];
};

struct decision {
    bool denied, allowed;
    bool explain;    /* the caller wants the deciding rule with the lowest id */
    ia_classes open; /* the classes that further rules could still decide */
    int64_t deny_rule, allow_rule;
};

static ia_classes wanted_classes(const struct ia_access *access)
{
    switch (access->action) {
    case IA_PUBLISH:
        if (access->qos > 2)
            return 0;
        return IA_CLASS_DENY(IA_PUBLISH) | IA_CLASS_ALLOW_PUBLISH(access->qos, access->retain);
    case IA_SUBSCRIBE:
        return IA_CLASS_DENY(IA_SUBSCRIBE) | IA_CLASS_ALLOW_SUBSCRIBE;
    case IA_RECEIVE:
        return IA_CLASS_DENY(IA_RECEIVE) | IA_CLASS_ALLOW_RECEIVE;
    }
    return 0;
}

static bool split_filter(struct ia_levels *levels, const char *topic)
{
    if (ia_topic_is_shared(topic)) {
        const char *filter = ia_topic_unshare(topic);
        if (!filter || !ia_utf8_valid(topic, (size_t)(filter - topic)))
            return false;
        topic = filter;
    }
    return ia_levels_split(levels, topic, IA_TOPIC_FILTER) == NULL;
}

#define KEPT_BYTES_MAX 255 /* longer topics are split in each check */

struct ia_topic_split {
    size_t len; /* of `text`; 0: no topic is kept */
    bool valid;
    char text[KEPT_BYTES_MAX + 1];
    struct ia_levels levels; /* of `text` */
};

struct ia_topic_split *ia_topic_split_new(void)
{
    return calloc(1, sizeof(struct ia_topic_split));
}

void ia_topic_split_free(struct ia_topic_split *split)
{
    free(split);
}

static bool split_name(struct ia_topic_split *split, const char *topic)
{
    size_t len = strnlen(topic, KEPT_BYTES_MAX + 1);
    if (len == split->len && len > 0 && memcmp(topic, split->text, len) == 0)
        return split->valid;
    split->len = 0;
    if (len > KEPT_BYTES_MAX)
        return ia_levels_split(&split->levels, topic, IA_TOPIC_NAME) == NULL;
    memcpy(split->text, topic, len);
    split->valid = ia_levels_split_n(&split->levels, split->text, len, IA_TOPIC_NAME) == NULL;
    split->len = len;
    return split->valid;
}

static bool split_topic(struct ia_topic_split *split, const struct ia_access *access)
{
    if (!access->topic)
        return false;
    if (access->action != IA_SUBSCRIBE)
        return split_name(split, access->topic);
    split->len = 0;
    return split_filter(&split->levels, access->topic);
}

static void note_deny(struct decision *d, int64_t rule_id)
{
    if (!d->denied || rule_id < d->deny_rule)
        d->deny_rule = rule_id;
    d->denied = true;
    if (!d->explain)
        d->open = 0;
}

static void note_allow(struct decision *d, int64_t rule_id)
{
    if (!d->allowed || rule_id < d->allow_rule)
        d->allow_rule = rule_id;
    d->allowed = true;
    if (!d->explain)
        d->open &= IA_CLASS_DENY_ALL;
}

static inline void note_classes(struct decision *d, ia_classes decided, int64_t rule_id)
{
    if (decided & IA_CLASS_DENY_ALL)
        note_deny(d, rule_id);
    if (decided & ~IA_CLASS_DENY_ALL)
        note_allow(d, rule_id);
}

/* Apply the rules that end at one place, as far as they decide the classes `here` or `tail`. */
static void note_ends(const struct ia_trie *trie, const struct ia_ends *ends, ia_classes here, ia_classes tail,
                      struct decision *d)
{
    if (!ends->term)
        note_classes(d, (ends->here & here) | (ends->tail & tail), ends->rule_id);
    for (uint32_t i = ends->term; i; i = trie->terms[i].next)
        note_classes(d, (trie->terms[i].here & here) | (trie->terms[i].tail & tail), trie->terms[i].rule_id);
}

static inline void push_node(struct search *s, uint32_t node, size_t depth, ia_classes wanted, uint64_t path)
{
    wanted &= s->trie->nodes[node].below;
    if (!wanted)
        return;
    s->overflow |= s->n == IA_POLICY_VISITS_MAX;
    if (!s->overflow)
        s->pending[s->n++] = (struct pending){.path = path, .node = node, .depth = (uint16_t)depth, .wanted = wanted};
}

static inline bool value_is(const char *value, const struct ia_level *level)
{
    return level->kind == IA_LEVEL_LITERAL && strncmp(value, level->text, level->len) == 0 && value[level->len] == '\0';
}

/* The classes that can still be decided when a variable with this value meets the level.  A value that equals a level
 * contains none of `/ + #`; a value with one of them counts as not set, which leaves the DENY classes. */
static ia_classes variable_classes(const char *value, const struct ia_level *level, ia_classes wanted)
{
    ia_classes deny = wanted & IA_CLASS_DENY_ALL;
    if (!value || value[0] == '\0' || value[0] == '$')
        return deny;
    if (value_is(value, level))
        return wanted;
    return deny && strpbrk(value, "/+#") ? deny : 0;
}

static void push_variables(struct search *s, uint32_t variable, struct pending at)
{
    for (uint32_t i = variable; i; i = s->trie->nodes[i].sibling) {
        uint16_t index = s->trie->nodes[i].variable;
        const char *value = s->values ? s->values[index] : NULL;
        push_node(s, i, at.depth + 1U, variable_classes(value, &s->levels->at[at.depth], at.wanted),
                  ia_path_step(at.path, IA_PATH_VARIABLE(index)));
    }
}

static void push_children(struct search *s, const struct ia_trie_node *node, struct pending at)
{
    const struct ia_level *level = &s->levels->at[at.depth];
    if (node->plus && !(at.depth == 0 && s->levels->dollar))
        push_node(s, node->plus, at.depth + 1U, at.wanted, ia_path_step(at.path, IA_PATH_PLUS));
    if (node->variables)
        push_variables(s, node->variables, at);
    if (node->has_literals && level->kind == IA_LEVEL_LITERAL) {
        uint64_t path = ia_path_step(at.path, level->hash);
        uint32_t child = ia_trie_literal(s->trie, at.node, level, path);
        if (child)
            push_node(s, child, at.depth + 1U, at.wanted, path);
    }
}

/* Apply the leaves below a node: the rules whose remaining levels are all literals.  `lengths`: see
 * ia_trie_node.leaves. */
static void visit_leaves(const struct search *s, unsigned lengths, struct pending at, struct decision *d)
{
    const struct ia_level *first = &s->levels->at[at.depth], *end = &s->levels->at[s->levels->n];
    for (const struct ia_level *last = first; lengths; last++, lengths >>= 1) {
        if (last == end || last->kind != IA_LEVEL_LITERAL)
            return;
        at.path = ia_path_step(at.path, last->hash);
        if (!(lengths & 1))
            continue;
        const struct ia_leaf *leaf = ia_trie_leaf(s->trie, at.node, first->text, ia_levels_bytes(first, last), at.path);
        bool whole = last + 1 == end && !s->levels->tail;
        if (leaf)
            note_ends(s->trie, &leaf->ends, whole ? at.wanted : 0, at.wanted, d);
    }
}

static void search_role(struct search *s, const struct ia_role *role, ia_classes wanted, struct decision *d)
{
    s->n = 0;
    push_node(s, role->root, 0, wanted & d->open, IA_PATH_ROOT(role->root));
    while (s->n) {
        struct pending at = s->pending[--s->n];
        at.wanted &= d->open;
        if (!at.wanted)
            continue;
        const struct ia_trie_node *node = &s->trie->nodes[at.node];
        // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): pending[] is filled up to n
        bool end = at.depth == s->levels->n;
        ia_classes here = end && !s->levels->tail ? node->ends.here & at.wanted : 0;
        ia_classes tail = node->ends.tail & at.wanted;
        if (here | tail)
            note_ends(s->trie, &node->ends, here, tail, d);
        if (end)
            continue;
        if (node->leaves)
            visit_leaves(s, node->leaves, at, d);
        at.wanted &= d->open & node->below;
        if (at.wanted)
            push_children(s, node, at);
    }
}

static void begin_search(struct search *s, const struct ia_policy *policy, const struct ia_subject *who,
                         const struct ia_levels *levels)
{
    s->trie = &policy->trie;
    s->values = who->values;
    s->levels = levels;
    s->overflow = false;
}

static enum ia_verdict topic_verdict(enum ia_verdict verdict, int64_t rule, int64_t *rule_id)
{
    if (rule_id)
        *rule_id = rule;
    return verdict;
}

enum ia_verdict ia_policy_check(const struct ia_policy *policy, const struct ia_subject *who,
                                const struct ia_access *access, int64_t *rule_id)
{
    struct ia_topic_split own;
    struct ia_topic_split *split = access->split ? access->split : &own;
    ia_classes wanted = wanted_classes(access);
    /* The rest of `own` is 8 KiB; split_topic() fills in what is read of it. */
    own.len = own.levels.n = 0;
    own.levels.tail = own.levels.dollar = false;
    if (!wanted || !split_topic(split, access))
        return topic_verdict(IA_DENY, 0, rule_id);
    struct search s;
    begin_search(&s, policy, who, &split->levels);
    struct decision d = {.explain = rule_id != NULL, .open = wanted};
    for (size_t i = 0; i < who->n_roles; i++) {
        const struct ia_role *role = who->roles[i];
        if (!role || role->invalid)
            return topic_verdict(IA_DENY, role ? role->invalid_rule : 0, rule_id);
        search_role(&s, role, wanted, &d);
    }
    if (d.denied || s.overflow)
        return topic_verdict(IA_DENY, d.deny_rule, rule_id);
    if (d.allowed)
        return topic_verdict(IA_ALLOW, d.allow_rule, rule_id);
    return topic_verdict(IA_NO_MATCH, 0, rule_id);
}
