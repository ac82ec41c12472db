// SPDX-License-Identifier: ISC
/* A fetch is a job of one to three requests, one after the other on the same easy handle: the metadata where there is
 * no jwks_url, then the key set.  libcurl's multi interface runs all jobs; nothing here waits.
 *
 * libcurl names its sockets and its next time-out by callbacks.  Both go into one epoll set (the time-out as a timerfd),
 * so that the caller has one descriptor to poll.  epoll has no limit on descriptor numbers, unlike curl_multi_fdset. */
#include "oauth/fetch.h"

#include "common/str.h"
#include "oauth/fetch_url.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_AT_ONCE (2 * IA_FETCH_AT_ONCE + 1) /* a socket each, one of the resolver each, the timer */

enum fetch_stage { STAGE_OIDC, STAGE_RFC8414, STAGE_JWKS };

struct fetch_job {
    CURL *easy; /* NULL: the slot is free */
    char *name;
    char *issuer;
    enum fetch_stage stage;
    char url[IA_FETCH_URL_MAX];
    char *body;
    size_t body_len;
    bool too_long;
    char curl_error[CURL_ERROR_SIZE];
    char problem[IA_ISSUER_TEXT_MAX];
};

struct ia_fetcher {
    /* Made by the first fetch, on the thread that runs it: the descriptors belong to that thread's table. */
    CURLM *multi;
    int poll_fd;  /* epoll set of libcurl's sockets and timer_fd; -1 until then */
    int timer_fd; /* libcurl's next time-out */
    char *ca_file;
    bool insecure_http;
    ia_fetch_done *done;
    void *ctx;
    struct fetch_job jobs[IA_FETCH_AT_ONCE];
};

enum ia_rc ia_fetcher_new(const struct ia_fetch_options *options, ia_fetch_done *done, void *ctx,
                          struct ia_fetcher **out, struct ia_err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ia_fail(err, IA_IO, "cannot initialise libcurl");
    struct ia_fetcher *fetcher = calloc(1, sizeof *fetcher);
    if (!fetcher) {
        curl_global_cleanup();
        return ia_nomem(err);
    }
    fetcher->done = done;
    fetcher->ctx = ctx;
    fetcher->poll_fd = fetcher->timer_fd = -1;
    fetcher->insecure_http = options->insecure_http;
    fetcher->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
    if (options->ca_file && !fetcher->ca_file) {
        ia_fetcher_free(fetcher);
        return ia_nomem(err);
    }
    *out = fetcher;
    return IA_OK;
}

static void clear_job(struct ia_fetcher *fetcher, struct fetch_job *job)
{
    if (job->easy)
        curl_multi_remove_handle(fetcher->multi, job->easy);
    curl_easy_cleanup(job->easy);
    free(job->name);
    free(job->issuer);
    free(job->body);
    *job = (struct fetch_job){0};
}

void ia_fetcher_free(struct ia_fetcher *fetcher)
{
    if (!fetcher)
        return;
    for (size_t i = 0; i < IA_FETCH_AT_ONCE; i++)
        clear_job(fetcher, &fetcher->jobs[i]);
    if (fetcher->multi)
        curl_multi_cleanup(fetcher->multi);
    curl_global_cleanup();
    if (fetcher->timer_fd >= 0)
        close(fetcher->timer_fd);
    if (fetcher->poll_fd >= 0)
        close(fetcher->poll_fd);
    free(fetcher->ca_file);
    free(fetcher);
}

size_t ia_fetcher_busy(const struct ia_fetcher *fetcher)
{
    size_t n = 0;
    for (size_t i = 0; i < IA_FETCH_AT_ONCE; i++)
        n += fetcher->jobs[i].easy != NULL;
    return n;
}

/* ---- one descriptor for all transfers */

/* libcurl's CURLMOPT_SOCKETFUNCTION: which events of which socket it waits for. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    const struct ia_fetcher *fetcher = ctx;
    struct epoll_event event = {.data.fd = fd};
    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(fetcher->poll_fd, EPOLL_CTL_DEL, fd, NULL); /* may be closed already */
        return 0;
    }
    if (what & CURL_POLL_IN)
        event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        event.events |= EPOLLOUT;
    if (epoll_ctl(fetcher->poll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    return errno == ENOENT && epoll_ctl(fetcher->poll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
}

/* libcurl's CURLMOPT_TIMERFUNCTION: one time-out for all transfers, -1 for none. */
static int set_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    const struct ia_fetcher *fetcher = ctx;
    struct itimerspec at = {0};
    (void)multi;
    if (timeout_ms >= 0) {
        at.it_value.tv_sec = timeout_ms / 1000;
        at.it_value.tv_nsec = timeout_ms % 1000 * 1000000;
        if (timeout_ms == 0)
            at.it_value.tv_nsec = 1; /* zero would disarm the timer */
    }
    return timerfd_settime(fetcher->timer_fd, 0, &at, NULL) == 0 ? 0 : -1;
}

static bool open_multi(struct ia_fetcher *fetcher)
{
    if (fetcher->poll_fd < 0)
        fetcher->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (fetcher->timer_fd < 0)
        fetcher->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event timer = {.events = EPOLLIN, .data.fd = fetcher->timer_fd};
    if (fetcher->poll_fd < 0 || fetcher->timer_fd < 0 ||
        (epoll_ctl(fetcher->poll_fd, EPOLL_CTL_ADD, fetcher->timer_fd, &timer) != 0 && errno != EEXIST))
        return false;
    CURLM *multi = curl_multi_init();
    if (multi && curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, fetcher) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, fetcher) == CURLM_OK) {
        fetcher->multi = multi;
        return true;
    }
    curl_multi_cleanup(multi);
    return false;
}

int ia_fetcher_fd(const struct ia_fetcher *fetcher)
{
    return fetcher->poll_fd;
}

/* ---- one request */

/* libcurl's write callback: the body, up to its bound. */
static size_t take_body(char *bytes, size_t one, size_t len, void *ctx)
{
    struct fetch_job *job = ctx;
    (void)one; /* always 1 */
    if (len > IA_JWKS_MAX - job->body_len) {
        job->too_long = true;
        return 0; /* ends the transfer */
    }
    char *grown = realloc(job->body, job->body_len + len + 1);
    if (!grown)
        return 0;
    memcpy(grown + job->body_len, bytes, len);
    job->body = grown;
    job->body_len += len;
    job->body[job->body_len] = '\0';
    return len;
}

/* Where a request may go, and whom it trusts. */
static bool set_trust(const struct ia_fetcher *fetcher, struct fetch_job *job)
{
    CURL *easy = job->easy;
    const char *redirects = fetcher->insecure_http && ia_fetch_url_is_http(job->url) ? "http,https" : "https";
    bool fine = curl_easy_setopt(easy, CURLOPT_URL, job->url) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, redirects) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 3L) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK; /* none from the environment either */
    if (fine && fetcher->ca_file)                                      /* those CAs and no others */
        fine = curl_easy_setopt(easy, CURLOPT_CAINFO, fetcher->ca_file) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
    return fine;
}

static bool set_limits(struct fetch_job *job)
{
    CURL *easy = job->easy;
    return curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* a name server that does not answer must not hold up the shutdown */
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)IA_FETCH_TIMEOUT_MS) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)IA_FETCH_CONNECT_TIMEOUT_MS) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MAXFILESIZE, (long)IA_JWKS_MAX) == CURLE_OK &&
           /* some providers compress though nobody asked: decode whatever libcurl can; take_body bounds decoded bytes */
           curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, "mosquitto-iot-auth") == CURLE_OK;
}

/* Send the request for job->url. */
static bool begin_request(struct ia_fetcher *fetcher, struct fetch_job *job)
{
    free(job->body);
    job->body = NULL;
    job->body_len = 0;
    job->too_long = false;
    job->curl_error[0] = '\0';
    curl_easy_reset(job->easy);
    return set_trust(fetcher, job) && set_limits(job) &&
           curl_easy_setopt(job->easy, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
           curl_easy_setopt(job->easy, CURLOPT_WRITEDATA, job) == CURLE_OK &&
           curl_easy_setopt(job->easy, CURLOPT_ERRORBUFFER, job->curl_error) == CURLE_OK &&
           curl_easy_setopt(job->easy, CURLOPT_PRIVATE, job) == CURLE_OK &&
           curl_multi_add_handle(fetcher->multi, job->easy) == CURLM_OK;
}

static struct fetch_job *free_job(struct ia_fetcher *fetcher, const char *name)
{
    struct fetch_job *slot = NULL;
    for (size_t i = 0; i < IA_FETCH_AT_ONCE; i++) {
        struct fetch_job *job = &fetcher->jobs[i];
        if (!job->easy)
            slot = job;
        else if (strcmp(job->name, name) == 0)
            return NULL;
    }
    return slot;
}

static enum ia_rc set_first_url(const struct ia_fetcher *fetcher, const char *issuer, const char *jwks_url,
                                struct fetch_job *job, struct ia_err *err)
{
    job->stage = jwks_url ? STAGE_JWKS : STAGE_OIDC;
    if (!jwks_url)
        return ia_fetch_metadata_url(issuer, false, fetcher->insecure_http, job->url, err);
    enum ia_rc rc = ia_fetch_url_check(jwks_url, fetcher->insecure_http, err);
    if (rc == IA_OK)
        snprintf(job->url, sizeof job->url, "%s", jwks_url);
    return rc;
}

enum ia_rc ia_fetcher_start(struct ia_fetcher *fetcher, const char *name, const char *issuer, const char *jwks_url,
                            struct ia_err *err)
{
    struct fetch_job *job = free_job(fetcher, name);
    if (!job)
        return ia_fail(err, IA_UNAVAILABLE, "too many fetches in flight, or one for '%s' already", name);
    enum ia_rc rc = set_first_url(fetcher, issuer, jwks_url, job, err);
    if (rc != IA_OK)
        return rc;
    job->name = strdup(name);
    job->issuer = strdup(issuer);
    job->easy = curl_easy_init();
    if (job->name && job->issuer && job->easy && (fetcher->multi || open_multi(fetcher)) && begin_request(fetcher, job))
        return IA_OK;
    clear_job(fetcher, job);
    return ia_fail(err, IA_NOMEM, "cannot start the libcurl transfer");
}

/* Hand the result over; the slot is free before the callback runs, which may start the next fetch. */
static void finish_job(struct ia_fetcher *fetcher, struct fetch_job *job, bool good, int max_age_s)
{
    ia_autofree char *name = job->name, *body = job->body;
    char problem[sizeof job->problem];
    struct ia_fetch_result result = {.name = name, .max_age_s = max_age_s, .problem = problem};
    if (good) {
        result.body = body ? body : "";
        result.body_len = job->body_len;
        job->problem[0] = '\0';
    }
    snprintf(problem, sizeof problem, "%s", job->problem);
    job->name = job->body = NULL;
    clear_job(fetcher, job);
    fetcher->done(fetcher->ctx, &result);
}

/* Append what failed, with its URL, to what failed before it. */
static void add_problem(struct fetch_job *job, const char *text)
{
    size_t used = strlen(job->problem);
    snprintf(job->problem + used, sizeof job->problem - used, "%s%.200s: %s", used ? "; " : "", job->url, text);
}

static int max_age_of(CURL *easy)
{
    struct curl_header *header;
    if (curl_easy_header(easy, "Cache-Control", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return IA_FETCH_MAX_AGE_DEFAULT_S;
    return ia_fetch_max_age(header->value);
}

/* Was the request answered with 200?  If not, job->problem says what happened. */
static bool request_succeeded(struct fetch_job *job, CURLcode code)
{
    long status = 0;
    char text[32];
    curl_easy_getinfo(job->easy, CURLINFO_RESPONSE_CODE, &status);
    if (job->too_long || code == CURLE_FILESIZE_EXCEEDED) {
        add_problem(job, "the answer is too long");
        return false;
    }
    if (code != CURLE_OK) {
        add_problem(job, job->curl_error[0] ? job->curl_error : curl_easy_strerror(code));
        return false;
    }
    if (status == 200)
        return true;
    snprintf(text, sizeof text, "HTTP status %ld", status);
    add_problem(job, text);
    return false;
}

/* Read the metadata and point job->url to the key set. */
static bool follow_metadata(const struct ia_fetcher *fetcher, struct fetch_job *job)
{
    struct ia_err err = {0};
    char url[IA_FETCH_URL_MAX];
    if (ia_fetch_metadata_read(job->body ? job->body : "", job->body_len, job->issuer, fetcher->insecure_http, url,
                               &err) != IA_OK) {
        add_problem(job, err.msg);
        return false;
    }
    memcpy(job->url, url, sizeof url);
    job->stage = STAGE_JWKS;
    return true;
}

/* Point job->url to the second place where metadata may lie. */
static bool try_rfc8414(const struct ia_fetcher *fetcher, struct fetch_job *job)
{
    job->stage = STAGE_RFC8414;
    return ia_fetch_metadata_url(job->issuer, true, fetcher->insecure_http, job->url, NULL) == IA_OK;
}

static void continue_job(struct ia_fetcher *fetcher, struct fetch_job *job, CURLcode code)
{
    bool good = request_succeeded(job, code);
    int max_age_s = max_age_of(job->easy);
    curl_multi_remove_handle(fetcher->multi, job->easy);
    if (job->stage == STAGE_JWKS) {
        finish_job(fetcher, job, good, max_age_s);
        return;
    }
    good = good && follow_metadata(fetcher, job);
    if (!good && job->stage == STAGE_OIDC)
        good = try_rfc8414(fetcher, job);
    if (!good || !begin_request(fetcher, job))
        finish_job(fetcher, job, false, max_age_s);
}

/* ---- running them */

static void finish_transfers(struct ia_fetcher *fetcher)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(fetcher->multi, &left))) {
        struct fetch_job *job = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result; /* the message is freed with its handle */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &job);
        continue_job(fetcher, job, code);
    }
}

/* Pass one event on to libcurl. */
static void handle_event(const struct ia_fetcher *fetcher, const struct epoll_event *event)
{
    int running, mask = 0;
    uint64_t expirations;
    if (event->data.fd == fetcher->timer_fd) {
        (void)!read(fetcher->timer_fd, &expirations, sizeof expirations);
        curl_multi_socket_action(fetcher->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        return;
    }
    if (event->events & EPOLLIN)
        mask |= CURL_CSELECT_IN;
    if (event->events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (event->events & (EPOLLERR | EPOLLHUP))
        mask |= CURL_CSELECT_ERR;
    curl_multi_socket_action(fetcher->multi, event->data.fd, mask, &running);
}

void ia_fetcher_run(struct ia_fetcher *fetcher)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    if (!fetcher->multi)
        return;
    ERR_set_mark(); /* libcurl leaves OpenSSL's errors about a bad certificate in the queue */
    int n = epoll_wait(fetcher->poll_fd, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < n; i++)
        handle_event(fetcher, &events[i]);
    finish_transfers(fetcher);
    ERR_pop_to_mark();
}
