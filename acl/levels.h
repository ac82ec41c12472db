// SPDX-License-Identifier: ISC
/* A topic name or topic filter cut into its levels, each hashed once.  Internal to acl/. */
#pragma once

#include "acl/policy.h"

enum ia_level_kind {
    IA_LEVEL_LITERAL = 0,
    IA_LEVEL_PLUS,
    IA_LEVEL_VARIABLE, /* only in rules: text is the name without `${}` */
};

struct ia_level {
    const char *text; /* borrowed from the topic, not NUL-terminated */
    uint64_t hash;
    uint64_t first; /* its first eight bytes, the first of them lowest, zeros after the end */
    uint32_t len;
    uint32_t kind; /* enum ia_level_kind */
};

/* `#` and `a/#` are kept as levels plus `tail`.  `#` matches the same topics as `+/#` (MQTT 5 section 4.7.1.2, and
 * neither matches a leading `$`), `/#` the same as `/+/#` (a topic is never empty): they are turned into those, so that
 * two filters are compared level by level. */
struct ia_levels {
    size_t n;
    bool tail;   /* `/#` follows */
    bool dollar; /* the first level begins with `$`: wildcards do not match it */
    struct ia_level at[IA_TOPIC_LEVELS_MAX];
};

enum ia_levels_of { IA_TOPIC_NAME, IA_TOPIC_FILTER };

/* Cut `text`.  NULL, or a static text that says what is wrong: empty, longer than 65535 bytes, not UTF-8, too many
 * levels, a misplaced wildcard (in a topic name: any wildcard). */
IA_MUST_USE const char *ia_levels_split(struct ia_levels *out, const char *text, enum ia_levels_of what);

/* The same of text[0..len), without a NUL in it. */
IA_MUST_USE const char *ia_levels_split_n(struct ia_levels *out, const char *text, size_t len, enum ia_levels_of what);

/* Cut a rule's filter, in which a level may be `${name}`.  NULL, or a static text that says what is wrong. */
IA_MUST_USE const char *ia_filter_parse(struct ia_levels *out, const char *text);

/* Bytes of the text from `first` to `last`, with the slashes between. */
static inline size_t ia_levels_bytes(const struct ia_level *first, const struct ia_level *last)
{
    return (size_t)(last->text + last->len - first->text);
}

/* Does `text`, as `$share/<group>/<filter>`, name a shared subscription (MQTT 5 section 4.8.2)? */
bool ia_topic_is_shared(const char *text);

/* The filter after `$share/<group>/`; NULL when the group is empty or holds a wildcard, or no filter follows. */
const char *ia_topic_unshare(const char *text);
