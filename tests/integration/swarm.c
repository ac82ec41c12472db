// SPDX-License-Identifier: ISC
/* Thousands of MQTT devices with TLS client certificates in one process, for the tests (tests/integration/swarm.py).
 *
 * Commands come on stdin, one a line; each is answered by one line on stdout, which begins with "ok" or "error". Groups
 * are numbered from 0.  Times are CLOCK_MONOTONIC in microseconds.
 *
 *   mint GROUP PREFIX COUNT CA.pem CA.key LIST   make COUNT devices, write "id fingerprint" of each to LIST
 *   load GROUP ID CHAIN.pem KEY.pem              one device with that credential
 *   open GROUP PORT PARALLEL                     connect those that are not; answers when all attempts are over
 *   ping GROUP MS                                PINGREQ on each open connection, MS after the answer to the last one
 *   wait GROUP OPEN MS                           until no more than OPEN connections are open, or MS are over
 *   report GROUP                                 what happened; see report()
 *   admitted GROUP LIST                          ids and fingerprints of the devices that ever received CONNACK 0
 *   close GROUP                                  end all connections
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
#define SLOW_MAX   20000
#define SLOW_US    1000 /* answers that took longer are listed */
#define ATTEMPT_US 15000000

enum state { CLOSED, CONNECTING, HANDSHAKING, ASKING, OPEN };

struct client {
    int fd;
    enum state state;
    SSL *ssl;
    X509 *cert;
    STACK_OF(X509) * beside;
    EVP_PKEY *key;
    struct group *group;
    char id[64];
    bool admitted;
    int64_t begun_us, pinged_us, next_ping_us;
    uint8_t in[8];
    size_t n_in;
};

struct slow {
    int64_t sent_us, took_us;
};

struct group {
    struct client **clients;
    size_t n, open, attempting, next;
    int port;
    size_t parallel;
    int64_t ping_us;
    size_t refused, broken, pings;
    int64_t opened_us, first_end_us, last_end_us;
    struct slow slow[SLOW_MAX];
    size_t n_slow;
    bool opening; /* an answer to `open` is due */
    size_t wait_open;
    int64_t wait_until; /* 0: no answer to `wait` is due */
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

static void ok(const char *more)
{
    printf("ok %s\n", more);
    fflush(stdout);
}

static void error(const char *why)
{
    printf("error %s\n", why);
    fflush(stdout);
}

/* --- certificates ------------------------------------------------------------------------------------------------- */

static X509 *read_cert(const char *path, STACK_OF(X509) * *beside)
{
    FILE *file = fopen(path, "r");
    X509 *cert = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    X509 *more;
    *beside = sk_X509_new_null();
    while (cert && (more = PEM_read_X509(file, NULL, NULL, NULL)) != NULL)
        sk_X509_push(*beside, more);
    ERR_clear_error();
    if (file)
        fclose(file);
    return cert;
}

static EVP_PKEY *read_key(const char *path)
{
    FILE *file = fopen(path, "r");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (file)
        fclose(file);
    return key;
}

static X509 *issue(const char *cn, long serial, X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(ca));
    X509_set_pubkey(cert, key);
    X509_sign(cert, ca_key, EVP_sha256());
    return cert;
}

static struct client *add_client(struct group *g, const char *id, X509 *cert, STACK_OF(X509) * beside, EVP_PKEY *key)
{
    struct client *c = calloc(1, sizeof *c);
    g->clients = realloc(g->clients, (g->n + 1) * sizeof(struct client *));
    g->clients[g->n++] = c;
    c->fd = -1;
    c->group = g;
    c->cert = cert;
    c->beside = beside;
    c->key = key;
    snprintf(c->id, sizeof c->id, "%s", id);
    return c;
}

static void print_client(FILE *out, const struct client *c)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    X509_digest(c->cert, EVP_sha256(), digest, &len);
    fprintf(out, "%s ", c->id);
    for (unsigned i = 0; i < len; i++)
        fprintf(out, "%02x", digest[i]);
    fputc('\n', out);
}

static void mint(struct group *g, const char *prefix, long count, const char *ca_path, const char *key_path,
                 const char *list_path)
{
    STACK_OF(X509) * beside;
    X509 *ca = read_cert(ca_path, &beside);
    EVP_PKEY *ca_key = read_key(key_path), *key = EVP_EC_gen("P-256");
    FILE *list = fopen(list_path, "w");
    if (!ca || !ca_key || !list) {
        error("cannot read the CA or write the list");
        return;
    }
    sk_X509_unshift(beside, ca); /* sent along: the device's chain up to the registered CA */
    for (long i = 0; i < count; i++) {
        char id[64];
        snprintf(id, sizeof id, "%.40s%ld", prefix, i);
        print_client(list, add_client(g, id, issue(id, i + 1, ca, ca_key, key), beside, key));
    }
    fclose(list);
    ok("minted");
}

static void load(struct group *g, const char *id, const char *chain_path, const char *key_path)
{
    STACK_OF(X509) * beside;
    X509 *cert = read_cert(chain_path, &beside);
    EVP_PKEY *key = read_key(key_path);
    if (!cert || !key) {
        error("cannot read the credential");
        return;
    }
    add_client(g, id, cert, beside, key);
    ok("loaded");
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void end_client(struct client *c)
{
    struct group *g = c->group;
    if (c->state == OPEN) {
        g->open--;
        g->last_end_us = now_us();
        if (!g->first_end_us)
            g->first_end_us = g->last_end_us;
    } else if (c->state != CLOSED) {
        g->attempting--;
    }
    c->state = CLOSED;
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void watch(struct client *c, bool writing)
{
    struct epoll_event e = {.events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
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
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        g->broken++;
        end_client(c);
        return;
    }
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static bool start_tls(struct client *c)
{
    int problem = 0;
    socklen_t len = sizeof problem;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &len);
    if (problem)
        return false;
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_use_cert_and_key(c->ssl, c->cert, c->key, c->beside, 1);
    SSL_set_connect_state(c->ssl);
    c->state = HANDSHAKING;
    return true;
}

static bool write_all(struct client *c, const void *bytes, size_t len)
{
    return SSL_write(c->ssl, bytes, (int)len) == (int)len; /* small, into an empty socket buffer */
}

/* CONNECT of MQTT 3.1.1, clean session, keep alive 600 s. */
static bool ask(struct client *c)
{
    uint8_t packet[96] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 600 >> 8, 600 & 255, 0};
    size_t len = strlen(c->id);
    packet[13] = (uint8_t)len;
    memcpy(packet + 14, c->id, len);
    packet[1] = (uint8_t)(12 + len);
    c->state = ASKING;
    return write_all(c, packet, 14 + len);
}

/* False: nothing more to do for now, or the connection is at its end (*dead). */
static bool wants_more(struct client *c, int rc, bool *dead)
{
    int why = SSL_get_error(c->ssl, rc);
    *dead = why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE;
    ERR_clear_error();
    if (!*dead)
        watch(c, why == SSL_ERROR_WANT_WRITE);
    return false;
}

static bool shake(struct client *c, bool *dead)
{
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1)
        return wants_more(c, rc, dead);
    watch(c, false);
    *dead = !ask(c);
    return !*dead;
}

static void note_ping(struct client *c)
{
    struct group *g = c->group;
    int64_t now = now_us(), took = now - c->pinged_us;
    g->pings++;
    if (took > SLOW_US && g->n_slow < SLOW_MAX)
        g->slow[g->n_slow++] = (struct slow){c->pinged_us, took};
    c->pinged_us = 0;
    c->next_ping_us = now + g->ping_us;
}

/* One whole packet. */
static bool packet(struct client *c)
{
    struct group *g = c->group;
    if (c->in[0] == 0x20 && c->state == ASKING) {
        if (c->in[3] != 0) {
            g->refused++;
            return false;
        }
        c->state = OPEN;
        c->admitted = true;
        g->attempting--;
        g->open++;
        g->opened_us = now_us();
    } else if (c->in[0] == 0xD0 && c->pinged_us) {
        note_ping(c);
    }
    return true;
}

static bool take(struct client *c, uint8_t byte)
{
    if (c->n_in < sizeof c->in)
        c->in[c->n_in] = byte;
    c->n_in++;
    if (c->n_in < 2 || c->n_in < 2u + c->in[1])
        return true;
    c->n_in = 0;
    return packet(c);
}

static bool receive(struct client *c, bool *dead)
{
    uint8_t buffer[256];
    int n = SSL_read(c->ssl, buffer, sizeof buffer);
    if (n <= 0)
        return wants_more(c, n, dead);
    for (int i = 0; i < n && !*dead; i++)
        *dead = !take(c, buffer[i]);
    return !*dead;
}

static void serve(struct client *c)
{
    bool dead = false, was_open = c->state == OPEN;
    size_t refused = c->group->refused;
    if (c->state == CONNECTING)
        dead = !start_tls(c);
    while (!dead && (c->state == HANDSHAKING ? shake(c, &dead) : receive(c, &dead)))
        ;
    if (!dead)
        return;
    if (!was_open && refused == c->group->refused)
        c->group->broken++;
    end_client(c);
}

/* --- work that is due --------------------------------------------------------------------------------------------- */

static void open_more(struct group *g)
{
    char text[128];
    while (g->attempting < g->parallel && g->next < g->n) {
        struct client *c = g->clients[g->next++];
        if (c->state == CLOSED)
            begin(c);
    }
    if (!g->opening || g->attempting || g->next < g->n)
        return;
    g->opening = false;
    snprintf(text, sizeof text, "%zu %zu %zu", g->open, g->refused, g->broken);
    ok(text);
}

static void give_up_slow_attempts(struct group *g, int64_t now)
{
    for (size_t i = 0; g->attempting && i < g->n; i++) {
        struct client *c = g->clients[i];
        if (c->state == CLOSED || c->state == OPEN || now - c->begun_us < ATTEMPT_US)
            continue;
        g->broken++;
        end_client(c);
    }
}

static void send_pings(struct group *g, int64_t now)
{
    static const uint8_t pingreq[] = {0xC0, 0};
    for (size_t i = 0; g->ping_us && i < g->n; i++) {
        struct client *c = g->clients[i];
        if (c->state != OPEN || c->pinged_us || c->next_ping_us > now)
            continue;
        c->pinged_us = now_us();
        if (!write_all(c, pingreq, sizeof pingreq))
            end_client(c);
    }
}

static void answer_wait(struct group *g, int64_t now)
{
    char text[64];
    if (!g->wait_until || (g->open > g->wait_open && now < g->wait_until))
        return;
    g->wait_until = 0;
    snprintf(text, sizeof text, "%zu", g->open);
    ok(text);
}

static void run_group(struct group *g)
{
    static int64_t next_look;
    int64_t now = now_us();
    if (g->opening)
        open_more(g);
    if (g->opening && now >= next_look) {
        give_up_slow_attempts(g, now);
        next_look = now + 500000;
    }
    send_pings(g, now);
    answer_wait(g, now);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

/* "ok OPEN REFUSED BROKEN PINGS OPENED FIRST_END LAST_END WAITING SENT:TOOK …": the answers that took longer than
 * SLOW_US; WAITING is how long the oldest unanswered ping has been waiting. */
static void report(struct group *g)
{
    int64_t now = now_us(), waiting = 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state == OPEN && g->clients[i]->pinged_us && now - g->clients[i]->pinged_us > waiting)
            waiting = now - g->clients[i]->pinged_us;
    printf("ok %zu %zu %zu %zu %lld %lld %lld %lld", g->open, g->refused, g->broken, g->pings, (long long)g->opened_us,
           (long long)g->first_end_us, (long long)g->last_end_us, (long long)waiting);
    for (size_t i = 0; i < g->n_slow; i++)
        printf(" %lld:%lld", (long long)g->slow[i].sent_us, (long long)g->slow[i].took_us);
    printf("\n");
    fflush(stdout);
    g->n_slow = g->pings = 0;
}

static void list_admitted(const struct group *g, const char *path)
{
    FILE *out = fopen(path, "w");
    if (!out) {
        error("cannot write the list");
        return;
    }
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->admitted)
            print_client(out, g->clients[i]);
    fclose(out);
    ok("listed");
}

static void close_all(struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->state != CLOSED)
            end_client(g->clients[i]);
    ok("closed");
}

static void command(char *line)
{
    char word[7][512] = {{0}};
    int n = sscanf(line, "%511s %511s %511s %511s %511s %511s %511s", word[0], word[1], word[2], word[3], word[4],
                   word[5], word[6]);
    int number = n > 1 ? atoi(word[1]) : -1;
    if (number < 0 || number >= GROUPS) {
        error("which group?");
        return;
    }
    struct group *g = &groups[number];
    if (strcmp(word[0], "mint") == 0 && n == 7) {
        mint(g, word[2], atol(word[3]), word[4], word[5], word[6]);
    } else if (strcmp(word[0], "load") == 0 && n == 5) {
        load(g, word[2], word[3], word[4]);
    } else if (strcmp(word[0], "open") == 0 && n == 4) {
        g->port = atoi(word[2]);
        g->parallel = (size_t)atoi(word[3]);
        g->refused = g->broken = g->next = 0;
        g->first_end_us = g->last_end_us = 0;
        g->opening = true;
    } else if (strcmp(word[0], "ping") == 0 && n == 3) {
        g->ping_us = (int64_t)atoi(word[2]) * 1000;
        ok("pinging");
    } else if (strcmp(word[0], "wait") == 0 && n == 4) {
        g->wait_open = (size_t)atol(word[2]);
        g->wait_until = now_us() + atol(word[3]) * 1000;
    } else if (strcmp(word[0], "report") == 0) {
        report(g);
    } else if (strcmp(word[0], "admitted") == 0 && n == 3) {
        list_admitted(g, word[2]);
    } else if (strcmp(word[0], "close") == 0) {
        close_all(g);
    } else {
        error("unknown command");
    }
}

/* Whole lines from stdin.  False at its end. */
static bool read_commands(void)
{
    static char buffer[8192];
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
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &e) == 0;
}

int main(void)
{
    struct epoll_event events[512];
    signal(SIGPIPE, SIG_IGN);
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
