// SPDX-License-Identifier: ISC
#include "oauth/refresh.h"

#include "idp.h"
#include "mint.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The clock is the test's own; transport and files are real. */
struct bench {
    struct idp *idp;
    struct ia_fetcher *fetcher;
    struct ia_refresh *refresh;
    int64_t now;
    unsigned taken, changed;
    char *url;
    char dir[32]; /* of the key store; "" without one */
    struct ia_key_store *store;
    int64_t stale_max_s;
};

#define WALL_S 1700000000 /* at 0 ms */

static struct ia_refresh_time at(const struct bench *b)
{
    return (struct ia_refresh_time){.ms = b->now, .wall_s = WALL_S + b->now / 1000};
}

static void on_done(void *ctx, const struct ia_fetch_result *result)
{
    struct bench *b = ctx;
    b->taken++;
    b->changed += ia_refresh_accept(b->refresh, result, at(b));
}

/* Start what is due and see it through; how many fetches that were. */
static unsigned step(struct bench *b)
{
    unsigned before = b->taken;
    b->changed += ia_refresh_run(b->refresh, b->fetcher, b->now);
    idp_finish_fetches(b->fetcher);
    return b->taken - before;
}

static void configure(struct bench *b, const char *url)
{
    struct ia_refresh_source source = {"idp", "https://idp.example", url};
    ck_assert_int_eq(ia_refresh_configure(b->refresh, &source, url ? 1 : 0, at(b), NULL), IA_OK);
}

static void serve_keys(struct bench *b, enum ia_key_type type)
{
    char *jwks = mint_jwks(mint_key(type, 0), "k1");
    idp_serve_body(b->idp, "/jwks", "Cache-Control: max-age=600\r\n", jwks);
    free(jwks);
}

static struct bench begin(void)
{
    struct bench b = {
        .idp = idp_start(false), .refresh = ia_refresh_new(&(struct ia_refresh_options){0}), .now = 1000000};
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
    ia_key_store_free(b->store);
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
static const char *const no_key_set[] = {"<html>maintenance</html>", "{}", "",
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
    ck_assert_int_eq(ia_refresh_configure(b.refresh, sources, ROWS(sources), at(&b), NULL), IA_OK);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(step(&b), IA_FETCH_AT_ONCE);
        b.now += ia_refresh_wait_ms(b.refresh, b.now);
    }
    for (int i = 0; i < ROWS(sources); i++)
        ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, names[i]));
    end(&b);
}
END_TEST

START_TEST(empty_set_withdraws_the_keys)
{
    struct bench b = begin();
    connect_fetcher(&b);
    step(&b);
    idp_serve_body(b.idp, "/jwks", "", "{ \"keys\" : [ ] }");
    b.now += 600000;
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_uint_eq(b.changed, 2);
    ck_assert_str_eq(ia_refresh_jwks(b.refresh, "idp"), "{ \"keys\" : [ ] }");
    serve_keys(&b, IA_KEY_P256);
    b.now += ia_refresh_wait_ms(b.refresh, b.now);
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_ptr_nonnull(strstr(ia_refresh_jwks(b.refresh, "idp"), "P-256"));
    end(&b);
}
END_TEST

/* ---- the age of keys, and a restart */

/* As a broker that was restarted, at the same moment. */
static void restart(struct bench *b)
{
    const struct ia_refresh_options options = {.stale_max_s = b->stale_max_s, .store = b->store};
    ia_refresh_free(b->refresh);
    b->refresh = ia_refresh_new(&options);
    b->changed = b->taken = 0;
    configure(b, b->url);
}

/* With a store, and keys that were fetched and stored just now. */
static struct bench begin_stored(int64_t stale_max_s)
{
    struct bench b = begin();
    b.stale_max_s = stale_max_s;
    strcpy(b.dir, "/tmp/ia-keys-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(b.dir));
    ck_assert_int_eq(ia_key_store_open(b.dir, &b.store, NULL), IA_OK);
    return b;
}

static void fetch_first(struct bench *b)
{
    connect_fetcher(b);
    restart(b);
    ck_assert_uint_eq(step(b), 1);
    ck_assert_str_eq(ia_refresh_problem(b->refresh, "idp"), "");
}

static char *stored_path(const struct bench *b)
{
    return mint_text("%s/jwks-idp.json", b->dir);
}

static void fail_provider(struct bench *b)
{
    idp_serve(b->idp, "/jwks", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
}

static void end_stored(struct bench *b)
{
    char *path = stored_path(b);
    unlink(path);
    ck_assert_msg(rmdir(b->dir) == 0, "%s is not empty", b->dir);
    free(path);
    end(b);
}

START_TEST(keys_get_too_old_and_come_back)
{
    struct bench b = begin_stored(3600);
    fetch_first(&b);
    fail_provider(&b);
    int64_t fetched = b.now;
    while (b.now < fetched + 3600000) {
        ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp"));
        step(&b);
        int64_t wait = ia_refresh_wait_ms(b.refresh, b.now);
        ck_assert_int_gt(wait, 0);
        b.now += wait;
    }
    ck_assert_int_eq(b.now, fetched + 3600000); /* woken for that very moment */
    step(&b);
    ck_assert_uint_eq(b.changed, 2);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "older than jwks_stale_max_s"));
    restart(&b); /* the file is too old as well */
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "older than jwks_stale_max_s"));
    serve_keys(&b, IA_KEY_ED25519);
    b.now += ia_refresh_wait_ms(b.refresh, b.now);
    ck_assert_uint_eq(step(&b), 1);
    ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_str_eq(ia_refresh_problem(b.refresh, "idp"), "");
    end_stored(&b);
}
END_TEST

START_TEST(without_a_limit_keys_stay)
{
    struct bench b = begin_stored(0);
    fetch_first(&b);
    fail_provider(&b);
    b.now += 10LL * 365 * 86400 * 1000;
    step(&b);
    ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp"));
    end_stored(&b);
}
END_TEST

START_TEST(keys_survive_a_restart_with_their_age)
{
    struct bench b = begin_stored(3600);
    fetch_first(&b);
    fail_provider(&b);
    b.now += 3000000;
    restart(&b);
    ck_assert_ptr_nonnull(strstr(ia_refresh_jwks(b.refresh, "idp"), "\"k1\""));
    ck_assert_int_eq(ia_refresh_wait_ms(b.refresh, b.now), 0); /* fetched again at once all the same */
    step(&b);
    ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "HTTP status 503"));
    b.now += 600000;
    step(&b);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp")); /* an hour after they were fetched, not after the restart */
    end_stored(&b);
}
END_TEST

START_TEST(withdrawn_keys_stay_withdrawn_over_a_restart)
{
    struct bench b = begin_stored(3600);
    fetch_first(&b);
    idp_serve_body(b.idp, "/jwks", "", "{\"keys\":[]}");
    b.now += 600000;
    step(&b);
    fail_provider(&b);
    restart(&b);
    ck_assert_str_eq(ia_refresh_jwks(b.refresh, "idp"), "{\"keys\":[]}");
    end_stored(&b);
}
END_TEST

START_TEST(same_keys_are_stored_again_with_their_new_age)
{
    struct bench b = begin_stored(3600);
    fetch_first(&b);
    for (int i = 0; i < 5; i++) {
        b.now += 1200000;
        ck_assert_uint_eq(step(&b), 1);
    }
    fail_provider(&b);
    b.now += 3000000;
    restart(&b);
    ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp"));
    end_stored(&b);
}
END_TEST

START_TEST(removed_source_leaves_no_file)
{
    struct bench b = begin_stored(3600);
    fetch_first(&b);
    char *path = stored_path(&b);
    ck_assert_int_eq(access(path, R_OK), 0);
    configure(&b, NULL);
    ck_assert_int_ne(access(path, F_OK), 0);
    free(path);
    end_stored(&b);
}
END_TEST

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
    ck_assert_int_eq(chmod(path, mode), 0);
}

#define STORED(url, at, keys)                                                                                          \
    "{\"version\":1,\"issuer\":\"https://idp.example\",\"jwks_url\":\"" url "\",\"fetched_at\":" at                    \
    ",\"jwks\":\"" keys "\"}"
#define KEYS "{\\\"keys\\\":[]}"
#define URL  "http://127.0.0.1:9/jwks"

/* What may stand in the file; which of it is used. */
static const struct {
    const char *label, *text;
    mode_t mode;
    bool used;
    const char *problem;
} files[] = {
    {"fine", STORED(URL, "1700000900", KEYS), 0600, true, ""},
    {"readable by all", STORED(URL, "1700000900", KEYS), 0644, true, ""},
    {"writable by the group", STORED(URL, "1700000900", KEYS), 0620, false, "only the broker's user"},
    {"writable by all", STORED(URL, "1700000900", KEYS), 0602, false, "only the broker's user"},
    {"from another URL", STORED("https://evil.example/jwks", "1700000900", KEYS), 0600, false, ""},
    {"empty", "", 0600, false, "is not JSON"},
    {"cut off", "{\"version\":1,\"issuer\":\"https://idp.ex", 0600, false, "is not JSON"},
    {"no keys", "{\"version\":1}", 0600, false, "not in the format"},
    {"another version", "{\"version\":2,\"issuer\":\"https://idp.example\",\"fetched_at\":1,\"jwks\":\"x\"}", 0600,
     false, "not in the format"},
    {"from the future", STORED(URL, "1700009999", KEYS), 0600, false, "in the future"},
    {"age is a text", STORED(URL, "\"1700000900\"", KEYS), 0600, false, "not in the format"},
    {"too old", STORED(URL, "1699990000", KEYS), 0600, false, "older than"},
    {"no key set", STORED(URL, "1700000900", "<html>"), 0600, false, "JWK set"},
    {"a set without a usable key", STORED(URL, "1700000900", "{\\\"keys\\\":[{\\\"kty\\\":\\\"oct\\\"}]}"), 0600, false,
     "no key"},
    {"a member twice", "{\"version\":1,\"version\":1}", 0600, false, "two members"},
};

START_TEST(stored_file_rows_decide_as_listed)
{
    struct bench b = begin_stored(3600);
    char *path = stored_path(&b);
    free(b.url);
    b.url = mint_text("%s", URL);
    write_file(path, files[_i].text, files[_i].mode);
    restart(&b);
    const char *problem = ia_refresh_problem(b.refresh, "idp");
    ck_assert_msg((ia_refresh_jwks(b.refresh, "idp") != NULL) == files[_i].used, "%s: %s", files[_i].label, problem);
    ck_assert_msg(*files[_i].problem ? strstr(problem, files[_i].problem) != NULL : !*problem, "%s: %s",
                  files[_i].label, problem);
    free(path);
    end_stored(&b);
}
END_TEST

START_TEST(link_to_another_file_is_not_followed)
{
    struct bench b = begin_stored(3600);
    char *path = stored_path(&b), *elsewhere = mint_text("%s-elsewhere", b.dir);
    fetch_first(&b);
    ck_assert_int_eq(rename(path, elsewhere), 0);
    ck_assert_int_eq(symlink(elsewhere, path), 0);
    restart(&b);
    ck_assert_ptr_null(ia_refresh_jwks(b.refresh, "idp"));
    unlink(elsewhere);
    free(elsewhere);
    free(path);
    end_stored(&b);
}
END_TEST

START_TEST(stored_file_is_private_and_replaced_at_once)
{
    struct bench b = begin_stored(3600);
    struct stat st;
    char *path = stored_path(&b);
    mode_t before = umask(0);
    fetch_first(&b);
    umask(before);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ino_t first = st.st_ino;
    int held = open(path, O_RDONLY); /* or its number could be used again */
    serve_keys(&b, IA_KEY_P256);
    b.now += 600000;
    step(&b);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(st.st_ino != first);
    close(held);
    free(path);
    end_stored(&b);
}
END_TEST

START_TEST(keys_that_cannot_be_stored_are_used_and_a_problem)
{
    struct bench b = begin_stored(3600);
    char *path = stored_path(&b);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* where the file belongs */
    connect_fetcher(&b);
    restart(&b);
    step(&b);
    ck_assert_ptr_nonnull(ia_refresh_jwks(b.refresh, "idp"));
    ck_assert_ptr_nonnull(strstr(ia_refresh_problem(b.refresh, "idp"), "cannot be stored"));
    rmdir(path);
    free(path);
    end_stored(&b);
}
END_TEST

START_TEST(name_cannot_lead_out_of_the_directory)
{
    struct bench b = begin_stored(3600);
    static const char *const names[] = {"../x", "a/b", "", "a b"};
    struct ia_err err = {0};
    for (int i = 0; i < ROWS(names); i++) {
        const struct ia_refresh_source source = {names[i], "https://idp.example", NULL};
        ck_assert_int_eq(ia_key_store_save(b.store, &source, "{}", WALL_S, &err), IA_USAGE);
        ia_key_store_remove(b.store, names[i]);
    }
    end_stored(&b);
}
END_TEST

START_TEST(directory_must_be_private)
{
    struct ia_key_store *store = NULL;
    struct ia_err err = {0};
    char dir[] = "/tmp/ia-keys-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chmod(dir, 0770), 0);
    ck_assert_int_eq(ia_key_store_open(dir, &store, &err), IA_USAGE);
    ck_assert_ptr_nonnull(strstr(err.msg, "state_dir"));
    ck_assert_int_eq(ia_key_store_open("/nowhere/at/all", &store, &err), IA_USAGE);
    ck_assert_int_eq(ia_key_store_open("/etc/passwd", &store, &err), IA_USAGE);
    ck_assert_int_eq(chmod(dir, 01777), 0); /* anybody could add a file */
    ck_assert_int_eq(ia_key_store_open(dir, &store, &err), IA_USAGE);
    ck_assert_ptr_null(store);
    ck_assert_int_eq(chmod(dir, 0700), 0);
    ck_assert_int_eq(ia_key_store_open(dir, &store, &err), IA_OK);
    ia_key_store_free(store);
    rmdir(dir);
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
    tcase_add_test(c, empty_set_withdraws_the_keys);
    tcase_add_test(c, keys_get_too_old_and_come_back);
    tcase_add_test(c, without_a_limit_keys_stay);
    tcase_add_test(c, keys_survive_a_restart_with_their_age);
    tcase_add_test(c, withdrawn_keys_stay_withdrawn_over_a_restart);
    tcase_add_test(c, same_keys_are_stored_again_with_their_new_age);
    tcase_add_test(c, removed_source_leaves_no_file);
    tcase_add_loop_test(c, stored_file_rows_decide_as_listed, 0, ROWS(files));
    tcase_add_test(c, link_to_another_file_is_not_followed);
    tcase_add_test(c, stored_file_is_private_and_replaced_at_once);
    tcase_add_test(c, keys_that_cannot_be_stored_are_used_and_a_problem);
    tcase_add_test(c, name_cannot_lead_out_of_the_directory);
    tcase_add_test(c, directory_must_be_private);
    suite_add_tcase(s, c);
    return run_suite(s);
}
