// SPDX-License-Identifier: ISC
/* Inside acl/ only: a topic name or topic filter, split into its levels, each hashed once. */
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
    uint64_t first; /* the first eight bytes, the first byte lowest, zeros after the end */
    uint32_t len;
    uint32_t kind; /* enum ia_level_kind */
};

/* `a/#` is stored as the level `a` with `tail`.  `#` matches the same topics as `+/#` (MQTT 5 section 4.7.1.2; neither
 * matches a leading `$`), and `/#` the same as `/+/#` (a topic is never empty): both are stored as the latter, so that
 * two filters can be compared level by level. */
struct ia_levels {
    size_t n;
    bool tail;   /* `/#` follows */
    bool dollar; /* the first level starts with `$`: wildcards do not match it */
    struct ia_level at[IA_TOPIC_LEVELS_MAX];
};

enum ia_levels_of { IA_TOPIC_NAME, IA_TOPIC_FILTER };

/* Split `text`.  NULL, or the error as a static text: empty, longer than 65535 bytes, not UTF-8, too many levels, a
 * misplaced wildcard (in a topic name: any wildcard). */
IA_MUST_USE const char *ia_levels_split(struct ia_levels *out, const char *text, enum ia_levels_of what);

/* The same for text[0..len), which contains no NUL. */
IA_MUST_USE const char *ia_levels_split_n(struct ia_levels *out, const char *text, size_t len, enum ia_levels_of what);

/* Split the filter of a rule, in which a level may be `${name}`.  NULL, or the error as a static text.  Also refused
 * are filters that can never match, or not what was meant: other brokers' placeholders (`%u`, `{app_id}`) and prefixes
 * (`$queue/`), `$share/<group>/` (rules are matched without it), characters that Mosquitto refuses in topics, a space
 * at either end. */
IA_MUST_USE const char *ia_filter_parse(struct ia_levels *out, const char *text);

/* The number of bytes from `first` to `last`, including the slashes between them. */
static inline size_t ia_levels_bytes(const struct ia_level *first, const struct ia_level *last)
{
    return (size_t)(last->text + last->len - first->text);
}

/* Is `text` a shared subscription, `$share/<group>/<filter>` (MQTT 5 section 4.8.2), whether valid or not? */
bool ia_topic_is_shared(const char *text);

/* The filter after `$share/<group>/`; NULL when the group is empty or contains a wildcard, or no filter follows. */
const char *ia_topic_unshare(const char *text);
