// SPDX-License-Identifier: ISC
#include "oauth/refresh.h"

#include "idp.h"
#include "mint.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

/* The clock is the test's own; only the transport is real. */
struct bench {
    struct idp *idp;
    struct ia_fetcher *fetcher;
    struct ia_refresh *refresh;
    int64_t now;
    unsigned taken, changed;
    char *url;
};

static void on_done(void *ctx, const struct ia_fetch_result *result)
{
    struct bench *b = ctx;
    b->taken++;
    b->changed += ia_refresh_accept(b->refresh, result, b->now);
}

/* Start what is due and see it through; how many fetches that were. */
static unsigned step(struct bench *b)
{
    unsigned before = b->taken;
    ia_refresh_run(b->refresh, b->fetcher, b->now);
    idp_finish_fetches(b->fetcher);
    return b->taken - before;
}

static void configure(struct bench *b, const char *url)
{
    struct ia_refresh_source source = {"idp", "https://idp.example", url};
    ck_assert_int_eq(ia_refresh_configure(b->refresh, &source, url ? 1 : 0, b->now, NULL), IA_OK);
}

static void serve_keys(struct bench *b, enum ia_key_type type)
{
    char *jwks = mint_jwks(mint_key(type, 0), "k1");
    idp_serve_body(b->idp, "/jwks", "Cache-Control: max-age=600\r\n", jwks);
    free(jwks);
}

static struct bench begin(void)
{
    struct bench b = {.idp = idp_start(false), .refresh = ia_refresh_new(), .now = 1000000};
    ck_assert_ptr_nonnull(b.refresh);
    b.url = mint_text("http://127.0.0.1:%d/jwks", idp_port(b.idp));
    serve_keys(&b, IA_KEY_ED25519);
    return b;
}

static void connect_fetcher(struct bench *b)
{
    struct ia_fetch_options options = {0};
    ck_assert_int_eq(ia_fetcher_new(&options, on_done, b, &b->fetcher, NULL), IA_OK);
    configure(b, b->url);
}

static void end(struct bench *b)
{
    ia_fetcher_free(b->fetcher);
    ia_refresh_free(b->refresh);
    idp_stop(b->idp);
    free(b->url);
}

START_TEST(new_source_is_fetched_at_once_and_by_max_age)
{
    struct bench b = begin();
    connect_fetcher(&b);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_int_eq(ia_refresh_wait_ms(b.refresh, b.now), 0);
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_uint_eq(b.changed, 1);
    ck_assert_ptr_nonnull(strstr(ia_refresh_jwks(b.refresh, "idp"), "\"k1\""));
    ck_assert_str_eq(ia_refresh_problem(b.refresh, "idp"), "");
    ck_assert_int_eq(ia_refresh_wait_ms(b.refresh, b.now), 600000);
    b.now += 599999;
    ck_assert_uint_eq(step(&b), 0);
    b.now += 1;
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_uint_eq(b.changed, 1); /* the same keys: nothing to rebuild */
    end(&b);
}
END_TEST

START_TEST(unknown_kids_cost_one_fetch_in_ten_seconds)
{
    struct bench b = begin();
    connect_fetcher(&b);
    step(&b);
    for (int ms = 0; ms < 30000; ms += 10) { /* a storm of attackers' tokens for half a minute */
        b.now += 10;
        ia_refresh_request(b.refresh, "idp", b.now);
        step(&b);
    }
    ck_assert_uint_eq(idp_requests(b.idp, "/jwks"), 1 + 3);
    end(&b);
}
END_TEST

START_TEST(unknown_kid_after_a_while_is_fetched_at_once)
{
    struct bench b = begin();
    connect_fetcher(&b);
    step(&b);
    b.now += IA_REFRESH_GAP_MS;
    serve_keys(&b, IA_KEY_P256); /* the provider changed its keys */
    ck_assert_uint_eq(step(&b), 0);
    ia_refresh_request(b.refresh, "idp", b.now);
    ck_assert_int_eq(ia_refresh_wait_ms(b.refresh, b.now), 0);
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_uint_eq(b.changed, 2);
    ck_assert_ptr_nonnull(strstr(ia_refresh_jwks(b.refresh, "idp"), "P-256"));
    end(&b);
}
END_TEST

START_TEST(one_fetch_at_a_time)
{
    struct bench b = begin();
    connect_fetcher(&b);
    ia_refresh_run(b.refresh, b.fetcher, b.now);
    ck_assert_int_eq(ia_refresh_wait_ms(b.refresh, b.now), -1);
    for (int i = 0; i < 20; i++) {
        b.now += 1000;
        ia_refresh_request(b.refresh, "idp", b.now);
        ia_refresh_run(b.refresh, b.fetcher, b.now);
        ck_assert_uint_eq(ia_fetcher_busy(b.fetcher), 1);
    }
    idp_finish_fetches(b.fetcher);
    ck_assert_uint_eq(b.taken, 1);
    end(&b);
}
END_TEST

/* Answers of a provider that is out of order. */
static const char *const no_key_set[] = {"<html>maintenance</html>", "{}", "{\"keys\":[]}", "",
                                         "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k1\",\"k\":\"AA\"}]}"};

START_TEST(other_answers_leave_the_last_good_set)
{
    struct bench b = begin();
    connect_fetcher(&b);
    step(&b);
    idp_serve_body(b.idp, "/jwks", "", no_key_set[_i]);
    b.now += 600000;
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_uint_eq(b.changed, 1);
    ck_assert_ptr_nonnull(strstr(ia_refresh_jwks(b.refresh, "idp"), "\"k1\""));
    ck_assert_str_ne(ia_refresh_problem(b.refresh, "idp"), "");
    serve_keys(&b, IA_KEY_ED25519);
    b.now += ia_refresh_wait_ms(b.refresh, b.now);
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_str_eq(ia_refresh_problem(b.refresh, "idp"), "");
    end(&b);
}
END_TEST

START_TEST(failures_are_retried_less_and_less_often)
{
    struct bench b = begin();
    connect_fetcher(&b);
    idp_serve(b.idp, "/jwks", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    int64_t last = 0;
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_eq(step(&b), 1);
        ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "HTTP status 503"));
        int64_t wait = ia_refresh_wait_ms(b.refresh, b.now);
        ck_assert_int_ge(wait, IA_REFRESH_GAP_MS);
        ck_assert_int_ge(wait, last);
        ck_assert_int_le(wait, IA_REFRESH_BACKOFF_MAX * 5 / 4);
        last = wait;
        b.now += wait;
    }
    ck_assert_int_ge(last, IA_REFRESH_BACKOFF_MAX);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    end(&b);
}
END_TEST

START_TEST(url_that_may_not_be_fetched_is_a_problem)
{
    struct bench b = begin();
    connect_fetcher(&b);
    configure(&b, "http://idp.example/jwks");
    ck_assert_uint_eq(step(&b), 0);
    ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "plain http"));
    ck_assert_int_gt(ia_refresh_wait_ms(b.refresh, b.now), 0);
    end(&b);
}
END_TEST

START_TEST(other_url_drops_the_old_keys_and_an_answer_under_way)
{
    struct bench b = begin();
    connect_fetcher(&b);
    step(&b);
    configure(&b, b.url);
    ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp")); /* nothing changed, nothing is lost */
    b.now += 600000;
    ia_refresh_run(b.refresh, b.fetcher, b.now);
    char *other = mint_text("%s2", b.url);
    configure(&b, other);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    ia_refresh_run(b.refresh, b.fetcher, b.now); /* the old fetch is still under way */
    idp_finish_fetches(b.fetcher);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    b.now += ia_refresh_wait_ms(b.refresh, b.now);
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "/jwks2: HTTP status 404"));
    free(other);
    end(&b);
}
END_TEST

START_TEST(removed_source_is_forgotten)
{
    struct bench b = begin();
    connect_fetcher(&b);
    step(&b);
    configure(&b, NULL);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_str_eq(ia_refresh_problem(b.refresh, "idp"), "");
    ia_refresh_request(b.refresh, "idp", b.now);
    ck_assert_int_eq(ia_refresh_wait_ms(b.refresh, b.now), -1);
    end(&b);
}
END_TEST

START_TEST(more_sources_than_fit_at_once_are_all_fetched)
{
    struct bench b = begin();
    connect_fetcher(&b);
    struct ia_refresh_source sources[3 * IA_FETCH_AT_ONCE];
    char names[3 * IA_FETCH_AT_ONCE][16];
    for (int i = 0; i < ROWS(sources); i++) {
        snprintf(names[i], sizeof names[i], "idp%d", i);
        sources[i] = (struct ia_refresh_source){names[i], "https://idp.example", b.url};
    }
    ck_assert_int_eq(ia_refresh_configure(b.refresh, sources, ROWS(sources), b.now, NULL), IA_OK);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(step(&b), IA_FETCH_AT_ONCE);
        b.now += ia_refresh_wait_ms(b.refresh, b.now);
    }
    for (int i = 0; i < ROWS(sources); i++)
        ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, names[i]));
    end(&b);
}
END_TEST

int main(void)
{
    mint_key(IA_KEY_ED25519, 0);
    mint_key(IA_KEY_P256, 0);
    Suite *s = suite_create("refresh");
    TCase *c = tcase_create("refresh");
    tcase_set_timeout(c, 20);
    tcase_add_test(c, new_source_is_fetched_at_once_and_by_max_age);
    tcase_add_test(c, unknown_kids_cost_one_fetch_in_ten_seconds);
    tcase_add_test(c, unknown_kid_after_a_while_is_fetched_at_once);
    tcase_add_test(c, one_fetch_at_a_time);
    tcase_add_loop_test(c, other_answers_leave_the_last_good_set, 0, ROWS(no_key_set));
    tcase_add_test(c, failures_are_retried_less_and_less_often);
    tcase_add_test(c, url_that_may_not_be_fetched_is_a_problem);
    tcase_add_test(c, other_url_drops_the_old_keys_and_an_answer_under_way);
    tcase_add_test(c, removed_source_is_forgotten);
    tcase_add_test(c, more_sources_than_fit_at_once_are_all_fetched);
    suite_add_tcase(s, c);
    return run_suite(s);
}
