// SPDX-License-Identifier: ISC
#include "oauth/token_cache.h"

#include "fixture.h"
#include "mint.h"
#include "suite.h"

#include <string.h>

static struct ia_token_cache *cache_of(size_t max)
{
    struct ia_token_cache *cache = NULL;
    ck_assert_int_eq(ia_token_cache_new(max, &cache, NULL), IA_OK);
    return cache;
}

static char *token_of(unsigned app)
{
    char *payload = mint_text("{" CLAIMS ",\"client_id\":\"a%u\"}", app), *token = fixture_token(payload);
    free(payload);
    return token;
}

/* Verify through the cache at `now`; counts as a hit or not. */
static enum ia_reason verify_at(struct ia_token_cache *cache, struct ia_issuer_set *set, const char *token, int64_t now,
                                const void *cert, bool *hit)
{
    struct ia_token *made = NULL;
    struct ia_token_refusal refusal;
    uint64_t before = ia_token_cache_stats(cache).hits;
    enum ia_reason reason = fixture_verify_cached(cache, set, token, strlen(token), now, cert, &made, &refusal);
    ck_assert((made != NULL) == (reason == IA_R_NONE));
    ia_token_free(made);
    *hit = ia_token_cache_stats(cache).hits == before + 1;
    return reason;
}

START_TEST(second_time_is_from_memory)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(10);
    char *token = token_of(1);
    bool hit;
    ck_assert_int_eq(verify_at(cache, set, token, NOW, NULL, &hit), IA_R_NONE);
    ck_assert(!hit);
    ck_assert_int_eq(verify_at(cache, set, token, NOW, NULL, &hit), IA_R_NONE);
    ck_assert(hit);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(refused_token_is_not_kept)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(10);
    char *token = token_of(1);
    bool hit;
    token[strlen(token) - 5] ^= 1;
    for (int i = 0; i < 2; i++) {
        ck_assert(verify_at(cache, set, token, NOW, NULL, &hit) != IA_R_NONE);
        ck_assert(!hit);
    }
    ck_assert_uint_eq(ia_token_cache_stats(cache).entries, 0);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* The claims of a good token under a bad signature are another token. */
START_TEST(token_that_differs_in_its_signature_is_not_found)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(10);
    char *token = token_of(1);
    bool hit;
    verify_at(cache, set, token, NOW, NULL, &hit);
    char *last = strrchr(token, '.') + 1;
    *last = *last == 'A' ? 'B' : 'A';
    ck_assert_int_eq(verify_at(cache, set, token, NOW, NULL, &hit), IA_R_TOKEN_SIGNATURE);
    ck_assert(!hit);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(remembered_token_ends_with_exp_and_leeway)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(10);
    char *token = token_of(1);
    bool hit;
    verify_at(cache, set, token, NOW, NULL, &hit);
    ck_assert_int_eq(verify_at(cache, set, token, 1700000329, NULL, &hit), IA_R_NONE);
    ck_assert(hit);
    ck_assert_int_eq(verify_at(cache, set, token, 1700000330, NULL, &hit), IA_R_TOKEN_EXPIRED);
    ck_assert_uint_eq(ia_token_cache_stats(cache).entries, 0);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(remembered_token_is_judged_by_each_certificate)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(10);
    char *token = fixture_token("{" CLAIMS ",\"client_id\":\"a\",\"cnf\":{\"x5t#S256\":\"" X5T "\"}}");
    bool hit;
    ck_assert_int_eq(verify_at(cache, set, token, NOW, CERT, &hit), IA_R_NONE);
    ck_assert_int_eq(verify_at(cache, set, token, NOW, NULL, &hit), IA_R_TOKEN_UNBOUND);
    ck_assert(hit);
    ck_assert_int_eq(verify_at(cache, set, token, NOW, "another-certificate-of-32-bytes!", &hit), IA_R_TOKEN_UNBOUND);
    ck_assert_int_eq(verify_at(cache, set, token, NOW, CERT, &hit), IA_R_NONE);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(new_set_is_asked_before_memory_is_believed)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_issuer_set *set = fixture_one(spec), *same = fixture_one(spec);
    struct ia_token_cache *cache = cache_of(10);
    char *token = token_of(1);
    bool hit;
    verify_at(cache, set, token, NOW, NULL, &hit);
    ck_assert_int_eq(verify_at(cache, same, token, NOW, NULL, &hit), IA_R_NONE);
    ck_assert(hit); /* nothing that matters changed */
    spec.active = false;
    struct ia_issuer_set *disabled = fixture_one(spec);
    ck_assert_int_eq(verify_at(cache, disabled, token, NOW, NULL, &hit), IA_R_ISSUER_INACTIVE);
    ck_assert_int_eq(verify_at(cache, same, token, NOW, NULL, &hit), IA_R_NONE);
    ck_assert(!hit); /* it was dropped */
    spec = fixture_spec();
    spec.jwks = "{\"keys\":[]}";
    struct ia_issuer_set *keyless = fixture_one(spec);
    ck_assert_int_eq(verify_at(cache, keyless, token, NOW, NULL, &hit), IA_R_TOKEN_KEY_UNKNOWN);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
    ia_issuer_set_free(same);
    ia_issuer_set_free(disabled);
    ia_issuer_set_free(keyless);
}
END_TEST

START_TEST(token_of_another_leeway_is_verified_again)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token_cache *cache = cache_of(10);
    struct ia_token *made;
    struct ia_token_refusal refusal;
    char *token = token_of(1);
    bool hit;
    verify_at(cache, set, token, NOW, NULL, &hit);
    spec.leeway_s = 5;
    struct ia_issuer_set *newer = fixture_one(spec);
    ck_assert_int_eq(fixture_verify_cached(cache, newer, token, strlen(token), NOW, NULL, &made, &refusal), IA_R_NONE);
    ck_assert_int_eq(made->expires_at, 1700000305);
    ia_token_free(made);
    ia_token_cache_free(cache);
    free(token);
    ia_issuer_set_free(set);
    ia_issuer_set_free(newer);
}
END_TEST

START_TEST(full_cache_forgets_what_was_not_used_longest)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(3);
    char *tokens[4];
    bool hit;
    for (unsigned i = 0; i < 4; i++)
        tokens[i] = token_of(i);
    for (int i = 0; i < 3; i++)
        verify_at(cache, set, tokens[i], NOW, NULL, &hit);
    verify_at(cache, set, tokens[0], NOW, NULL, &hit); /* now 1 is the oldest */
    verify_at(cache, set, tokens[3], NOW, NULL, &hit);
    ck_assert_uint_eq(ia_token_cache_stats(cache).entries, 3);
    verify_at(cache, set, tokens[0], NOW, NULL, &hit);
    ck_assert(hit);
    verify_at(cache, set, tokens[2], NOW, NULL, &hit);
    ck_assert(hit);
    verify_at(cache, set, tokens[3], NOW, NULL, &hit);
    ck_assert(hit);
    verify_at(cache, set, tokens[1], NOW, NULL, &hit);
    ck_assert(!hit);
    for (int i = 0; i < 4; i++)
        free(tokens[i]);
    ia_token_cache_free(cache);
    ia_issuer_set_free(set);
}
END_TEST

/* Ten times as many tokens as it holds, twice over: it stays consistent and within its bound. */
START_TEST(cache_stays_within_its_bound)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token_cache *cache = cache_of(20);
    char *tokens[200];
    bool hit;
    for (unsigned i = 0; i < 200; i++)
        tokens[i] = token_of(i);
    for (unsigned i = 0; i < 400; i++) {
        ck_assert_int_eq(verify_at(cache, set, tokens[i % 200], NOW + (i % 7 == 0), NULL, &hit), IA_R_NONE);
        ck_assert_uint_le(ia_token_cache_stats(cache).entries, 20);
    }
    for (unsigned i = 180; i < 200; i++) {
        verify_at(cache, set, tokens[i], NOW, NULL, &hit);
        ck_assert(hit);
    }
    for (int i = 0; i < 200; i++)
        free(tokens[i]);
    ia_token_cache_free(cache);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(cache_of_nothing_is_refused)
{
    struct ia_token_cache *cache = NULL;
    struct ia_err err = {0};
    ck_assert_int_eq(ia_token_cache_new(0, &cache, &err), IA_USAGE);
    ck_assert_int_eq(ia_token_cache_new(IA_TOKEN_CACHE_MAX + 1, &cache, &err), IA_USAGE);
    ck_assert_ptr_null(cache);
    ia_token_cache_free(NULL);
}
END_TEST

int main(void)
{
    fixture_spec();
    Suite *s = suite_create("token_cache");
    TCase *c = tcase_create("token_cache");
    tcase_set_timeout(c, 20);
    tcase_add_test(c, second_time_is_from_memory);
    tcase_add_test(c, refused_token_is_not_kept);
    tcase_add_test(c, token_that_differs_in_its_signature_is_not_found);
    tcase_add_test(c, remembered_token_ends_with_exp_and_leeway);
    tcase_add_test(c, remembered_token_is_judged_by_each_certificate);
    tcase_add_test(c, new_set_is_asked_before_memory_is_believed);
    tcase_add_test(c, token_of_another_leeway_is_verified_again);
    tcase_add_test(c, full_cache_forgets_what_was_not_used_longest);
    tcase_add_test(c, cache_stays_within_its_bound);
    tcase_add_test(c, cache_of_nothing_is_refused);
    suite_add_tcase(s, c);
    return run_suite(s);
}
