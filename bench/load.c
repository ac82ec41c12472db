// SPDX-License-Identifier: ISC
/* The load of scripts/bench: many MQTT clients in one process, over TLS 1.2 or 1.3, with or without resumption.
 *
 * Commands come on stdin, one a line; each is answered by one line on stdout, which begins with "ok" or "error".  Groups of
 * clients are numbered from 0.  Times are microseconds.
 *
 *   mint GROUP PREFIX COUNT CA.pem CA.key     COUNT devices below that CA, with one key; CA.pem is sent along
 *   login GROUP ID USER PASSWORD              one client without a certificate
 *   set GROUP tls 1.2|1.3                     also: resume on|off, mqtt 4|5
 *   storm GROUP PORT PARALLEL COUNT           COUNT connections, each until CONNACK, by the clients in turn
 *                                             → ok ACCEPTED REFUSED FAILED RESUMED TOOK
 *   open GROUP PORT PARALLEL                  connect each client once, and stay → as storm
 *   ping GROUP MS                             PINGREQ on each open connection MS after the last answer; 0: no more
 *   pings GROUP                               → ok COUNT P50 P99 LONGEST of the answers since the last time
 *   subscribe GROUP FILTER                    each open client, QoS 0; answered when all SUBACKs are there
 *   publish GROUP COUNT TOPIC TOPICS          the first open client sends COUNT messages, to TOPIC/0 … TOPIC/TOPICS-1 in turn
 *                                             (TOPICS 1: to TOPIC); answered when they are sent
 *   received GROUP COUNT MS                   until the group has received COUNT messages, or MS are over → ok RECEIVED
 *   close GROUP
 *
 * Stdin's end ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GROUPS     8
#define PINGS_MAX  1000000
#define ATTEMPT_US 20000000
#define PAYLOAD    64

enum state { CLOSED, CONNECTING, HANDSHAKING, ASKING, OPEN };

struct client {
    int fd;
    enum state state;
    SSL *ssl;
    SSL_SESSION *session;
    X509 *cert;
    struct group *group;
    char id[64];
    const char *user, *password;
    int64_t begun_us, pinged_us, next_ping_us;
    unsigned char in[2048];
    size_t n_in;
};

struct group {
    struct client **clients;
    size_t n;
    X509 *issuer;
    EVP_PKEY *key;
    int port, tls, mqtt;
    bool resume, stay;
    size_t parallel, attempting, begun, wanted; /* of the storm; `wanted` 0: none is under way */
    size_t accepted, refused, failed, resumed, open;
    int64_t begun_us, ping_us;
    int64_t *pings;
    size_t n_pings, subscribed, received, wait_received;
    int64_t wait_until; /* 0: no answer to `received` is due */
    bool subscribing;
};

static struct group groups[GROUPS];
static SSL_CTX *context;
static int epoll_fd;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void answer(const char *text)
{
    printf("%s\n", text);
    fflush(stdout);
}

/* ---- clients */

static struct client *add_client(struct group *g, const char *id)
{
    struct client *c = calloc(1, sizeof *c);
    struct client **all = realloc(g->clients, (g->n + 1) * sizeof(struct client *));
    if (!c || !all)
        exit(2);
    g->clients = all;
    g->clients[g->n++] = c;
    c->fd = -1;
    c->group = g;
    (void)snprintf(c->id, sizeof c->id, "%s", id);
    return c;
}

static X509 *issue(const struct group *g, const char *cn, long serial, EVP_PKEY *ca_key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(g->issuer));
    X509_set_pubkey(cert, g->key);
    X509_sign(cert, ca_key, EVP_sha256());
    return cert;
}

static void mint(struct group *g, const char *prefix, long count, const char *ca_path, const char *key_path)
{
    BIO *ca = BIO_new_file(ca_path, "r"), *key = BIO_new_file(key_path, "r");
    EVP_PKEY *ca_key = key ? PEM_read_bio_PrivateKey(key, NULL, NULL, NULL) : NULL;
    g->issuer = ca ? PEM_read_bio_X509(ca, NULL, NULL, NULL) : NULL;
    g->key = EVP_EC_gen("P-256");
    BIO_free(ca);
    BIO_free(key);
    if (!g->issuer || !ca_key || !g->key) {
        answer("error cannot read the CA");
        return;
    }
    for (long i = 0; i < count; i++) {
        char id[64];
        (void)snprintf(id, sizeof id, "%.40s%ld", prefix, i);
        add_client(g, id)->cert = issue(g, id, i + 1, ca_key);
    }
    EVP_PKEY_free(ca_key);
    answer("ok");
}

/* ---- connections */

static void end_client(struct client *c)
{
    struct group *g = c->group;
    if (c->state == OPEN)
        g->open--;
    else if (c->state != CLOSED)
        g->attempting--;
    c->state = CLOSED;
    if (c->ssl) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL spoils its session */
        SSL_free(c->ssl);
    }
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void fail(struct client *c)
{
    if (c->state != OPEN)
        c->group->failed++;
    end_client(c);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct client *c = SSL_get_app_data(ssl);
    if (!c->group->resume)
        return 0;
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

static void begin(struct client *c)
{
    struct group *g = c->group;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)g->port)};
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->state = CONNECTING;
    c->begun_us = now_us();
    c->pinged_us = 0;
    c->n_in = 0;
    g->attempting++;
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        fail(c);
        return;
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static bool start_tls(struct client *c)
{
    const struct group *g = c->group;
    int problem = 0;
    socklen_t len = sizeof problem;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &len);
    if (problem)
        return false;
    c->ssl = SSL_new(context);
    SSL_set_app_data(c->ssl, c);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_min_proto_version(c->ssl, g->tls);
    SSL_set_max_proto_version(c->ssl, g->tls);
    if (c->cert) {
        SSL_use_certificate(c->ssl, c->cert);
        SSL_use_PrivateKey(c->ssl, g->key);
        SSL_add1_chain_cert(c->ssl, g->issuer);
    }
    if (g->resume && c->session)
        SSL_set_session(c->ssl, c->session);
    SSL_set_connect_state(c->ssl);
    c->state = HANDSHAKING;
    return true;
}

/* ---- MQTT */

struct packet {
    unsigned char bytes[8192];
    size_t len;
};

static void put(struct packet *p, const void *bytes, size_t len)
{
    memcpy(p->bytes + p->len, bytes, len);
    p->len += len;
}

static void put_text(struct packet *p, const char *text)
{
    size_t len = strlen(text);
    put(p, (const unsigned char[]){(unsigned char)(len >> 8), (unsigned char)len}, 2);
    put(p, text, len);
}

static bool send_bytes(const struct client *c, const void *bytes, size_t len)
{
    return SSL_write(c->ssl, bytes, (int)len) == (int)len;
}

static bool send_packet(const struct client *c, unsigned char type, const struct packet *body)
{
    struct packet p = {.bytes = {type}, .len = 1};
    size_t left = body->len;
    do {
        p.bytes[p.len++] = (unsigned char)((left & 127) | (left > 127 ? 128 : 0));
        left >>= 7;
    } while (left);
    put(&p, body->bytes, body->len);
    return send_bytes(c, p.bytes, p.len);
}

static bool send_connect(struct client *c)
{
    const struct group *g = c->group;
    struct packet p = {.len = 0};
    const unsigned char flags = (unsigned char)(2 | (c->user ? 0xC0 : 0));
    put_text(&p, "MQTT");
    put(&p, (const unsigned char[]){(unsigned char)g->mqtt, flags, 600 >> 8, 600 & 255}, 4);
    if (g->mqtt == 5)
        put(&p, "", 1);
    put_text(&p, c->id);
    if (c->user) {
        put_text(&p, c->user);
        put_text(&p, c->password);
    }
    c->state = ASKING;
    return send_packet(c, 0x10, &p);
}

static void note_connack(struct client *c, const unsigned char *body)
{
    struct group *g = c->group;
    g->resumed += (size_t)SSL_session_reused(c->ssl);
    if (body[1] != 0) {
        g->refused++;
        end_client(c);
        return;
    }
    g->accepted++;
    g->attempting--;
    g->open++;
    c->state = OPEN;
    if (!g->stay)
        end_client(c);
}

static void note_pingresp(struct client *c)
{
    struct group *g = c->group;
    int64_t now = now_us();
    if (c->pinged_us && g->pings && g->n_pings < PINGS_MAX)
        g->pings[g->n_pings++] = now - c->pinged_us;
    c->pinged_us = 0;
    c->next_ping_us = now + g->ping_us;
}

static void take_packet(struct client *c, const unsigned char *packet, size_t header)
{
    switch (packet[0] >> 4) {
    case 2:
        if (c->state == ASKING)
            note_connack(c, packet + header);
        break;
    case 3:
        c->group->received++;
        break;
    case 9:
        c->group->subscribed++;
        break;
    case 13:
        note_pingresp(c);
        break;
    default:
        break;
    }
}

/* The whole packets of c->in; the rest of it moves to the front. */
static void take_packets(struct client *c)
{
    size_t at = 0;
    while (c->state != CLOSED) {
        size_t len = 0, i = at + 1, shift = 0;
        while (i < c->n_in && shift < 28) {
            len |= (size_t)(c->in[i] & 127) << shift;
            shift += 7;
            if (!(c->in[i++] & 128))
                break;
        }
        if (shift == 0 || (c->in[i - 1] & 128) || i + len > c->n_in)
            break;
        take_packet(c, c->in + at, i - at);
        at = i + len;
    }
    if (c->state == CLOSED)
        return;
    memmove(c->in, c->in + at, c->n_in - at);
    c->n_in -= at;
}

/* ---- events */

static bool is_waiting(struct client *c, int rc)
{
    int why = SSL_get_error(c->ssl, rc);
    struct epoll_event e = {.events = EPOLLIN | (why == SSL_ERROR_WANT_WRITE ? (unsigned)EPOLLOUT : 0U), .data.ptr = c};
    ERR_clear_error();
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        return false;
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    return true;
}

static void shake_hands(struct client *c)
{
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1) {
        if (!is_waiting(c, rc))
            fail(c);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    if (!send_connect(c))
        fail(c);
}

static void receive(struct client *c)
{
    while (c->state != CLOSED) {
        int n = SSL_read(c->ssl, c->in + c->n_in, (int)(sizeof c->in - c->n_in));
        if (n <= 0) {
            if (!is_waiting(c, n))
                fail(c);
            return;
        }
        c->n_in += (size_t)n;
        take_packets(c);
    }
}

static void serve(struct client *c)
{
    if (c->state == CONNECTING && !start_tls(c)) {
        fail(c);
        return;
    }
    if (c->state == HANDSHAKING)
        shake_hands(c);
    if (c->state == ASKING || c->state == OPEN)
        receive(c);
}

/* ---- work that is due */

static void give_up_slow_attempts(struct group *g, int64_t now)
{
    for (size_t i = 0; i < g->n; i++) {
        struct client *c = g->clients[i];
        if (c->state != CLOSED && c->state != OPEN && now - c->begun_us > ATTEMPT_US)
            fail(c);
    }
}

static void run_storm(struct group *g)
{
    char text[160];
    for (size_t tried = 0; g->attempting < g->parallel && g->begun < g->wanted && tried < g->n; tried++) {
        struct client *c = g->clients[g->begun % g->n];
        if (c->state != CLOSED)
            break; /* its last connection is still under way */
        g->begun++;
        begin(c);
    }
    if (g->begun < g->wanted || g->attempting)
        return;
    g->wanted = 0;
    (void)snprintf(text, sizeof text, "ok %zu %zu %zu %zu %lld", g->accepted, g->refused, g->failed, g->resumed,
                   (long long)(now_us() - g->begun_us));
    answer(text);
}

static void send_pings(struct group *g, int64_t now)
{
    static const unsigned char pingreq[] = {0xC0, 0};
    for (size_t i = 0; g->ping_us && i < g->n; i++) {
        struct client *c = g->clients[i];
        if (c->state != OPEN || c->pinged_us || c->next_ping_us > now)
            continue;
        c->pinged_us = now_us();
        if (!send_bytes(c, pingreq, sizeof pingreq))
            fail(c);
    }
}

static void run_group(struct group *g)
{
    static int64_t next_look;
    int64_t now = now_us();
    char text[64];
    if (g->wanted && now >= next_look) {
        give_up_slow_attempts(g, now);
        next_look = now + 500000;
    }
    if (g->wanted)
        run_storm(g);
    send_pings(g, now);
    if (g->subscribing && g->subscribed >= g->open) {
        g->subscribing = false;
        answer("ok");
    }
    if (g->wait_until && (g->received >= g->wait_received || now >= g->wait_until)) {
        g->wait_until = 0;
        (void)snprintf(text, sizeof text, "ok %zu", g->received);
        g->received = 0;
        answer(text);
    }
}

/* ---- commands */

static int compare_times(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void report_pings(struct group *g)
{
    char text[160];
    size_t n = g->n_pings;
    if (n > 0)
        qsort(g->pings, n, sizeof g->pings[0], compare_times);
    (void)snprintf(text, sizeof text, "ok %zu %lld %lld %lld", n, n ? (long long)g->pings[n / 2] : 0,
                   n ? (long long)g->pings[n * 99 / 100] : 0, n ? (long long)g->pings[n - 1] : 0);
    g->n_pings = 0;
    answer(text);
}

static void set_group(struct group *g, const char *name, const char *value)
{
    if (strcmp(name, "tls") == 0)
        g->tls = strcmp(value, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    else if (strcmp(name, "resume") == 0)
        g->resume = strcmp(value, "on") == 0;
    else if (strcmp(name, "mqtt") == 0)
        g->mqtt = atoi(value);
    answer("ok");
}

static void start_storm(struct group *g, const char *port, const char *parallel, size_t count, bool stay)
{
    if (g->n == 0) {
        answer("error the group has no clients");
        return;
    }
    g->port = atoi(port);
    g->parallel = (size_t)atol(parallel);
    g->accepted = g->refused = g->failed = g->resumed = g->begun = 0;
    g->wanted = count;
    g->stay = stay;
    g->begun_us = now_us();
}

static void subscribe_all(struct group *g, const char *filter)
{
    struct packet p = {.len = 0};
    put(&p, "\0\1", 2);
    if (g->mqtt == 5)
        put(&p, "", 1);
    put_text(&p, filter);
    put(&p, "", 1);
    g->subscribed = 0;
    g->subscribing = true;
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state == OPEN && !send_packet(g->clients[i], 0x82, &p))
            fail(g->clients[i]);
}

/* The socket blocks meanwhile: TCP paces it, as the broker reads. */
static void publish(const struct group *g, long count, const char *topic, long topics)
{
    static const char payload[PAYLOAD] = "*";
    struct client *c = NULL;
    for (size_t i = 0; i < g->n && !c; i++)
        c = g->clients[i]->state == OPEN ? g->clients[i] : NULL;
    if (!c) {
        answer("error no client is open");
        return;
    }
    (void)fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK);
    bool sent = true;
    for (long n = 0; n < count && sent; n++) {
        char name[256];
        struct packet p = {.len = 0};
        (void)snprintf(name, sizeof name, topics > 1 ? "%s/%ld" : "%s", topic, n % topics);
        put_text(&p, name);
        if (g->mqtt == 5)
            put(&p, "", 1);
        put(&p, payload, sizeof payload);
        sent = send_packet(c, 0x30, &p);
    }
    (void)fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    answer(sent ? "ok" : "error the connection ended");
}

static void login(struct group *g, const char *id, const char *user, const char *password)
{
    struct client *c = add_client(g, id);
    c->user = strdup(user);
    c->password = strdup(password);
    answer("ok");
}

static void close_all(const struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state != CLOSED)
            end_client(g->clients[i]);
    answer("ok");
}

static void command(char *line)
{
    char word[7][4096] = {{0}};
    int n = sscanf(line, "%4095s %4095s %4095s %4095s %4095s %4095s %4095s", word[0], word[1], word[2], word[3],
                   word[4], word[5], word[6]);
    int number = n > 1 ? atoi(word[1]) : -1;
    if (number < 0 || number >= GROUPS) {
        answer("error which group?");
        return;
    }
    struct group *g = &groups[number];
    if (strcmp(word[0], "mint") == 0 && n == 6) {
        mint(g, word[2], atol(word[3]), word[4], word[5]);
    } else if (strcmp(word[0], "login") == 0 && n == 5) {
        login(g, word[2], word[3], word[4]);
    } else if (strcmp(word[0], "set") == 0 && n == 4) {
        set_group(g, word[2], word[3]);
    } else if (strcmp(word[0], "storm") == 0 && n == 5) {
        start_storm(g, word[2], word[3], (size_t)atol(word[4]), false);
    } else if (strcmp(word[0], "open") == 0 && n == 4) {
        start_storm(g, word[2], word[3], g->n, true);
    } else if (strcmp(word[0], "ping") == 0 && n == 3) {
        g->ping_us = atol(word[2]) * 1000;
        answer("ok");
    } else if (strcmp(word[0], "pings") == 0) {
        report_pings(g);
    } else if (strcmp(word[0], "subscribe") == 0 && n == 3) {
        subscribe_all(g, word[2]);
    } else if (strcmp(word[0], "publish") == 0 && n == 5) {
        publish(g, atol(word[2]), word[3], atol(word[4]));
    } else if (strcmp(word[0], "received") == 0 && n == 4) {
        g->wait_received = (size_t)atol(word[2]);
        g->wait_until = now_us() + atol(word[3]) * 1000;
    } else if (strcmp(word[0], "close") == 0) {
        close_all(g);
    } else {
        answer("error unknown command");
    }
}

/* Whole lines from stdin.  False at its end. */
static bool read_commands(void)
{
    static char buffer[32768];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, buffer + len, sizeof buffer - len - 1);
    if (n <= 0)
        return false;
    len += (size_t)n;
    buffer[len] = '\0';
    char *line = buffer, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        command(line);
        line = end + 1;
    }
    len = (size_t)(buffer + len - line);
    memmove(buffer, line, len);
    return true;
}

static bool start(void)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    context = SSL_CTX_new(TLS_client_method());
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!context || epoll_fd < 0)
        return false;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    for (size_t i = 0; i < GROUPS; i++) {
        groups[i].tls = TLS1_3_VERSION;
        groups[i].mqtt = 4;
        groups[i].pings = malloc(PINGS_MAX * sizeof groups[i].pings[0]);
    }
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &e) == 0;
}

int main(void)
{
    struct epoll_event events[512];
    (void)signal(SIGPIPE, SIG_IGN);
    if (!start())
        return 1;
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 512, 1);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (!c && !read_commands())
                return 0;
            if (c && c->state != CLOSED)
                serve(c);
        }
        for (int i = 0; i < GROUPS; i++)
            run_group(&groups[i]);
    }
}
