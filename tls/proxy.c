// SPDX-License-Identifier: ISC
#include "tls/proxy.h"

#include "acl/ip.h"
#include "tls/proxy_header.h"
#include "tls/read_bio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uthash.h>

/* One connection from a balancer, from the start of its handshake to the end of its SSL. */
struct proxied {
    SSL *ssl; /* owns this (read_bio.h) */
    int fd;
    uint8_t *header; /* owned, until it is read */
    size_t have;
    bool refused;
    char address[INET6_ADDRSTRLEN]; /* "": not known yet, or the balancer's own connection */
    const void *client;             /* of Mosquitto, once BASIC_AUTH has asked */
    ia_message_callback *also;      /* NULL: nobody else wants to see messages */
    UT_hash_handle hh;              /* all, by fd */
    UT_hash_handle hh_client;       /* those that have a client, by its pointer */
};

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    struct ia_ip_set *from;
    struct proxied *by_fd, *by_client;
    struct proxied *reading; /* the one whose application data was read last; NULL: something else was */
    struct ia_proxy_counts counts;
} proxy;

/* ---- networks */

static bool is_from_balancer(const char *address)
{
    struct ia_ip ip = ia_ip_parse(address);
    return proxy.from && ip.valid && ia_ip_check(proxy.from, IA_IP_GLOBAL, NULL, &ip, 0, NULL) == IA_ALLOW;
}

static bool socket_address(int fd, char out[INET6_ADDRSTRLEN])
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0)
        return false;
    if (peer.ss_family == AF_INET6)
        return inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&peer)->sin6_addr, out, INET6_ADDRSTRLEN) != NULL;
    return peer.ss_family == AF_INET &&
           inet_ntop(AF_INET, &((struct sockaddr_in *)&peer)->sin_addr, out, INET6_ADDRSTRLEN) != NULL;
}

/* ---- one connection */

static void forget_client(struct proxied *p)
{
    if (p->client)
        HASH_DELETE(hh_client, proxy.by_client, p);
    p->client = NULL;
}

static void forget_fd(struct proxied *p)
{
    struct proxied *known = NULL;
    HASH_FIND_INT(proxy.by_fd, &p->fd, known);
    if (known == p)
        HASH_DEL(proxy.by_fd, p);
}

static void free_proxied(void *record)
{
    struct proxied *p = record;
    if (proxy.reading == p)
        proxy.reading = NULL;
    forget_client(p);
    forget_fd(p);
    free(p->header);
    free(p);
}

/* ---- the header */

enum progress { HEADER_WAITS, HEADER_DONE, HEADER_REFUSED };

static enum progress refuse_header(struct proxied *p)
{
    if (!p->refused)
        proxy.counts.refused++;
    p->refused = true;
    return HEADER_REFUSED;
}

/* Read what is missing of the header, and not one byte of what follows it.  The bytes are taken from the socket: one that
 * sends the header slowly must not keep epoll busy. */
static enum progress read_header(struct proxied *p)
{
    size_t needed = 0;
    if (p->refused)
        return HEADER_REFUSED;
    for (;;) {
        enum ia_proxy_verdict verdict = ia_proxy_header_read(p->header, p->have, &needed, p->address);
        if (verdict == IA_PROXY_REFUSED)
            return refuse_header(p);
        if (verdict != IA_PROXY_INCOMPLETE)
            return HEADER_DONE;
        ssize_t got = recv(p->fd, p->header + p->have, needed - p->have, MSG_DONTWAIT);
        if (got > 0)
            p->have += (size_t)got;
        else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return HEADER_WAITS;
        else if (got == 0 || errno != EINTR)
            return refuse_header(p);
    }
}

static enum ia_read_answer answer_proxied(void *record)
{
    struct proxied *p = record;
    switch (read_header(p)) {
    case HEADER_DONE:
        proxy.counts.connections++;
        ia_read_bio_release(p->ssl, IA_READ_PROXY_HEADER);
        free(p->header);
        p->header = NULL;
        return IA_READ_GOES_ON; /* this very read goes on, with TLS */
    case HEADER_WAITS:
        return IA_READ_RETRIES;
    case HEADER_REFUSED:
        break;
    }
    return IA_READ_FAILS;
}

static const struct ia_read_stage_ops proxied_ops = {.answer = answer_proxied, .free = free_proxied};

/* Which connection's application data is read?  Only TLS 1.3 reports when a record has been read as a whole, by the type that
 * is inside of it; a record of TLS 1.2 is reported when its header is there, and others may be read before the rest. */
static void on_message(int write_p, int version, int content_type, const void *buf, size_t len, SSL *ssl, void *arg)
{
    const struct proxied *p = arg;
    if (p->also)
        p->also(write_p, version, content_type, buf, len, ssl, NULL);
    if (!write_p && content_type == SSL3_RT_HEADER)
        proxy.reading = NULL; /* of TLS 1.3, whose inner type follows, or of TLS 1.2: not another's any more */
    if (write_p || len == 0 || content_type != SSL3_RT_INNER_CONTENT_TYPE)
        return;
    bool data = ((const uint8_t *)buf)[0] == SSL3_RT_APPLICATION_DATA && SSL_is_init_finished(ssl);
    proxy.reading = data ? arg : NULL;
}

static struct proxied *proxied_new(SSL *ssl, int fd)
{
    struct proxied *p = calloc(1, sizeof *p);
    uint8_t *header = malloc(IA_PROXY_HEADER_MAX);
    if (!p || !header || !ia_read_bio_attach(ssl, IA_READ_PROXY_HEADER, &proxied_ops, p)) {
        free(header);
        free(p);
        return NULL;
    }
    p->ssl = ssl;
    p->fd = fd;
    p->header = header;
    return p;
}

/* The socket of another connection had this number: it is closed, and its SSL is not freed yet. */
static void forget_old_fd(int fd)
{
    struct proxied *old = NULL;
    HASH_FIND_INT(proxy.by_fd, &fd, old);
    if (old)
        HASH_DEL(proxy.by_fd, old);
}

/* Without memory reads are not stopped, and the header is garbage to TLS: the connection ends. */
void ia_proxy_handshake_started(SSL *ssl)
{
    char address[INET6_ADDRSTRLEN];
    int fd = SSL_get_rfd(ssl);
    if (!proxy.from || fd < 0 || ia_read_bio_record(ssl, IA_READ_PROXY_HEADER))
        return;
    forget_old_fd(fd);
    if (!socket_address(fd, address) || !is_from_balancer(address))
        return;
    struct proxied *p = proxied_new(ssl, fd);
    if (!p)
        return;
    HASH_ADD_INT(proxy.by_fd, fd, p);
    if (!p->hh.tbl || !ia_read_bio_stop(ssl, IA_READ_PROXY_HEADER))
        return;
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, p);
}

bool ia_proxy_passes_messages_on(const SSL *ssl, ia_message_callback *also)
{
    struct proxied *p = proxy.from ? ia_read_bio_record(ssl, IA_READ_PROXY_HEADER) : NULL;
    if (p)
        p->also = also;
    return p;
}

bool ia_proxy_address_of(int fd, char out[INET6_ADDRSTRLEN])
{
    struct proxied *p = NULL;
    HASH_FIND_INT(proxy.by_fd, &fd, p);
    if (!p || !p->address[0])
        return false;
    memcpy(out, p->address, sizeof p->address);
    return true;
}

/* ---- BASIC_AUTH */

static bool shows(const struct proxied *p, const X509 *leaf)
{
    return SSL_get0_peer_certificate(p->ssl) == leaf;
}

static struct proxied *find_connection(const void *client, const X509 *leaf, bool websocket)
{
    struct proxied *p = NULL;
    HASH_FIND(hh_client, proxy.by_client, &client, sizeof client, p);
    if (p && shows(p, leaf))
        return p;
    p = websocket ? NULL : proxy.reading;
    return p && !p->client && shows(p, leaf) ? p : NULL;
}

/* Mosquitto uses the memory of a client again: the newest connection counts. */
static void claim(struct proxied *p, const void *client)
{
    struct proxied *old = NULL;
    if (p->client)
        return;
    HASH_FIND(hh_client, proxy.by_client, &client, sizeof client, old);
    if (old)
        forget_client(old);
    p->client = client;
    HASH_ADD(hh_client, proxy.by_client, client, sizeof p->client, p);
    if (!p->hh_client.tbl)
        p->client = NULL; /* no memory: it is not listed */
}

const char *ia_proxy_client_address(const void *client, X509 *leaf, bool websocket, const char *socket)
{
    if (!socket || !is_from_balancer(socket))
        return socket;
    struct proxied *p = find_connection(client, leaf, websocket);
    if (!p)
        return NULL; /* not known: another connection's address, or the balancer's, could be one that is admitted */
    claim(p, client);
    return p->address[0] ? p->address : socket;
}

/* ---- life */

struct ia_proxy_counts ia_proxy_counts(void)
{
    return proxy.counts;
}

#define PROBLEM_SIZE 128

static void note_problem(void *ctx, int64_t rule_id, const char *text)
{
    (void)rule_id;
    (void)snprintf(ctx, PROBLEM_SIZE, "%s", text);
}

#define NETWORKS_MAX 64

enum ia_rc ia_proxy_open(const char *from, struct ia_err *err)
{
    struct ia_ip_rule rules[NETWORKS_MAX];
    char problem[PROBLEM_SIZE] = "";
    const struct ia_problem_callback problems = {note_problem, problem};
    size_t n = 0;
    char *copy = strdup(from), *rest = copy;
    if (!copy)
        return ia_nomem(err);
    for (char *network; n < NETWORKS_MAX && (network = strsep(&rest, ",")) != NULL; n++)
        rules[n] = (struct ia_ip_rule){.rule_id = (int64_t)n + 1, .allow = true, .network = network};
    struct ia_ip_set *set = NULL;
    enum ia_rc rc = rest ? ia_fail(err, IA_USAGE, "option proxy_from: more than %d networks", NETWORKS_MAX)
                         : ia_ip_set_build(rules, n, &problems, &set, err);
    free(copy);
    if (rc == IA_OK && problem[0])
        rc = ia_fail(err, IA_USAGE, "option proxy_from: %s", problem);
    if (rc == IA_OK)
        rc = ia_read_bio_open(err);
    if (rc != IA_OK) {
        ia_ip_set_free(set);
        return rc;
    }
    proxy.from = set;
    return IA_OK;
}

/* Connections that are left keep their places until their SSLs are freed. */
void ia_proxy_close(void)
{
    ia_ip_set_free(proxy.from);
    proxy.from = NULL;
    proxy.reading = NULL;
}
