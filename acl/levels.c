// SPDX-License-Identifier: ISC
#include "acl/levels.h"

#include "common/str.h"

#include <endian.h>
#include <string.h>

/* Topics come straight from the wire and are split for each message, so the scan reads eight bytes in one step. */

#define TOPIC_BYTES_MAX 65535 /* MQTT 5 section 4.7.3 */
#define ONES            UINT64_C(0x0101010101010101)
#define HIGH            UINT64_C(0x8080808080808080)

/* Not zero if and only if a byte of `word` equals c; the lowest bit set is in the first such byte. */
static inline uint64_t bytes_equal(uint64_t word, char c)
{
    uint64_t x = word ^ (ONES * (unsigned char)c);
    return (x - ONES) & ~x & HIGH;
}

/* The next eight bytes of text[0..len) from `at` on, the first byte lowest, zeros after the end. */
static inline uint64_t word_at(const char *text, size_t len, size_t at)
{
    uint64_t word = 0;
    size_t left = len - at;
    if (left >= sizeof word) {
        memcpy(&word, text + at, sizeof word);
        return le64toh(word);
    }
    if (left == 0)
        return 0;
    if (len >= sizeof word) {
        memcpy(&word, text + len - sizeof word, sizeof word);
        return le64toh(word) >> (8 * (sizeof word - left));
    }
    memcpy(&word, text + at, left);
    return le64toh(word);
}

/* The text is compared as well, so a collision costs time but never causes a wrong decision. */
static inline uint64_t hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

/* Bytes that occurred anywhere in the topic; checked once, after the scan. */
struct byte_kinds {
    uint64_t wildcard;
    uint64_t non_ascii;
};

static inline void note_bytes(struct byte_kinds *kinds, uint64_t word)
{
    kinds->wildcard |= bytes_equal(word, '+') | bytes_equal(word, '#');
    kinds->non_ascii |= word & HIGH;
}

/* A mask of the bytes before the first slash; of all bytes if there is none. */
static inline uint64_t mask_before(uint64_t slash)
{
    return slash ? (slash & -slash) / 128 - 1 : ~UINT64_C(0);
}

/* Fill in *level for the level that starts at `at`; returns the position of its end. */
static inline size_t scan_level(struct ia_level *level, const char *text, size_t len, size_t at,
                                struct byte_kinds *kinds)
{
    size_t start = at;
    uint64_t word = word_at(text, len, at);
    uint64_t slash = bytes_equal(word, '/');
    uint64_t hash = ONES; /* not 0, so that an empty level changes the hash too */
    level->first = word & mask_before(slash);
    /* A level of 8, 16, … bytes ends with an empty word, whether a slash or the end of the topic follows. */
    while (!slash && len - at >= 8) {
        note_bytes(kinds, word);
        hash = hash_word(hash, word);
        at += 8;
        word = word_at(text, len, at);
        slash = bytes_equal(word, '/');
    }
    word &= mask_before(slash);
    note_bytes(kinds, word);
    at = slash ? at + (size_t)__builtin_ctzll(slash) / 8 : len;
    level->text = text + start;
    level->len = (uint32_t)(at - start);
    level->kind = IA_LEVEL_LITERAL;
    level->hash = hash_word(hash_word(hash, word), level->len);
    return at;
}

static const char *split_levels(struct ia_levels *out, const char *text, size_t len, struct byte_kinds *kinds)
{
    size_t n = 0;
    for (size_t at = 0;; at++) {
        if (n == IA_TOPIC_LEVELS_MAX)
            return "it has more than 201 levels";
        at = scan_level(&out->at[n++], text, len, at, kinds);
        if (at == len)
            break;
    }
    out->n = n;
    return NULL;
}

/* `+` and `#` must be whole levels, and `#` the last (MQTT 5 section 4.7.1). */
static const char *find_wildcards(struct ia_levels *out)
{
    for (size_t i = 0; i < out->n; i++) {
        struct ia_level *level = &out->at[i];
        bool plus = memchr(level->text, '+', level->len) != NULL;
        bool hash = memchr(level->text, '#', level->len) != NULL;
        if (!plus && !hash)
            continue;
        if (level->len > 1)
            return "'+' and '#' must be whole levels";
        if (hash && i + 1 < out->n)
            return "'#' must be the last level";
        if (plus)
            level->kind = IA_LEVEL_PLUS;
        out->tail = hash;
    }
    if (!out->tail)
        return NULL;
    size_t last = out->n - 1;
    if (last == 0 || (last == 1 && out->at[0].len == 0))
        out->at[last].kind = IA_LEVEL_PLUS;
    else
        out->n--;
    return NULL;
}

const char *ia_levels_split(struct ia_levels *out, const char *text, enum ia_levels_of what)
{
    return ia_levels_split_n(out, text, text ? strnlen(text, TOPIC_BYTES_MAX + 1) : 0, what);
}

const char *ia_levels_split_n(struct ia_levels *out, const char *text, size_t len, enum ia_levels_of what)
{
    if (len == 0)
        return "it is empty";
    if (len > TOPIC_BYTES_MAX)
        return "it is longer than 65535 bytes";
    struct byte_kinds kinds = {0};
    const char *error = split_levels(out, text, len, &kinds);
    if (error)
        return error;
    if (kinds.non_ascii && !ia_utf8_valid(text, len))
        return "it is not valid UTF-8";
    out->tail = false;
    out->dollar = text[0] == '$';
    if (!kinds.wildcard)
        return NULL;
    return what == IA_TOPIC_NAME ? "a topic name must not contain '+' or '#'" : find_wildcards(out);
}

bool ia_topic_is_shared(const char *text)
{
    return strncmp(text, "$share", 6) == 0 && (text[6] == '/' || text[6] == '\0');
}

const char *ia_topic_unshare(const char *text)
{
    const char *group = text + 6;
    if (*group++ != '/')
        return NULL;
    size_t len = strcspn(group, "/+#");
    if (len == 0 || group[len] != '/' || group[len + 1] == '\0')
        return NULL;
    return group + len + 1;
}
