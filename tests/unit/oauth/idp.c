// SPDX-License-Identifier: ISC
#include "idp.h"

#include "mint.h"
#include "oauth/fetch.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES 16

struct page {
    char *path, *response;
    size_t len;
    unsigned requests;
};

struct idp {
    int listener, port;
    SSL_CTX *tls;
    char ca_file[64];
    pthread_t thread;
    pthread_mutex_t lock;
    struct page pages[PAGES];
    int stop[2]; /* a pipe: readable when it is time to go */
    int hung[PAGES];
    size_t n_hung;
};

static void need(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

static X509 *self_signed(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_issuer_name(cert, name);
    X509_set_pubkey(cert, key);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    X509_add_ext(cert, san, -1);
    X509_EXTENSION_free(san);
    need(X509_sign(cert, key, EVP_sha256()) > 0, "sign");
    return cert;
}

static void make_tls(struct idp *idp)
{
    EVP_PKEY *key = mint_key(IA_KEY_P256, 0);
    X509 *cert = self_signed(key);
    snprintf(idp->ca_file, sizeof idp->ca_file, "/tmp/ia-idp-%d.pem", (int)getpid());
    FILE *out = fopen(idp->ca_file, "w");
    need(out && PEM_write_X509(out, cert) == 1, idp->ca_file);
    fclose(out);
    idp->tls = SSL_CTX_new(TLS_server_method());
    need(SSL_CTX_use_certificate(idp->tls, cert) == 1 && SSL_CTX_use_PrivateKey(idp->tls, key) == 1, "certificate");
    X509_free(cert);
}

static char *copy_bytes(const char *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    need(copy != NULL, "memory");
    memcpy(copy, bytes, len);
    return copy;
}

/* What to answer to a request, counted; NULL: nothing at all.  The caller frees. */
static char *answer(struct idp *idp, const char *request, size_t *len)
{
    static const char not_found[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    char path[256] = "";
    char *text = NULL;
    sscanf(request, "GET %255s", path);
    pthread_mutex_lock(&idp->lock);
    struct page *page = idp->pages;
    while (page->path && strcmp(page->path, path) != 0)
        page++;
    page->requests++; /* the empty last one counts what is not there */
    *len = page->path ? page->len : sizeof not_found - 1;
    if (!page->path)
        text = copy_bytes(not_found, *len);
    else if (page->response)
        text = copy_bytes(page->response, *len);
    pthread_mutex_unlock(&idp->lock);
    return text;
}

static int receive(int fd, SSL *ssl, char *to, int size)
{
    return ssl ? SSL_read(ssl, to, size) : (int)recv(fd, to, (size_t)size, 0);
}

static void transmit(int fd, SSL *ssl, const char *text, size_t len)
{
    while (len > 0) {
        int n = ssl ? SSL_write(ssl, text, (int)len) : (int)send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* One connection, one request.  True when the socket is to be kept open unanswered. */
static bool talk(struct idp *idp, int fd, SSL *ssl)
{
    char request[4096];
    int used = 0;
    if (ssl && SSL_accept(ssl) != 1)
        return false;
    while (used < (int)sizeof request - 1) {
        int n = receive(fd, ssl, request + used, (int)sizeof request - 1 - used);
        if (n <= 0)
            return false;
        used += n;
        request[used] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    size_t len = 0;
    char *text = answer(idp, request, &len);
    if (text)
        transmit(fd, ssl, text, len);
    if (text && ssl)
        SSL_shutdown(ssl);
    bool hang = !text;
    free(text);
    return hang;
}

static void serve_one(struct idp *idp)
{
    int fd = accept(idp->listener, NULL, NULL);
    if (fd < 0)
        return;
    SSL *ssl = NULL;
    if (idp->tls) {
        ssl = SSL_new(idp->tls);
        SSL_set_fd(ssl, fd);
    }
    bool hang = talk(idp, fd, ssl);
    SSL_free(ssl);
    if (hang && idp->n_hung < PAGES)
        idp->hung[idp->n_hung++] = fd;
    else
        close(fd);
}

static void *run(void *ctx)
{
    struct idp *idp = ctx;
    struct pollfd fds[2] = {{.fd = idp->listener, .events = POLLIN}, {.fd = idp->stop[0], .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && !fds[1].revents)
        serve_one(idp);
    return NULL;
}

struct idp *idp_start(bool tls)
{
    struct idp *idp = calloc(1, sizeof *idp);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    signal(SIGPIPE, SIG_IGN); /* SSL_write knows no MSG_NOSIGNAL */
    pthread_mutex_init(&idp->lock, NULL);
    idp->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(bind(idp->listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(idp->listener, 16) == 0, "listen");
    need(getsockname(idp->listener, (struct sockaddr *)&at, &len) == 0 && pipe(idp->stop) == 0, "getsockname");
    idp->port = ntohs(at.sin_port);
    if (tls)
        make_tls(idp);
    need(pthread_create(&idp->thread, NULL, run, idp) == 0, "thread");
    return idp;
}

void idp_stop(struct idp *idp)
{
    need(write(idp->stop[1], "x", 1) == 1, "stop");
    pthread_join(idp->thread, NULL);
    for (size_t i = 0; i < idp->n_hung; i++)
        close(idp->hung[i]);
    for (size_t i = 0; i < PAGES; i++) {
        free(idp->pages[i].path);
        free(idp->pages[i].response);
    }
    close(idp->listener);
    close(idp->stop[0]);
    close(idp->stop[1]);
    if (idp->tls)
        unlink(idp->ca_file);
    SSL_CTX_free(idp->tls);
    pthread_mutex_destroy(&idp->lock);
    free(idp);
}

int idp_port(const struct idp *idp)
{
    return idp->port;
}

const char *idp_ca_file(const struct idp *idp)
{
    return idp->ca_file;
}

static void set_response(struct idp *idp, const char *path, char *response, size_t len)
{
    pthread_mutex_lock(&idp->lock);
    struct page *page = idp->pages;
    while (page->path && strcmp(page->path, path) != 0)
        page++;
    need(page < idp->pages + PAGES - 1, "pages");
    if (!page->path)
        page->path = strdup(path);
    free(page->response);
    page->response = response;
    page->len = len;
    pthread_mutex_unlock(&idp->lock);
}

void idp_serve(struct idp *idp, const char *path, const char *response)
{
    size_t len = response ? strlen(response) : 0;
    set_response(idp, path, response ? copy_bytes(response, len) : NULL, len);
}

void idp_serve_bytes(struct idp *idp, const char *path, const char *headers, const void *body, size_t len)
{
    char *head = mint_text("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n", len, headers);
    size_t head_len = strlen(head);
    char *response = malloc(head_len + len + 1);
    need(response != NULL, "memory");
    memcpy(response, head, head_len);
    memcpy(response + head_len, body, len);
    free(head);
    set_response(idp, path, response, head_len + len);
}

void idp_serve_body(struct idp *idp, const char *path, const char *headers, const char *body)
{
    idp_serve_bytes(idp, path, headers, body, strlen(body));
}

unsigned idp_requests(struct idp *idp, const char *path)
{
    unsigned n = 0;
    pthread_mutex_lock(&idp->lock);
    for (struct page *page = idp->pages; page->path; page++)
        if (strcmp(page->path, path) == 0)
            n = page->requests;
    pthread_mutex_unlock(&idp->lock);
    return n;
}

bool idp_wait_for_fetcher(const struct ia_fetcher *fetcher, int timeout_ms)
{
    struct pollfd fd = {.fd = ia_fetcher_fd(fetcher), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

void idp_finish_fetches(struct ia_fetcher *fetcher)
{
    while (ia_fetcher_busy(fetcher)) {
        need(idp_wait_for_fetcher(fetcher, 4 * IA_FETCH_TIMEOUT_MS), "a fetch goes on without waking its descriptor");
        ia_fetcher_run(fetcher);
    }
}
