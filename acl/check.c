// SPDX-License-Identifier: ISC
#include "acl/policy_impl.h"

#include "common/str.h"

#include <stdlib.h>

/* Matching a topic and covering a requested filter are one walk: a topic is a filter without wildcards.  A rule covers
 * a request exactly when every level of the rule is '+' or equals the request's level, and their ends agree ('/#'
 * covers both ends).  Topics that begin with '$' are apart: '+' in the first level covers none of them.
 *
 * Each place still to be visited carries the classes (see trie.h) that may still be decided there: an unset variable,
 * for instance, leaves only the DENY ones. */

struct place {
    uint64_t path; /* see trie.h */
    uint32_t node;
    uint16_t depth;
    ia_classes wanted;
};

/* One check of one role. */
struct walk {
    const struct ia_trie *trie;
    const struct ia_levels *levels;
    const char *const *values;
    bool overflow; /* cannot be: roles with so many places are refused when built */
    size_t n;      /* places */
    struct place places[IA_POLICY_VISITS_MAX];
};

struct decision {
    bool denied, allowed;
    bool explain;    /* which rule decided is asked for: the one with the lowest id */
    ia_classes open; /* what further rules could still change */
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

static bool read_filter(struct ia_levels *levels, const char *topic)
{
    if (ia_topic_is_shared(topic)) {
        const char *filter = ia_topic_unshare(topic);
        if (!filter || !ia_utf8_valid(topic, (size_t)(filter - topic)))
            return false;
        topic = filter;
    }
    return ia_levels_split(levels, topic, IA_TOPIC_FILTER) == NULL;
}

#define CUT_BYTES_MAX 255 /* of a topic that is kept */

struct ia_topic_split {
    size_t len; /* of `text`; 0: nothing is kept */
    bool valid;
    char text[CUT_BYTES_MAX + 1];
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

static bool read_name(struct ia_topic_split *split, const char *topic)
{
    size_t len = strnlen(topic, CUT_BYTES_MAX + 1);
    if (len == split->len && len > 0 && memcmp(topic, split->text, len) == 0)
        return split->valid;
    split->len = 0;
    if (len > CUT_BYTES_MAX)
        return ia_levels_split(&split->levels, topic, IA_TOPIC_NAME) == NULL;
    memcpy(split->text, topic, len);
    split->valid = ia_levels_split_n(&split->levels, split->text, len, IA_TOPIC_NAME) == NULL;
    split->len = len;
    return split->valid;
}

static bool read_topic(struct ia_topic_split *split, const struct ia_access *access)
{
    if (!access->topic)
        return false;
    if (access->action != IA_SUBSCRIBE)
        return read_name(split, access->topic);
    split->len = 0;
    return read_filter(&split->levels, access->topic);
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

static inline void note(struct decision *d, ia_classes decided, int64_t rule_id)
{
    if (decided & IA_CLASS_DENY_ALL)
        note_deny(d, rule_id);
    if (decided & ~IA_CLASS_DENY_ALL)
        note_allow(d, rule_id);
}

/* Take down the rules that end at one place, as far as they decide `here` or `tail`. */
static void note_ends(const struct ia_trie *trie, const struct ia_ends *ends, ia_classes here, ia_classes tail,
                      struct decision *d)
{
    if (!ends->term)
        note(d, (ends->here & here) | (ends->tail & tail), ends->rule_id);
    for (uint32_t i = ends->term; i; i = trie->terms[i].next)
        note(d, (trie->terms[i].here & here) | (trie->terms[i].tail & tail), trie->terms[i].rule_id);
}

static inline void push(struct walk *w, uint32_t node, size_t depth, ia_classes wanted, uint64_t path)
{
    wanted &= w->trie->nodes[node].below;
    if (!wanted)
        return;
    w->overflow |= w->n == IA_POLICY_VISITS_MAX;
    if (!w->overflow)
        w->places[w->n++] = (struct place){.path = path, .node = node, .depth = (uint16_t)depth, .wanted = wanted};
}

static inline bool value_is(const char *value, const struct ia_level *level)
{
    return level->kind == IA_LEVEL_LITERAL && strncmp(value, level->text, level->len) == 0 && value[level->len] == '\0';
}

/* What may still be decided when a variable of this value meets the level.  Where value and level are equal, the value
 * cannot hold `/ + #`; where they are not, that only matters to a DENY. */
static ia_classes variable_classes(const char *value, const struct ia_level *level, ia_classes wanted)
{
    ia_classes deny = wanted & IA_CLASS_DENY_ALL;
    if (!value || value[0] == '\0' || value[0] == '$')
        return deny;
    if (value_is(value, level))
        return wanted;
    return deny && strpbrk(value, "/+#") ? deny : 0;
}

static void push_variables(struct walk *w, uint32_t variable, struct place at)
{
    for (uint32_t i = variable; i; i = w->trie->nodes[i].sibling) {
        uint16_t index = w->trie->nodes[i].variable;
        const char *value = w->values ? w->values[index] : NULL;
        push(w, i, at.depth + 1U, variable_classes(value, &w->levels->at[at.depth], at.wanted),
             ia_path_step(at.path, IA_PATH_VARIABLE(index)));
    }
}

static void push_children(struct walk *w, const struct ia_trie_node *node, struct place at)
{
    const struct ia_level *level = &w->levels->at[at.depth];
    if (node->plus && !(at.depth == 0 && w->levels->dollar))
        push(w, node->plus, at.depth + 1U, at.wanted, ia_path_step(at.path, IA_PATH_PLUS));
    if (node->variables)
        push_variables(w, node->variables, at);
    if (node->has_literals && level->kind == IA_LEVEL_LITERAL) {
        uint64_t path = ia_path_step(at.path, level->hash);
        uint32_t child = ia_trie_literal(w->trie, at.node, level, path);
        if (child)
            push(w, child, at.depth + 1U, at.wanted, path);
    }
}

/* The rules that go on with literals alone.  `lengths`: as struct ia_trie_node's `leaves`. */
static void look_for_leaves(const struct walk *w, unsigned lengths, struct place at, struct decision *d)
{
    const struct ia_level *first = &w->levels->at[at.depth], *end = &w->levels->at[w->levels->n];
    for (const struct ia_level *last = first; lengths; last++, lengths >>= 1) {
        if (last == end || last->kind != IA_LEVEL_LITERAL)
            return;
        at.path = ia_path_step(at.path, last->hash);
        if (!(lengths & 1))
            continue;
        const struct ia_leaf *leaf = ia_trie_leaf(w->trie, at.node, first->text, ia_levels_bytes(first, last), at.path);
        bool whole = last + 1 == end && !w->levels->tail;
        if (leaf)
            note_ends(w->trie, &leaf->ends, whole ? at.wanted : 0, at.wanted, d);
    }
}

static void walk_role(struct walk *w, const struct ia_role *role, ia_classes wanted, struct decision *d)
{
    w->n = 0;
    push(w, role->root, 0, wanted & d->open, IA_PATH_ROOT(role->root));
    while (w->n) {
        struct place at = w->places[--w->n];
        at.wanted &= d->open;
        if (!at.wanted)
            continue;
        const struct ia_trie_node *node = &w->trie->nodes[at.node];
        bool end = at.depth == w->levels->n;
        ia_classes here = end && !w->levels->tail ? node->ends.here & at.wanted : 0;
        ia_classes tail = node->ends.tail & at.wanted;
        if (here | tail)
            note_ends(w->trie, &node->ends, here, tail, d);
        if (end)
            continue;
        if (node->leaves)
            look_for_leaves(w, node->leaves, at, d);
        at.wanted &= d->open & node->below;
        if (at.wanted)
            push_children(w, node, at);
    }
}

static void begin_walk(struct walk *w, const struct ia_policy *policy, const struct ia_subject *who,
                       const struct ia_levels *levels)
{
    w->trie = &policy->trie;
    w->values = who->values;
    w->levels = levels;
    w->overflow = false;
}

static enum ia_verdict decided(enum ia_verdict verdict, int64_t rule, int64_t *rule_id)
{
    if (rule_id)
        *rule_id = rule;
    return verdict;
}

enum ia_verdict ia_policy_check(const struct ia_policy *policy, const struct ia_subject *who,
                                const struct ia_access *access, int64_t *rule_id)
{
    struct ia_topic_split here;
    struct ia_topic_split *split = access->split ? access->split : &here;
    ia_classes wanted = wanted_classes(access);
    here.len = 0;
    if (!wanted || !read_topic(split, access))
        return decided(IA_DENY, 0, rule_id);
    struct walk w;
    begin_walk(&w, policy, who, &split->levels);
    struct decision d = {.explain = rule_id != NULL, .open = wanted};
    for (size_t i = 0; i < who->n_roles; i++) {
        const struct ia_role *role = who->roles[i];
        if (!role || role->bad)
            return decided(IA_DENY, role ? role->bad_rule : 0, rule_id);
        walk_role(&w, role, wanted, &d);
    }
    if (d.denied || w.overflow)
        return decided(IA_DENY, d.deny_rule, rule_id);
    if (d.allowed)
        return decided(IA_ALLOW, d.allow_rule, rule_id);
    return decided(IA_NO_MATCH, 0, rule_id);
}
