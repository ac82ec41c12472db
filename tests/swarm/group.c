// SPDX-License-Identifier: ISC
#include "tests/swarm/group.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ATTEMPT_US 20000000
#define LOOK_US    500000 /* between two searches for slow attempts */
#define SLOW_MAX   20000
#define SLOW_US    1000
#define PAYLOAD    64

static void end_answer(void)
{
    (void)putchar('\n');
    (void)fflush(stdout);
}

void answer(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    end_answer();
}

/* ---- storms */

static void begin_storm(struct group *g, int port, size_t parallel, size_t count, bool stay)
{
    g->port = port;
    g->parallel = parallel;
    g->accepted = g->refused = g->failed = g->resumed = g->begun = 0;
    g->first_end_us = g->last_end_us = 0;
    g->wanted = count;
    g->stay = stay;
    g->begun_us = now_us();
}

void group_storm(struct group *g, int port, size_t parallel, size_t count)
{
    if (g->n == 0 || count == 0)
        answer("error nobody is to connect");
    else
        begin_storm(g, port, parallel, count, false);
}

void group_open(struct group *g, int port, size_t parallel)
{
    if (g->n == 0)
        answer("error the group has no clients");
    else
        begin_storm(g, port, parallel, g->n, true);
}

/* Begin the next connection.  False: its client's last one is still under way. */
static bool begin_next(struct group *g)
{
    struct client *c = g->clients[g->begun % g->n];
    bool closed = c->state == CLIENT_CLOSED;
    if (!closed && !g->stay)
        return false;
    g->begun++;
    if (closed)
        client_connect(c);
    return true;
}

static void fail_slow_attempts(struct group *g, int64_t now)
{
    if (now < g->next_look_us)
        return;
    g->next_look_us = now + LOOK_US;
    for (size_t i = 0; i < g->n; i++) {
        struct client *c = g->clients[i];
        if (c->state != CLIENT_CLOSED && c->state != CLIENT_OPEN && now - c->begun_us > ATTEMPT_US)
            client_fail(c);
    }
}

static void run_storm(struct group *g)
{
    size_t tried = 0;
    fail_slow_attempts(g, now_us());
    while (g->attempting < g->parallel && g->begun < g->wanted && tried++ < g->n && begin_next(g))
        ;
    if (g->begun < g->wanted || g->attempting)
        return;
    g->wanted = 0;
    answer("ok %zu %zu %zu %zu %lld", g->stay ? g->open : g->accepted, g->refused, g->failed, g->resumed,
           (long long)(now_us() - g->begun_us));
}

void group_close(const struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state != CLIENT_CLOSED)
            client_end(g->clients[i]);
    answer("ok");
}

/* ---- messages */

void group_subscribe(struct group *g, const char *filter)
{
    struct packet p;
    mqtt_subscribe(&p, g->mqtt, filter);
    g->subscribed = 0;
    g->subscribing = true;
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state == CLIENT_OPEN && !client_send(g->clients[i], p.bytes, p.len))
            client_fail(g->clients[i]);
}

static struct client *first_open(const struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state == CLIENT_OPEN)
            return g->clients[i];
    return NULL;
}

/* The socket blocks meanwhile: TCP paces it, as the broker reads. */
void group_publish(const struct group *g, long count, const char *topic, long topics)
{
    static const char payload[PAYLOAD] = "*";
    struct client *c = first_open(g);
    if (!c) {
        answer("error no client is open");
        return;
    }
    (void)fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK);
    bool sent = true;
    for (long n = 0; n < count && sent; n++) {
        char name[256];
        struct packet p;
        (void)snprintf(name, sizeof name, topics > 1 ? "%s/%ld" : "%s", topic, topics > 1 ? n % topics : 0);
        mqtt_publish(&p, g->mqtt, name, payload, sizeof payload);
        sent = client_send(c, p.bytes, p.len);
    }
    (void)fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    answer(sent ? "ok" : "error the connection ended");
}

/* ---- waits */

static void begin_wait(struct group *g, size_t count, long ms)
{
    g->wait_count = count;
    g->wait_until_us = now_us() + ms * 1000;
}

void group_wait_received(struct group *g, size_t count, long ms)
{
    begin_wait(g, count, ms);
    g->wait_received = true;
}

void group_wait_open(struct group *g, size_t count, long ms)
{
    begin_wait(g, count, ms);
    g->wait_open = true;
}

static void answer_waits(struct group *g, int64_t now)
{
    bool late = now >= g->wait_until_us;
    if (g->subscribing && g->subscribed >= g->open) {
        g->subscribing = false;
        answer("ok");
    }
    if (g->wait_open && (late || g->open <= g->wait_count)) {
        g->wait_open = false;
        answer("ok %zu", g->open);
    }
    if (g->wait_received && (late || g->received >= g->wait_count)) {
        g->wait_received = false;
        answer("ok %zu", g->received);
        g->received = 0;
    }
}

/* ---- pings */

static void send_pings(struct group *g, int64_t now)
{
    static const uint8_t pingreq[] = {0xC0, 0};
    for (size_t i = 0; g->ping_us && i < g->n; i++) {
        struct client *c = g->clients[i];
        if (c->state != CLIENT_OPEN || c->pinged_us || c->next_ping_us > now)
            continue;
        c->pinged_us = now_us();
        if (!client_send(c, pingreq, sizeof pingreq))
            client_fail(c);
    }
}

static int compare_pings(const void *a, const void *b)
{
    const struct ping *x = a, *y = b;
    return (x->took_us > y->took_us) - (x->took_us < y->took_us);
}

void group_report_pings(struct group *g)
{
    size_t n = g->n_pings;
    struct ping none[1] = {{0}}, *pings = n ? g->pings : none;
    qsort(pings, n, sizeof *pings, compare_pings);
    answer("ok %zu %lld %lld %lld", n, (long long)pings[n / 2].took_us, (long long)pings[n * 99 / 100].took_us,
           (long long)pings[n ? n - 1 : 0].took_us);
    g->n_pings = 0;
}

static int64_t longest_unanswered(const struct group *g, int64_t now)
{
    int64_t longest = 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct client *c = g->clients[i];
        if (c->state == CLIENT_OPEN && c->pinged_us && now - c->pinged_us > longest)
            longest = now - c->pinged_us;
    }
    return longest;
}

void group_report(struct group *g)
{
    (void)printf("ok %zu %zu %zu %zu %lld %lld %lld %lld", g->open, g->refused, g->failed, g->n_pings,
                 (long long)g->opened_us, (long long)g->first_end_us, (long long)g->last_end_us,
                 (long long)longest_unanswered(g, now_us()));
    for (size_t i = 0, n = 0; i < g->n_pings && n < SLOW_MAX; i++)
        if (g->pings[i].took_us > SLOW_US && ++n)
            (void)printf(" %lld:%lld", (long long)g->pings[i].sent_us, (long long)g->pings[i].took_us);
    end_answer();
    g->n_pings = 0;
}

/* ---- what is due */

void group_run(struct group *g)
{
    int64_t now = now_us();
    if (g->wanted)
        run_storm(g);
    send_pings(g, now);
    answer_waits(g, now);
}
