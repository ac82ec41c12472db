// SPDX-License-Identifier: ISC
#include "x509/chain_cache.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1000

static struct ia_chain good(unsigned leaf)
{
    struct ia_chain chain = {.reason = IA_R_NONE, .ca_id = leaf, .not_after = NOW + 10, .n_links = 2};
    memcpy(chain.links[0].fingerprint, &leaf, sizeof leaf);
    return chain;
}

static const struct ia_chain *get(struct ia_chain_cache *cache, unsigned leaf, int64_t now)
{
    struct ia_chain key = good(leaf);
    return ia_chain_cache_get(cache, key.links[0].fingerprint, now);
}

static void put(struct ia_chain_cache *cache, unsigned leaf)
{
    struct ia_chain chain = good(leaf);
    ia_chain_cache_put(cache, &chain);
}

START_TEST(cache_gives_back_what_was_put_and_nothing_else)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(16);
    ck_assert(!get(cache, 1, NOW));
    put(cache, 1);
    ck_assert(get(cache, 1, NOW) != NULL);
    ck_assert_int_eq(get(cache, 1, NOW)->ca_id, 1);
    ck_assert(!get(cache, 2, NOW));
    ck_assert(!get(cache, 1 + 4, NOW)); /* the same places */
    ia_chain_cache_free(cache);
}
END_TEST

START_TEST(cache_never_gives_a_chain_past_its_end)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(4);
    put(cache, 1);
    ck_assert(get(cache, 1, NOW + 10) != NULL);
    ck_assert(!get(cache, 1, NOW + 11));
    ck_assert(!get(cache, 1, NOW)); /* and forgets it */
    ia_chain_cache_free(cache);
}
END_TEST

START_TEST(cache_flush_forgets_all_and_goes_on)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(64);
    for (unsigned i = 0; i < 64; i++)
        put(cache, i);
    ia_chain_cache_flush(cache);
    for (unsigned i = 0; i < 64; i++)
        ck_assert(!get(cache, i, NOW));
    put(cache, 7);
    ck_assert(get(cache, 7, NOW) != NULL);
    ia_chain_cache_free(cache);
}
END_TEST

START_TEST(cache_keeps_good_chains_only)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(4);
    struct ia_chain chain = good(1);
    chain.reason = IA_R_CERTIFICATE_REVOKED;
    ia_chain_cache_put(cache, &chain);
    ck_assert(!get(cache, 1, NOW));
    ia_chain_cache_free(cache);
}
END_TEST

START_TEST(cache_replaces_a_chain_of_the_same_leaf)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(4);
    struct ia_chain chain = good(1);
    put(cache, 1);
    chain.ca_id = 99;
    ia_chain_cache_put(cache, &chain);
    ck_assert_int_eq(get(cache, 1, NOW)->ca_id, 99);
    put(cache, 2);
    put(cache, 3);
    put(cache, 4);
    ck_assert_msg(get(cache, 1, NOW) != NULL, "took two places");
    ia_chain_cache_free(cache);
}
END_TEST

START_TEST(cache_puts_out_the_one_unused_for_longest)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(4);
    for (unsigned i = 1; i <= 4; i++)
        put(cache, i);
    ck_assert(get(cache, 1, NOW) != NULL);
    put(cache, 5);
    ck_assert(!get(cache, 2, NOW));
    ck_assert(get(cache, 1, NOW) && get(cache, 3, NOW) && get(cache, 4, NOW) && get(cache, 5, NOW));
    ia_chain_cache_free(cache);
}
END_TEST

START_TEST(cache_of_nothing_keeps_nothing)
{
    struct ia_chain_cache *cache = ia_chain_cache_new(0);
    put(cache, 1);
    ck_assert(!get(cache, 1, NOW));
    ia_chain_cache_flush(cache);
    ia_chain_cache_free(cache);
    ck_assert(!ia_chain_cache_new(SIZE_MAX / 2));
    ia_chain_cache_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_cache");
    TCase *c = tcase_create("chain_cache");
    tcase_add_test(c, cache_gives_back_what_was_put_and_nothing_else);
    tcase_add_test(c, cache_never_gives_a_chain_past_its_end);
    tcase_add_test(c, cache_flush_forgets_all_and_goes_on);
    tcase_add_test(c, cache_keeps_good_chains_only);
    tcase_add_test(c, cache_replaces_a_chain_of_the_same_leaf);
    tcase_add_test(c, cache_puts_out_the_one_unused_for_longest);
    tcase_add_test(c, cache_of_nothing_keeps_nothing);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
