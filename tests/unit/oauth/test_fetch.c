// SPDX-License-Identifier: ISC
#include "oauth/fetch.h"

#include "idp.h"
#include "mint.h"
#include "oauth/fetch_url.h"
#include "suite.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The last result, copied. */
static struct {
    unsigned n;
    bool good;
    char name[64], body[1024], problem[1024];
    int max_age_s;
} got;

static void on_done(void *ctx, const struct ia_fetch_result *result)
{
    (void)ctx;
    got.n++;
    got.good = result->body;
    got.max_age_s = result->max_age_s;
    snprintf(got.name, sizeof got.name, "%s", result->name);
    snprintf(got.body, sizeof got.body, "%s", result->body ? result->body : "");
    snprintf(got.problem, sizeof got.problem, "%s", result->problem);
    ck_assert((result->body == NULL) == (result->problem[0] != '\0'));
}

static struct ia_fetcher *fetcher_of(const char *ca_file, bool insecure_http)
{
    struct ia_fetcher *fetcher = NULL;
    struct ia_fetch_options options = {ca_file, insecure_http};
    memset(&got, 0, sizeof got);
    ck_assert_int_eq(ia_fetcher_new(&options, on_done, NULL, &fetcher, NULL), IA_OK);
    return fetcher;
}

static void fetch(struct ia_fetcher *fetcher, const char *issuer, const char *jwks_url)
{
    struct ia_err err = {0};
    unsigned before = got.n;
    ck_assert_msg(ia_fetcher_start(fetcher, "idp", issuer, jwks_url, &err) == IA_OK, "%s", err.msg);
    idp_finish_fetches(fetcher);
    ck_assert_uint_eq(got.n, before + 1);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}

static char *url(const struct idp *idp, const char *scheme, const char *host, const char *path)
{
    return mint_text("%s://%s:%d%s", scheme, host, idp_port(idp), path);
}

#define SET "{\"keys\":[]}"

START_TEST(key_set_is_fetched_with_its_max_age)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/jwks");
    idp_serve_body(idp, "/jwks", "Cache-Control: public, max-age=600\r\n", SET);
    fetch(fetcher, "x", at);
    ck_assert_str_eq(got.name, "idp");
    ck_assert_str_eq(got.body, SET);
    ck_assert_int_eq(got.max_age_s, 600);
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

/* SET compressed. */
#define GZIP                                                                                                           \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\xca\x4e\xad\x2c\x56\xb2\x8a\x8e\xad\x05\x00\xef\x67\x88\x2a\x0b\x00\x00\x00"
#define ZLIB        "\x78\x9c\xab\x56\xca\x4e\xad\x2c\x56\xb2\x8a\x8e\xad\x05\x00\x17\x6e\x03\xeb"
#define DEFLATE     "\xab\x56\xca\x4e\xad\x2c\x56\xb2\x8a\x8e\xad\x05\x00"
#define BYTES(text) text, sizeof text - 1

static const struct {
    const char *label, *headers, *body;
    size_t len;
    const char *problem; /* "" : decoded to SET */
} encodings[] = {
    {"none", "", BYTES(SET), ""},
    {"identity", "Content-Encoding: identity\r\n", BYTES(SET), ""},
    {"gzip", "Content-Encoding: gzip\r\n", BYTES(GZIP), ""},
    {"x-gzip in another case", "content-encoding: X-GZIP\r\n", BYTES(GZIP), ""},
    {"deflate, as the RFC says", "Content-Encoding: deflate\r\n", BYTES(ZLIB), ""},
    {"deflate, as some servers do", "Content-Encoding: deflate\r\n", BYTES(DEFLATE), ""},
    {"gzip that is none", "Content-Encoding: gzip\r\n", BYTES(SET), "/jwks: "},
    {"unknown", "Content-Encoding: compress\r\n", BYTES(GZIP), "/jwks: "},
};

START_TEST(encoding_rows_decide_as_listed)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/jwks");
    idp_serve_bytes(idp, "/jwks", encodings[_i].headers, encodings[_i].body, encodings[_i].len);
    fetch(fetcher, "x", at);
    if (*encodings[_i].problem)
        ck_assert_msg(strstr(got.problem, encodings[_i].problem), "%s: %s", encodings[_i].label, got.problem);
    else
        ck_assert_msg(strcmp(got.body, SET) == 0, "%s: '%s' %s", encodings[_i].label, got.body, got.problem);
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

/* 16 MB of blanks are 16 KB in gzip: the bound holds for what is decoded. */
START_TEST(compressed_set_is_bounded_by_its_decoded_bytes)
{
    static char body[65536];
    FILE *pipe = popen("head -c 16777216 /dev/zero | tr '\\0' ' ' | gzip -9", "r");
    ck_assert_ptr_nonnull(pipe);
    size_t len = fread(body, 1, sizeof body, pipe);
    pclose(pipe);
    ck_assert_uint_gt(len, 10000);
    ck_assert_uint_lt(len, sizeof body);
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/jwks");
    idp_serve_bytes(idp, "/jwks", "Content-Encoding: gzip\r\n", body, len);
    fetch(fetcher, "x", at);
    ck_assert(!got.good);
    ck_assert_ptr_nonnull(strstr(got.problem, "too long"));
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

START_TEST(https_needs_a_certificate_of_a_trusted_ca)
{
    struct idp *idp = idp_start(true);
    char *at = url(idp, "https", "localhost", "/jwks"), *elsewhere = url(idp, "https", "127.0.0.1", "/jwks");
    idp_serve_body(idp, "/jwks", "", SET);
    struct ia_fetcher *trusting = fetcher_of(idp_ca_file(idp), false);
    fetch(trusting, "x", at);
    ck_assert_msg(got.good, "%s", got.problem);
    fetch(trusting, "x", elsewhere); /* the certificate is for localhost */
    ck_assert(!got.good);
    ia_fetcher_free(trusting);
    struct ia_fetcher *system = fetcher_of(NULL, true); /* insecure_http is about http alone */
    fetch(system, "x", at);
    ck_assert(!got.good);
    ck_assert_ptr_nonnull(strstr(got.problem, "certificate"));
    ia_fetcher_free(system);
    free(at);
    free(elsewhere);
    idp_stop(idp);
}
END_TEST

START_TEST(redirect_to_plain_http_is_refused)
{
    struct idp *idp = idp_start(false), *tls = idp_start(true);
    struct ia_fetcher *fetcher = fetcher_of(idp_ca_file(tls), false);
    char *at = url(tls, "https", "localhost", "/jwks"), *plain = url(idp, "http", "127.0.0.1", "/jwks");
    char *moved = mint_text("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", plain);
    idp_serve(tls, "/jwks", moved);
    idp_serve_body(idp, "/jwks", "", SET);
    fetch(fetcher, "x", at);
    ck_assert(!got.good);
    ck_assert_uint_eq(idp_requests(idp, "/jwks"), 0);
    ia_fetcher_free(fetcher);
    free(at);
    free(plain);
    free(moved);
    idp_stop(idp);
    idp_stop(tls);
}
END_TEST

START_TEST(redirects_over_https_are_followed_three_times)
{
    struct idp *idp = idp_start(true);
    struct ia_fetcher *fetcher = fetcher_of(idp_ca_file(idp), false);
    char *three = url(idp, "https", "localhost", "/3"), *four = url(idp, "https", "localhost", "/4");
    for (int i = 4; i > 0; i--) {
        char *path = mint_text("/%d", i);
        char *moved = mint_text("HTTP/1.1 302 Found\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n", i - 1);
        idp_serve(idp, path, moved);
        free(path);
        free(moved);
    }
    idp_serve_body(idp, "/0", "", SET);
    fetch(fetcher, "x", three);
    ck_assert_msg(got.good, "%s", got.problem);
    fetch(fetcher, "x", four);
    ck_assert(!got.good);
    ia_fetcher_free(fetcher);
    free(three);
    free(four);
    idp_stop(idp);
}
END_TEST

START_TEST(answer_other_than_200_is_no_key_set)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/missing");
    fetch(fetcher, "x", at);
    ck_assert(!got.good);
    ck_assert_ptr_nonnull(strstr(got.problem, "/missing: HTTP status 404"));
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

static void too_long_with(const char *headers_format)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/jwks"), *body = malloc(300001);
    memset(body, ' ', 300000);
    body[300000] = '\0';
    char *response = mint_text("HTTP/1.1 200 OK\r\n%s\r\n%s", headers_format, body);
    idp_serve(idp, "/jwks", response);
    fetch(fetcher, "x", at);
    ck_assert(!got.good);
    ck_assert_ptr_nonnull(strstr(got.problem, "too long"));
    ia_fetcher_free(fetcher);
    free(at);
    free(body);
    free(response);
    idp_stop(idp);
}

START_TEST(long_answer_is_cut_off)
{
    too_long_with("Content-Length: 300000\r\n");
    too_long_with("Connection: close\r\n"); /* and it does not say how long it is */
}
END_TEST

START_TEST(server_that_is_not_there_is_a_problem)
{
    struct idp *idp = idp_start(false);
    char *at = url(idp, "http", "127.0.0.1", "/jwks");
    idp_stop(idp);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    fetch(fetcher, "x", at);
    ck_assert(!got.good);
    ck_assert_ptr_nonnull(strstr(got.problem, at));
    ia_fetcher_free(fetcher);
    free(at);
}
END_TEST

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

START_TEST(fetcher_can_be_freed_while_the_server_hangs)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/hang");
    idp_serve(idp, "/hang", NULL);
    ck_assert_int_eq(ia_fetcher_start(fetcher, "idp", "x", at, NULL), IA_OK);
    while (idp_requests(idp, "/hang") == 0) {
        double start = seconds();
        ia_fetcher_run(fetcher);
        ck_assert(seconds() - start < 0.5); /* never blocks */
        (void)idp_wait_for_fetcher(fetcher, 10);
    }
    double start = seconds();
    ia_fetcher_free(fetcher);
    ck_assert(seconds() - start < 0.5);
    ck_assert_uint_eq(got.n, 0);
    free(at);
    idp_stop(idp);
}
END_TEST

/* A worker that polls the descriptor beside its database must not spin while a provider is slow. */
START_TEST(descriptor_is_quiet_while_the_provider_is_silent)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/hang");
    ck_assert_int_eq(ia_fetcher_fd(fetcher), -1);
    ia_fetcher_run(fetcher); /* nothing to do yet */
    idp_serve(idp, "/hang", NULL);
    ck_assert_int_eq(ia_fetcher_start(fetcher, "idp", "x", at, NULL), IA_OK);
    int fd = ia_fetcher_fd(fetcher), runs = 0;
    ck_assert_int_ge(fd, 0);
    for (double start = seconds(); seconds() - start < 1; runs++) {
        (void)idp_wait_for_fetcher(fetcher, 1000);
        ia_fetcher_run(fetcher);
    }
    ck_assert_int_lt(runs, 50);
    ck_assert_int_eq(ia_fetcher_fd(fetcher), fd);
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

START_TEST(server_that_hangs_times_out)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/hang");
    idp_serve(idp, "/hang", NULL);
    double start = seconds();
    fetch(fetcher, "x", at);
    ck_assert(!got.good);
    ck_assert(seconds() - start > 4 && seconds() - start < 8);
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

START_TEST(one_fetch_a_name_and_a_bounded_number_in_all)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *at = url(idp, "http", "127.0.0.1", "/jwks");
    idp_serve_body(idp, "/jwks", "", SET);
    for (int i = 0; i < IA_FETCH_AT_ONCE; i++) {
        char name[16];
        snprintf(name, sizeof name, "idp%d", i);
        ck_assert_int_eq(ia_fetcher_start(fetcher, name, "x", at, NULL), IA_OK);
        ck_assert_int_eq(ia_fetcher_start(fetcher, name, "x", at, NULL), IA_UNAVAILABLE);
    }
    ck_assert_int_eq(ia_fetcher_start(fetcher, "more", "x", at, NULL), IA_UNAVAILABLE);
    idp_finish_fetches(fetcher);
    ck_assert_uint_eq(got.n, IA_FETCH_AT_ONCE);
    ck_assert_int_eq(ia_fetcher_start(fetcher, "more", "x", at, NULL), IA_OK);
    ia_fetcher_free(fetcher);
    free(at);
    idp_stop(idp);
}
END_TEST

/* Discovery: what the two well-known places answer, and what comes of it. */
enum answer { NOTHING, GOOD, ANOTHER_ISSUER, NO_URI, RUBBISH };

static const struct {
    const char *label, *path;
    enum answer oidc, rfc8414;
    bool found;
} discoveries[] = {
    {"OpenID Connect", "/realm", GOOD, NOTHING, true},
    {"RFC 8414", "/realm", NOTHING, GOOD, true},
    {"the first answers rubbish", "/realm", RUBBISH, GOOD, true},
    {"issuer without a path", "", GOOD, NOTHING, true},
    {"issuer without a path, RFC 8414", "", NOTHING, GOOD, true},
    {"issuer that ends in a slash", "/realm/", GOOD, NOTHING, true},
    {"issuer that ends in a slash, RFC 8414", "/realm/", NOTHING, GOOD, true},
    {"neither", "/realm", NOTHING, NOTHING, false},
    {"metadata of another issuer: that one would sign here", "/realm", ANOTHER_ISSUER, ANOTHER_ISSUER, false},
    {"no jwks_uri", "/realm", NO_URI, NO_URI, false},
};

static void serve_metadata(struct idp *idp, const char *path, enum answer what, const char *issuer)
{
    char *jwks = url(idp, "http", "127.0.0.1", "/keys"), *body = NULL;
    if (what == GOOD)
        body = mint_text("{\"issuer\":\"%s\",\"jwks_uri\":\"%s\"}", issuer, jwks);
    else if (what == ANOTHER_ISSUER)
        body = mint_text("{\"issuer\":\"%s/x\",\"jwks_uri\":\"%s\"}", issuer, jwks);
    else if (what == NO_URI)
        body = mint_text("{\"issuer\":\"%s\"}", issuer);
    else if (what == RUBBISH)
        body = mint_text("<html>");
    if (body)
        idp_serve_body(idp, path, "", body);
    free(jwks);
    free(body);
}

START_TEST(discovery_rows_decide_as_listed)
{
    struct idp *idp = idp_start(false);
    struct ia_fetcher *fetcher = fetcher_of(NULL, false);
    char *issuer = url(idp, "http", "127.0.0.1", discoveries[_i].path);
    const char *base = discoveries[_i].path[0] ? "/realm" : "";
    char *oidc = mint_text("%s/.well-known/openid-configuration", base);
    char *rfc8414 = mint_text("/.well-known/oauth-authorization-server%s", base);
    serve_metadata(idp, oidc, discoveries[_i].oidc, issuer);
    serve_metadata(idp, rfc8414, discoveries[_i].rfc8414, issuer);
    idp_serve_body(idp, "/keys", "Cache-Control: max-age=100\r\n", SET);
    fetch(fetcher, issuer, NULL);
    ck_assert_msg(got.good == discoveries[_i].found, "%s: %s", discoveries[_i].label, got.problem);
    if (!got.good) /* the problem names both places */
        ck_assert_msg(strstr(got.problem, oidc) && strstr(got.problem, rfc8414), "%s: %s", discoveries[_i].label,
                      got.problem);
    else
        ck_assert_int_eq(got.max_age_s, 100);
    ia_fetcher_free(fetcher);
    free(issuer);
    free(oidc);
    free(rfc8414);
    idp_stop(idp);
}
END_TEST

START_TEST(https_metadata_cannot_point_to_plain_http)
{
    struct idp *idp = idp_start(true);
    struct ia_fetcher *fetcher = fetcher_of(idp_ca_file(idp), false);
    char *issuer = url(idp, "https", "localhost", "");
    serve_metadata(idp, "/.well-known/openid-configuration", GOOD, issuer); /* its jwks_uri is http */
    fetch(fetcher, issuer, NULL);
    ck_assert(!got.good);
    ck_assert_ptr_nonnull(strstr(got.problem, "plain http"));
    ia_fetcher_free(fetcher);
    free(issuer);
    idp_stop(idp);
}
END_TEST

static const struct {
    const char *label, *url;
    bool secure, insecure; /* may it be fetched without, with insecure_http */
} urls[] = {
    {"https", "https://idp.example/jwks", true, true},
    {"https with a port and a query", "https://idp.example:8443/jwks?appid=1", true, true},
    {"http on loopback", "http://127.0.0.1:8080/jwks", true, true},
    {"http on all of loopback", "http://127.1.2.3/jwks", true, true},
    {"http on IPv6 loopback", "http://[::1]:8080/jwks", true, true},
    {"http on localhost", "http://localhost/jwks", true, true},
    {"http elsewhere", "http://idp.example/jwks", false, true},
    {"a name that begins like loopback", "http://127.0.0.1.evil.example/jwks", false, true},
    {"a name that begins like localhost", "http://localhost.evil.example/jwks", false, true},
    {"any address", "http://0.0.0.0/jwks", false, true},
    {"credentials", "https://user:secret@idp.example/jwks", false, false},
    {"a user that looks like loopback", "http://127.0.0.1@evil.example/jwks", false, false},
    {"file", "file:///etc/passwd", false, false},
    {"ftp", "ftp://idp.example/jwks", false, false},
    {"gopher", "gopher://127.0.0.1/jwks", false, false},
    {"no scheme", "idp.example/jwks", false, false},
    {"no host", "https:///jwks", false, false},
    {"empty", "", false, false},
    {"a space", "https://idp.example/a b", false, false},
    {"a newline", "https://idp.example/a\nb", false, false},
};

START_TEST(url_rows_decide_as_listed)
{
    struct ia_err err = {0};
    ck_assert_msg((ia_fetch_url_check(urls[_i].url, false, &err) == IA_OK) == urls[_i].secure, "%s", urls[_i].label);
    ck_assert_msg((ia_fetch_url_check(urls[_i].url, true, &err) == IA_OK) == urls[_i].insecure, "%s, insecure",
                  urls[_i].label);
    ck_assert_msg(!strstr(err.msg, "secret"), "%s: contains the password", urls[_i].label);
}
END_TEST

static const struct {
    const char *header;
    int seconds;
} ages[] = {
    {"max-age=600", 600},
    {"public, max-age=600, must-revalidate", 600},
    {"MAX-AGE=600", 600},
    {"max-age=\"600\"", 600},
    {"max-age=1", IA_FETCH_MAX_AGE_MIN_S},
    {"max-age=0", IA_FETCH_MAX_AGE_MIN_S},
    {"max-age=-5", IA_FETCH_MAX_AGE_MIN_S},
    {"max-age=86400", IA_FETCH_MAX_AGE_MAX_S},
    {"max-age=99999999999999999999999", IA_FETCH_MAX_AGE_MAX_S},
    {"no-store, max-age=600", IA_FETCH_MAX_AGE_MIN_S},
    {"private", IA_FETCH_MAX_AGE_DEFAULT_S},
    {"s-maxage=600", IA_FETCH_MAX_AGE_DEFAULT_S},
    {"", IA_FETCH_MAX_AGE_DEFAULT_S},
    {" , ,", IA_FETCH_MAX_AGE_DEFAULT_S},
};

START_TEST(max_age_rows_decide_as_listed)
{
    ck_assert_msg(ia_fetch_max_age(ages[_i].header) == ages[_i].seconds, "%s: %d", ages[_i].header,
                  ia_fetch_max_age(ages[_i].header));
}
END_TEST

START_TEST(issuer_with_a_query_has_no_metadata)
{
    char out[IA_FETCH_URL_MAX];
    ck_assert_int_eq(ia_fetch_metadata_url("https://idp.example/a?b=c", false, false, out, NULL), IA_USAGE);
    ck_assert_int_eq(ia_fetch_metadata_url("http://idp.example/a", false, false, out, NULL), IA_USAGE);
    ck_assert_int_eq(ia_fetch_metadata_url("https://idp.example/a/b/", true, false, out, NULL), IA_OK);
    ck_assert_str_eq(out, "https://idp.example/.well-known/oauth-authorization-server/a/b");
}
END_TEST

int main(void)
{
    mint_key(IA_KEY_P256, 0);
    Suite *s = suite_create("fetch");
    TCase *c = tcase_create("fetch");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, key_set_is_fetched_with_its_max_age);
    tcase_add_loop_test(c, encoding_rows_decide_as_listed, 0, ROWS(encodings));
    tcase_add_test(c, compressed_set_is_bounded_by_its_decoded_bytes);
    tcase_add_test(c, https_needs_a_certificate_of_a_trusted_ca);
    tcase_add_test(c, redirect_to_plain_http_is_refused);
    tcase_add_test(c, redirects_over_https_are_followed_three_times);
    tcase_add_test(c, answer_other_than_200_is_no_key_set);
    tcase_add_test(c, long_answer_is_cut_off);
    tcase_add_test(c, server_that_is_not_there_is_a_problem);
    tcase_add_test(c, fetcher_can_be_freed_while_the_server_hangs);
    tcase_add_test(c, descriptor_is_quiet_while_the_provider_is_silent);
    tcase_add_test(c, server_that_hangs_times_out);
    tcase_add_test(c, one_fetch_a_name_and_a_bounded_number_in_all);
    tcase_add_loop_test(c, discovery_rows_decide_as_listed, 0, ROWS(discoveries));
    tcase_add_test(c, https_metadata_cannot_point_to_plain_http);
    tcase_add_loop_test(c, url_rows_decide_as_listed, 0, ROWS(urls));
    tcase_add_loop_test(c, max_age_rows_decide_as_listed, 0, ROWS(ages));
    tcase_add_test(c, issuer_with_a_query_has_no_metadata);
    suite_add_tcase(s, c);
    return run_suite(s);
}
