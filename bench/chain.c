// SPDX-License-Identifier: ISC
/* What a client certificate costs the broker: the usual TLS 1.3 handshake (the server's side, X25519, P-256, a device of a
 * registered intermediate), and the most expensive chains that pass the limits of x509/ or are refused at them.  A chain may cost
 * at most as much as five usual handshakes. */
#include "x509/chain.h"
#include "bench.h"
#include "tests/unit/x509/make_cert.h"
#include "x509/ca_set.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#define CALLS    20
#define ROUNDS   20
#define CA_BASIC "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign"
#define DEV_KU   "keyUsage=critical,digitalSignature"

struct bench_case {
    const struct ia_ca_set *set;
    X509 *leaf;
    STACK_OF(X509) * sent;
    struct ia_chain chain;
};

static struct ia_ca_set *make_set(X509 *const *cas, size_t n)
{
    struct ia_ca_spec *specs = calloc(n, sizeof *specs);
    const struct ia_ca_set_input input = {.cas = specs, .n = n, .now = MC_NOW};
    struct ia_ca_set *set = NULL;
    bench_need(specs != NULL, "memory");
    for (size_t i = 0; i < n; i++) {
        char *pem = mc_pem(cas[i]);
        specs[i] = (struct ia_ca_spec){.ca_id = (int64_t)i + 1, .active = true};
        bench_need(ia_cert_parse_pem(pem, &specs[i].cert, NULL) == IA_OK, "CA");
        free(pem);
    }
    bench_need(ia_ca_set_build(&input, &set, NULL) == IA_OK, "CA set");
    free(specs);
    return set;
}

static void verify_cases(void *ctx, size_t calls)
{
    struct bench_case *c = ctx;
    for (size_t i = 0; i < calls; i++)
        ia_chain_verify(c->set, c->leaf, c->sent, MC_NOW, &c->chain);
}

static void print_case(const char *label, struct bench_case *c, double usual)
{
    double us = bench_ns(verify_cases, c, CALLS, ROUNDS) / 1000;
    printf("%-58s %8.0f us %6.2f  %s%s\n", label, us, us / usual, ia_reason_name(c->chain.reason),
           c->chain.reason == IA_R_NONE ? "admitted" : "");
}

/* ---- the usual handshake */

static int accept_chain(X509_STORE_CTX *store, void *arg)
{
    struct bench_case *c = arg;
    ia_chain_verify(c->set, X509_STORE_CTX_get0_cert(store), X509_STORE_CTX_get0_untrusted(store), MC_NOW, &c->chain);
    return c->chain.reason == IA_R_NONE;
}

static SSL_CTX *make_context(const SSL_METHOD *method, X509 *cert, const char *key)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    bench_need(ctx && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, mc_key(key)) == 1 &&
                   SSL_CTX_set1_groups_list(ctx, "X25519") == 1,
               "TLS context");
    return ctx;
}

/* Microseconds of the server's side of one handshake. */
static double handshake_us(SSL_CTX *server_ctx, SSL_CTX *client_ctx)
{
    SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
    BIO *a = NULL, *b = NULL;
    double ns = 0;
    int done = 0;
    bench_need(server && client && BIO_new_bio_pair(&a, 0, &b, 0) == 1, "TLS connection");
    SSL_set_bio(server, a, a);
    SSL_set_bio(client, b, b);
    for (int turn = 0; turn < 8 && done != 2; turn++) {
        done = SSL_connect(client) == 1;
        double start = bench_now_ns();
        done += SSL_accept(server) == 1;
        ns += bench_now_ns() - start;
    }
    bench_need(done == 2, "handshake");
    SSL_free(server);
    SSL_free(client);
    return ns / 1000;
}

static double usual_handshake_us(struct bench_case *usual)
{
    X509 *cert = mc_cert(&(struct mc_cert){.subject = "/CN=broker", .key = "p256:server"});
    SSL_CTX *server = make_context(TLS_server_method(), cert, "p256:server");
    SSL_CTX *client = make_context(TLS_client_method(), usual->leaf, "p256:leaf");
    SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(server, accept_chain, usual);
    SSL_CTX_set_num_tickets(server, 0);
    double best = handshake_us(server, client);
    for (int i = 0; i < 200; i++) {
        double us = handshake_us(server, client);
        best = us < best ? us : best;
    }
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    X509_free(cert);
    return best;
}

/* ---- chains */

static X509 *make_next(X509 *issuer, const char *kind, int depth, const char *ext)
{
    char subject[32], key[48], issuer_key[48];
    (void)snprintf(subject, sizeof subject, "/CN=%s%d", kind, depth);
    (void)snprintf(key, sizeof key, "%s:i%d", kind, depth);
    (void)snprintf(issuer_key, sizeof issuer_key, "%s:i%d", kind, depth ? depth - 1 : 0);
    return X509_dup(mc_cert(
        &(struct mc_cert){.subject = subject, .key = key, .issuer = issuer, .issuer_key = issuer_key, .ext = ext}));
}

static struct bench_case make_deep_case(const char *kind, int intermediates)
{
    X509 *root = make_next(NULL, kind, 0, MC_ROOT), *last = root;
    struct bench_case c = {.set = make_set(&root, 1), .sent = sk_X509_new_null()};
    for (int depth = 1; depth <= intermediates; depth++) {
        last = make_next(last, kind, depth, MC_CA);
        bench_need(sk_X509_push(c.sent, last) > 0, "memory");
    }
    c.leaf = make_next(last, kind, intermediates + 1, MC_DEVICE);
    return c;
}

/* The leaf's CA is the last of `n` of one name without identifiers; the guess of OpenSSL would be the first. */
static struct bench_case make_crowded_case(int n)
{
    X509 *cas[64];
    char key[32];
    for (int i = 0; i < n; i++) {
        (void)snprintf(key, sizeof key, "p256:same%d", i);
        cas[i] = X509_dup(mc_cert(&(struct mc_cert){.subject = "/CN=Root CA", .key = key, .ext = CA_BASIC}));
    }
    struct bench_case c = {.set = make_set(cas, (size_t)n)};
    c.leaf = X509_dup(mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = "p256:leaf", .issuer = cas[n - 1], .issuer_key = key, .ext = DEV_KU}));
    return c;
}

static void append(char *ext, size_t size, const char *start, int i, const char *end)
{
    size_t used = strlen(ext);
    (void)snprintf(ext + used, size - used, "%s%d%s", start, i, end);
}

/* Two CAs with 240 constraints each, 30 names below: just under the limit; or over it. */
static struct bench_case make_constrained_case(int constraints, int names)
{
    static char ca[16384], sub[16384], leaf[16384];
    (void)snprintf(ca, sizeof ca, CA_BASIC "|nameConstraints=critical,excluded;DNS:c.y");
    for (int i = 1; i < constraints; i++)
        append(ca, sizeof ca, ",excluded;DNS:c", i, ".y");
    (void)snprintf(sub, sizeof sub, "%s", ca);
    (void)snprintf(leaf, sizeof leaf, DEV_KU "|subjectAltName=DNS:n.x");
    for (int i = 1; i < names; i++)
        append(leaf, sizeof leaf, ",DNS:n", i, ".x");
    X509 *root = make_next(NULL, "p256", 0, ca), *inter = make_next(root, "p256", 1, sub);
    struct bench_case c = {.set = make_set(&root, 1), .sent = sk_X509_new_null()};
    bench_need(sk_X509_push(c.sent, inter) > 0, "memory");
    c.leaf = make_next(inter, "p256", 2, leaf);
    return c;
}

/* Sixteen intermediates that the root vouches for, none of which signed the leaf. */
static struct bench_case make_hostile_case(const char *kind)
{
    X509 *root = make_next(NULL, "p256", 0, MC_ROOT);
    struct bench_case c = {.set = make_set(&root, 1), .sent = sk_X509_new_null()};
    char key[48];
    for (int i = 0; i < 16; i++) {
        (void)snprintf(key, sizeof key, "%s:hostile%d", kind, i);
        X509 *inter = X509_dup(mc_cert(&(struct mc_cert){.subject = "/CN=Same",
                                                         .key = key,
                                                         .issuer = root,
                                                         .issuer_key = "p256:i0",
                                                         .ext = CA_BASIC,
                                                         .serial = i + 10}));
        bench_need(sk_X509_push(c.sent, inter) > 0, "memory");
    }
    (void)snprintf(key, sizeof key, "%s:attacker", kind);
    c.leaf = X509_dup(mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = "p256:leaf", .issuer = sk_X509_value(c.sent, 0), .issuer_key = key, .ext = DEV_KU}));
    return c;
}

int main(void)
{
    X509 *root = mc_cert(&(struct mc_cert){.subject = "/CN=Root", .key = "p256:root", .ext = MC_ROOT});
    X509 *inter = mc_cert(&(struct mc_cert){
        .subject = "/CN=Inter", .key = "p256:inter", .issuer = root, .issuer_key = "p256:root", .ext = MC_CA});
    struct bench_case usual = {.set = make_set((X509 *[]){root, inter}, 2)};
    usual.leaf = X509_dup(mc_cert(&(struct mc_cert){
        .subject = "/CN=d", .key = "p256:leaf", .issuer = inter, .issuer_key = "p256:inter", .ext = MC_DEVICE}));
    double handshake = usual_handshake_us(&usual);
    printf("%-58s %8.0f us %6.2f\n", "usual handshake, the server's side", handshake, 1.0);
    struct {
        const char *label;
        struct bench_case c;
    } cases[] = {
        {"device of a registered intermediate", usual},
        {"six intermediates, P-256", make_deep_case("p256", 6)},
        {"two intermediates, P-384", make_deep_case("p384", 2)},
        {"two intermediates, P-521", make_deep_case("curve:P-521", 2)},
        {"the last of 36 CAs of one name, no identifiers", make_crowded_case(36)},
        {"30 names under 480 name constraints", make_constrained_case(240, 30)},
        {"refused: 64 names under 512 name constraints", make_constrained_case(256, 64)},
        {"refused: 16 intermediates of one name, P-256", make_hostile_case("p256")},
        {"refused: 16 intermediates of one name, P-384", make_hostile_case("p384")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        print_case(cases[i].label, &cases[i].c, handshake);
    return 0;
}
