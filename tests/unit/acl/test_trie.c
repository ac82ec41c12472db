// SPDX-License-Identifier: ISC
/* Collisions of hashes: a search follows an edge only when text and parent are equal, never because of the hash alone.
 * Topics come from the network, so an attacker can search for colliding ones. */
#include "acl/trie.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct ia_trie trie;
static uint32_t root, other;

static void add(uint32_t to, const char *filter)
{
    struct ia_levels levels;
    uint16_t variables[IA_TOPIC_LEVELS_MAX] = {0};
    ck_assert(ia_filter_parse(&levels, filter) == NULL);
    ck_assert(ia_trie_add(&trie, to, &levels, variables, 1, IA_CLASS_ALLOW_RECEIVE));
}

static void set_up(void)
{
    ck_assert(ia_trie_init(&trie));
    root = ia_trie_root(&trie);
    other = ia_trie_root(&trie);
    ck_assert(root && other);
}

static void tear_down(void)
{
    ia_trie_clear(&trie);
}

/* Levels of equal length that share their first eight bytes: short, inline and long levels. */
static const struct {
    const char *rule, *topic;
} pairs[] = {
    {"abc", "abd"},
    {"same-one-a", "same-one-b"},
    {"same-level-of-24-bytes-1", "same-level-of-24-bytes-2"},
    {"same-level-of-more-than-24-bytes-1", "same-level-of-more-than-24-bytes-2"},
    {"short", "shorter"},
};

/* `text` as a level that equals `with` in everything but its text and length. */
static struct ia_level colliding(const char *text, const struct ia_level *with)
{
    struct ia_level level = *with;
    struct ia_levels levels;
    ck_assert(ia_levels_split(&levels, text, IA_TOPIC_NAME) == NULL);
    level.text = text;
    level.len = levels.at[0].len;
    level.first = levels.at[0].first;
    return level;
}

START_TEST(literal_with_the_same_hash_is_not_matched)
{
    char filter[64];
    struct ia_levels levels;
    (void)snprintf(filter, sizeof filter, "%s/+", pairs[_i].rule);
    add(root, filter);
    ck_assert(ia_levels_split(&levels, pairs[_i].rule, IA_TOPIC_NAME) == NULL);
    const struct ia_level *level = &levels.at[0];
    struct ia_level other_level = colliding(pairs[_i].topic, level);
    uint64_t path = ia_path_step(IA_PATH_ROOT(root), level->hash);
    ck_assert(ia_trie_literal(&trie, root, level, path) != 0);
    ck_assert_msg(ia_trie_literal(&trie, root, &other_level, path) == 0, "%s", pairs[_i].topic);
    ck_assert_msg(ia_trie_literal(&trie, other, level, path) == 0, "another role's");
}
END_TEST

START_TEST(leaf_with_the_same_hash_is_not_matched)
{
    struct ia_levels levels;
    const char *rule = pairs[_i].rule, *topic = pairs[_i].topic;
    add(root, rule);
    ck_assert(ia_levels_split(&levels, rule, IA_TOPIC_NAME) == NULL);
    uint64_t path = ia_path_step(IA_PATH_ROOT(root), levels.at[0].hash);
    ck_assert(ia_trie_leaf(&trie, root, rule, strlen(rule), path) != NULL);
    ck_assert_msg(ia_trie_leaf(&trie, root, topic, strlen(topic), path) == NULL, "%s", topic);
    ck_assert_msg(ia_trie_leaf(&trie, other, rule, strlen(rule), path) == NULL, "another role's");
}
END_TEST

START_TEST(hashes_of_levels_depend_on_every_byte_and_on_length)
{
    static const char *const topics[] = {"a", "b", "aa", "ab", "12345678", "123456789", "12345678/", "/", "123456780"};
    uint64_t seen[sizeof topics / sizeof topics[0]];
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        struct ia_levels levels;
        ck_assert(ia_levels_split(&levels, topics[i], IA_TOPIC_NAME) == NULL);
        seen[i] = IA_PATH_ROOT(root);
        for (size_t k = 0; k < levels.n; k++)
            seen[i] = ia_path_step(seen[i], levels.at[k].hash);
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(seen[i] != seen[j], "%s and %s", topics[i], topics[j]);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trie");
    TCase *c = tcase_create("trie");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_loop_test(c, literal_with_the_same_hash_is_not_matched, 0, (int)(sizeof pairs / sizeof pairs[0]));
    tcase_add_loop_test(c, leaf_with_the_same_hash_is_not_matched, 0, (int)(sizeof pairs / sizeof pairs[0]));
    tcase_add_test(c, hashes_of_levels_depend_on_every_byte_and_on_length);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
