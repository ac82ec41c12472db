// SPDX-License-Identifier: ISC
/* Every allocation of oauth/ fails once: nothing leaks, nothing is admitted, and the next attempt works. */
#include "fixture.h"
#include "mint.h"
#include "oauth/refresh.h"
#include "oauth/token_cache.h"
#include "suite.h"

#include <string.h>

#define MOST 2000 /* allocations that one call may take here */

static long left = -1; /* allocations until one fails; negative: none does */
static bool came;      /* did the failure come? */

/* The linker gives our objects these (--wrap); OpenSSL and jansson keep the real ones. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
    if (left < 0)
        return false;
    return left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

/* To be called right after what is tested: check's own allocations are not. */
static void disarm(void)
{
    came = left < 0;
    left = -1;
}

/* Run step(ctx) with the first, second, … allocation failing until none does; how many attempts failed. */
static long fail_each(bool (*step)(void *ctx), void *ctx)
{
    for (long n = 0; n < MOST; n++) {
        left = n;
        bool done = step(ctx);
        if (!came) {
            ck_assert(done);
            return n;
        }
        ck_assert_msg(!done, "allocation %ld failed without any effect", n);
    }
    ck_abort_msg("it never succeeds");
}

static bool build(void *ctx)
{
    struct ia_issuer_set *set = NULL;
    enum ia_rc rc = ia_issuer_set_build(ctx, 1, NULL, &set, NULL);
    disarm();
    ck_assert((rc == IA_OK) == (set != NULL));
    ck_assert(rc == IA_OK || rc == IA_NOMEM);
    ia_issuer_set_free(set);
    return rc == IA_OK;
}

START_TEST(issuer_set_is_built_whole_or_not_at_all)
{
    struct ia_scope_role map[] = {{"read", "viewer"}, {"write", "editor"}};
    struct ia_issuer_spec spec = fixture_spec();
    spec.tenant = "acme";
    spec.app_id_claim = "/ext/app";
    spec.scopes = map;
    spec.n_scopes = 2;
    ck_assert_int_gt(fail_each(build, &spec), 20);
}
END_TEST

struct presented {
    struct ia_issuer_set *set;
    struct ia_token_cache *cache;
    const char *token;
};

static bool verify(void *ctx)
{
    struct presented *p = ctx;
    struct ia_token *token = NULL;
    struct ia_token_refusal refusal;
    enum ia_reason reason = fixture_verify_at(p->set, p->token, strlen(p->token), NOW, NULL, &token, &refusal);
    disarm();
    ck_assert((reason == IA_R_NONE) == (token != NULL));
    ck_assert(reason == IA_R_NONE || reason == IA_R_INTERNAL);
    ia_token_free(token);
    return reason == IA_R_NONE;
}

static bool verify_cached(void *ctx)
{
    struct presented *p = ctx;
    struct ia_token *token = NULL;
    struct ia_token_refusal refusal;
    enum ia_reason reason =
        fixture_verify_cached(p->cache, p->set, p->token, strlen(p->token), NOW, NULL, &token, &refusal);
    disarm();
    ck_assert((reason == IA_R_NONE) == (token != NULL));
    ia_token_free(token);
    return reason == IA_R_NONE;
}

START_TEST(token_is_refused_without_memory)
{
    struct presented p = {.set = fixture_one(fixture_spec())};
    char *token = fixture_token("{" CLAIMS ",\"client_id\":\"a\",\"scope\":\"read\"}");
    p.token = token;
    ck_assert_int_eq(fail_each(verify, &p), 2); /* the decoded text, and the token kept */
    ck_assert_int_eq(ia_token_cache_new(10, &p.cache, NULL), IA_OK);
    ck_assert_int_eq(fail_each(verify_cached, &p), 2);
    ck_assert_uint_eq(ia_token_cache_stats(p.cache).entries, 1);
    ia_token_cache_free(p.cache);
    ia_issuer_set_free(p.set);
    free(token);
}
END_TEST

static bool make_cache(void *ctx)
{
    struct ia_token_cache *cache = NULL;
    (void)ctx;
    enum ia_rc rc = ia_token_cache_new(10, &cache, NULL);
    disarm();
    ck_assert((rc == IA_OK) == (cache != NULL));
    ia_token_cache_free(cache);
    return rc == IA_OK;
}

START_TEST(cache_is_made_whole_or_not_at_all)
{
    ck_assert_int_eq(fail_each(make_cache, NULL), 2);
}
END_TEST

static bool configure(void *ctx)
{
    static const struct ia_refresh_source sources[] = {{"a", "https://a.example", NULL},
                                                       {"b", "https://b.example", "https://b.example/jwks"}};
    enum ia_rc rc = ia_refresh_configure(ctx, sources, 2, (struct ia_refresh_time){0}, NULL);
    disarm();
    return rc == IA_OK;
}

START_TEST(refresh_keeps_its_list_without_memory)
{
    struct ia_refresh *refresh = ia_refresh_new(&(struct ia_refresh_options){0});
    ck_assert_int_eq(fail_each(configure, refresh), 1 + 2 + 3);
    ck_assert_int_eq(ia_refresh_wait_ms(refresh, 0), 0);
    ck_assert_int_eq(fail_each(configure, refresh), 1 + 2 + 3);
    ia_refresh_free(refresh);
}
END_TEST

int main(void)
{
    fixture_spec();
    Suite *s = suite_create("oauth_memory");
    TCase *c = tcase_create("oauth_memory");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, issuer_set_is_built_whole_or_not_at_all);
    tcase_add_test(c, token_is_refused_without_memory);
    tcase_add_test(c, cache_is_made_whole_or_not_at_all);
    tcase_add_test(c, refresh_keeps_its_list_without_memory);
    suite_add_tcase(s, c);
    return run_suite(s);
}
