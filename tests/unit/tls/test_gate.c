// SPDX-License-Identifier: ISC
/* The TLS gate in real handshakes over loopback: what it hangs on a leaf, what it refuses and with which alert, and
 * what it leaves alone. */
#include "tls/gate.h"
#include "tls/listener.h"
#include "tls/sessions.h"

#include "tests/unit/suite.h"
#include "tests/unit/tls/tls_pair.h"
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the clock, and verifications counted
 * --------------------------------------------------------------------------- */

int64_t __wrap_ia_wall_s(void);
void __real_ia_chain_verify(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now,
                            struct ia_chain *out);
void __wrap_ia_chain_verify(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now,
                            struct ia_chain *out);

static int64_t wall_s = MC_NOW;

int64_t __wrap_ia_wall_s(void)
{
    return wall_s;
}

static unsigned n_full_verifications;

void __wrap_ia_chain_verify(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now,
                            struct ia_chain *out)
{
    n_full_verifications++;
    __real_ia_chain_verify(set, leaf, sent, now, out);
}

/* --- the gate's questions
 * ------------------------------------------------------------------------------------------- */

static struct ia_snapshot *snapshot;
static struct ia_gate_options options;
static unsigned n_proven, n_refused;
static uint16_t proven_port;
static enum ia_reason refused_for; /* IA_R_NONE: by its address */
static char refused_address[64];
static const X509 *refused_leaf;

static const struct ia_snapshot *give_snapshot(void *ctx)
{
    (void)ctx;
    return snapshot;
}

static void note_proven(void *ctx, SSL *ssl, X509 *leaf, const struct ia_chain *chain)
{
    (void)ctx;
    ck_assert_int_eq(chain->reason, IA_R_NONE);
    ck_assert_ptr_eq(SSL_get0_peer_certificate(ssl), leaf);
    char address[INET6_ADDRSTRLEN];
    ia_gate_peer_address(ssl, address);
    ck_assert_str_eq(address, "127.0.0.1");
    proven_port = ia_gate_port(leaf);
    n_proven++;
}

static void note_refused(void *ctx, const char *address, const struct ia_chain *chain, X509 *leaf)
{
    refused_leaf = leaf;
    (void)ctx;
    n_refused++;
    refused_for = chain ? chain->reason : IA_R_NONE;
    strncpy(refused_address, address, sizeof refused_address - 1);
}

static const struct ia_gate_hooks hooks = {
    .snapshot = give_snapshot, .peek_snapshot = give_snapshot, .proven = note_proven, .refused = note_refused};

/* `cas` as pki_set has them, and an address rule or NULL. */
static void configure(const char *cas, const char *denied_network)
{
    const struct ia_ip_rule rule = {.rule_id = 1, .network = denied_network, .scope = IA_IP_GLOBAL};
    static uint64_t generation;
    ia_snapshot_free(snapshot);
    snapshot = calloc(1, sizeof *snapshot);
    ck_assert_ptr_nonnull(snapshot);
    snapshot->generation = snapshot->ca_generation = ++generation;
    snapshot->cas = pki_set(cas, MC_NOW);
    ck_assert_int_eq(ia_ip_set_build(&rule, denied_network ? 1 : 0, NULL, &snapshot->ips, NULL), IA_OK);
}

static void open_gate(enum ia_gate_mode mode)
{
    struct ia_err err = {0};
    options.mode = mode;
    options.max_chain_bytes = 16384;
    ck_assert_msg(ia_gate_open(&options, &hooks, &err) == IA_OK, "%s", err.msg);
}

static void tear_down(void)
{
    ia_gate_close();
    ia_snapshot_free(snapshot);
    snapshot = NULL;
}

/* --- handshakes
 * ----------------------------------------------------------------------------------------------------- */

/* A listener's context as Mosquitto makes it. */
static SSL_CTX *listener(int verify_mode)
{
    const struct mc_cert spec = {
        .subject = "/CN=localhost", .key = "p256:broker", .ext = "subjectAltName=DNS:localhost"};
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509 *cert = mc_cert(&spec);
    ck_assert(ctx && SSL_CTX_use_certificate(ctx, cert) == 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, mc_key("p256:broker")), 1);
    ck_assert_int_eq(SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4), 1);
    SSL_CTX_set_verify(ctx, verify_mode, NULL);
    X509_free(cert);
    return ctx;
}

#define REQUIRED (SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT)

static unsigned n_tickets;
static int alert; /* that the client got, 0: none */
static SSL_SESSION *kept;

static int count_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    n_tickets++;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void note_alert(const SSL *ssl, int where, int value)
{
    (void)ssl;
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
        alert = value & 0xFF;
}

static SSL_CTX *device(const char *leaf, const char *key, const char *inter)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ck_assert_ptr_nonnull(ctx);
    if (leaf) {
        ck_assert_int_eq(SSL_CTX_use_certificate(ctx, pki_cert(leaf)), 1);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, mc_key(key)), 1);
    }
    if (inter)
        ck_assert_int_eq(SSL_CTX_add1_chain_cert(ctx, pki_cert(inter)), 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(ctx, count_ticket);
    SSL_CTX_set_info_callback(ctx, note_alert);
    return ctx;
}

/* Both ends of a loopback connection; the port is the server's, and the same for all connections of a test. */
static uint16_t connected_pair(int *server, int *client)
{
    static int fd = -1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    if (fd < 0) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 1) == 0);
    }
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *client = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(*client, (struct sockaddr *)&at, sizeof at), 0);
    *server = accept(fd, NULL, NULL);
    ck_assert_int_ge(*server, 0);
    ck_assert(fcntl(*server, F_SETFL, O_NONBLOCK) == 0 && fcntl(*client, F_SETFL, O_NONBLOCK) == 0);
    return ntohs(at.sin_port);
}

static bool wants_more(const SSL *ssl, int rc)
{
    int error = SSL_get_error(ssl, rc);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void (*inspect_client)(SSL *client); /* NULL: not asked for; called when the handshake has ended */

/* One connection.  True: the server took it; its SSL then is in *out (the caller frees it). */
static bool handshake(SSL_CTX *listening, SSL_CTX *from, SSL_SESSION *offered, SSL **out)
{
    int server_fd, client_fd, server_rc = -1, client_rc = -1;
    uint16_t port = connected_pair(&server_fd, &client_fd);
    proven_port = 0;
    if (options.mode == IA_GATE_PORTS && options.n_ports == 1 && options.ports[0] == 0)
        options.ports[0] = port; /* 'this one' */
    SSL *server = SSL_new(listening), *client = SSL_new(from);
    ck_assert(SSL_set_fd(server, server_fd) == 1 && SSL_set_fd(client, client_fd) == 1);
    ck_assert(!offered || SSL_set_session(client, offered) == 1);
    alert = 0;
    bool server_goes_on = true, client_goes_on = true;
    while (server_goes_on || client_goes_on) {
        ERR_clear_error();
        if (client_goes_on) {
            client_rc = SSL_connect(client);
            client_goes_on = client_rc != 1 && wants_more(client, client_rc);
        }
        ERR_clear_error();
        if (server_goes_on) {
            server_rc = SSL_accept(server);
            server_goes_on = server_rc != 1 && wants_more(server, server_rc);
            ck_assert_msg(server_rc != 1 || ERR_peek_error() == 0, "an error is left behind");
        }
        if (client_rc == 1 && !server_goes_on)
            break;
    }
    char byte; /* TLS 1.3: tickets and alerts come after the client has finished */
    (void)SSL_read(client, &byte, 1);
    ck_assert(proven_port == 0 || proven_port == port);
    if (inspect_client)
        inspect_client(client);
    ERR_clear_error();
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL spoils its session */
    SSL_free(client);
    close(client_fd);
    close(server_fd);
    if (server_rc == 1 && out)
        *out = server;
    else
        SSL_free(server);
    return server_rc == 1;
}

/* Handshake of that device with a listener that requires certificates; the gate's result for its leaf. */
static bool connects(const char *leaf, const char *key, const char *inter, enum ia_gate_leaf *result,
                     struct ia_chain *chain)
{
    SSL_CTX *server = listener(REQUIRED), *client = device(leaf, key, inter);
    SSL *ssl = NULL;
    bool done = handshake(server, client, NULL, &ssl);
    if (done && result) {
        uint64_t generation = 0;
        X509 *peer = SSL_get1_peer_certificate(ssl);
        *result = ia_gate_result(peer, chain, &generation);
        ck_assert(*result == IA_LEAF_FOREIGN || generation == snapshot->ca_generation);
        X509_free(peer);
    }
    SSL_free(ssl);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    return done;
}

/* --- the gate
 * ------------------------------------------------------------------------------------------------------- */

START_TEST(good_chain_is_hung_on_the_leaf)
{
    enum ia_gate_leaf result;
    struct ia_chain chain;
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    ck_assert(!ia_gate_has_listeners());
    ck_assert(connects("leaf", "p256:leaf", "inter", &result, &chain)); /* its intermediate is not registered */
    ck_assert(ia_gate_has_listeners());
    ck_assert_int_eq(result, IA_LEAF_VERIFIED);
    ck_assert_int_eq(chain.ca_id, 1);
    ck_assert_uint_eq(chain.n_links, 3);
    ck_assert_uint_eq(n_proven, 1);
    ck_assert_uint_ne(proven_port, 0);
    ck_assert_uint_eq(n_refused, 0);
}
END_TEST

/* TLS alerts: RFC 8446 6.2. */
static const struct {
    const char *label, *cas, *leaf, *key, *inter;
    enum ia_reason reason;
    int alert;
} refusals[] = {
    {"nobody registered its CA", "root2", "leaf", "p256:leaf", "inter", IA_R_CA_UNKNOWN, SSL_AD_UNKNOWN_CA},
    {"intermediate is missing", "root", "leaf", "p256:leaf", NULL, IA_R_CA_UNKNOWN, SSL_AD_UNKNOWN_CA},
    {"expired", "root", "expired_leaf", "p256:leaf", NULL, IA_R_CERTIFICATE_EXPIRED, SSL_AD_CERTIFICATE_EXPIRED},
    {"revoked", "inter+revokes_leaf", "leaf", "p256:leaf", NULL, IA_R_CERTIFICATE_REVOKED, SSL_AD_CERTIFICATE_REVOKED},
    {"CA disabled", "-root", "leaf_of_root", "p256:leaf", NULL, IA_R_CA_INACTIVE, 0},
    {"forged", "root", "forged_leaf", "p256:leaf", NULL, IA_R_CHAIN_INVALID, 0},
    {"not for clients", "root", "server_leaf", "p256:leaf", NULL, IA_R_CERTIFICATE_UNFIT, 0},
};

START_TEST(bad_chain_is_refused_with_its_alert)
{
    configure(refusals[_i].cas, NULL);
    open_gate(IA_GATE_ALL);
    ck_assert_msg(!connects(refusals[_i].leaf, refusals[_i].key, refusals[_i].inter, NULL, NULL), "%s",
                  refusals[_i].label);
    ck_assert_msg(n_refused == 1 && refused_for == refusals[_i].reason, "%s: %s", refusals[_i].label,
                  ia_reason_name(refused_for));
    ck_assert_str_eq(refused_address, "127.0.0.1");
    ck_assert_ptr_nonnull(refused_leaf);
    ck_assert_msg(alert != 0, "%s: the client gets no alert", refusals[_i].label);
    if (refusals[_i].alert)
        ck_assert_msg(alert == refusals[_i].alert, "%s: alert %d", refusals[_i].label, alert);
    ck_assert_uint_eq(n_proven, 0);
}
END_TEST

START_TEST(no_certificate_is_refused_where_one_is_required)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    ck_assert(!connects(NULL, NULL, NULL, NULL, NULL));
    ck_assert_uint_eq(n_proven, 0);
    ck_assert_uint_eq(n_refused, 1);
    ck_assert_int_eq(refused_for, IA_R_NO_CREDENTIAL);
    ck_assert_str_eq(refused_address, "127.0.0.1");
    ck_assert_ptr_null(refused_leaf);
}
END_TEST

/* OpenSSL would take 100 KiB. */
static const struct {
    const char *label;
    int bytes, limit;
    bool taken;
} lists[] = {
    {"less than 16 KiB", 14 << 10, 16384, true},
    {"more than 16 KiB", 17 << 10, 16384, false},
    {"less than max_chain_bytes", 60 << 10, 65536, true},
    {"more than max_chain_bytes", 66 << 10, 65536, false},
};

/* About 2.4 KiB, as with a post-quantum signature. */
static X509 *large_certificate(void)
{
    char ext[2200] = "nsComment=";
    memset(ext + strlen(ext), 'x', 2100);
    const struct mc_cert spec = {.subject = "/CN=Large", .key = "p256:large", .ext = ext};
    return mc_cert(&spec);
}

START_TEST(certificate_list_is_bounded)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    options.max_chain_bytes = lists[_i].limit;
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf", "p256:leaf", "inter");
    X509 *large = large_certificate();
    for (int left = lists[_i].bytes; left > 0; left -= i2d_X509(large, NULL))
        ck_assert_int_eq(SSL_CTX_add1_chain_cert(client, large), 1);
    ck_assert_msg(handshake(server, client, NULL, NULL) == lists[_i].taken, "%s", lists[_i].label);
    ck_assert_uint_eq(n_proven, lists[_i].taken);
    X509_free(large);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* OpenSSL parses what a client sends before it asks the gate: the key alone may cost a quarter of a second (sent_list.h). */
static const struct {
    const char *label, *key;
    int copies, version;
    bool taken;
} costly[] = {
    {"a named curve", "curve:P-224:", 1, TLS1_3_VERSION, true},
    {"compressed, and a root is cheap", "compressed:P-256:", 1, TLS1_3_VERSION, true},
    {"compressed, and a root is not", "compressed:P-224:", 1, TLS1_3_VERSION, false},
    {"the same", "compressed:P-224:", 1, TLS1_2_VERSION, false},
    {"explicit parameters", "explicit:", 1, TLS1_3_VERSION, false},
    {"the same", "explicit:", 1, TLS1_2_VERSION, false},
    {"32 certificates", "p256:any", 30, TLS1_3_VERSION, true},
    {"33 certificates", "p256:any", 31, TLS1_3_VERSION, false},
    {"32 certificates", "p256:any", 30, TLS1_2_VERSION, true},
    {"33 certificates", "p256:any", 31, TLS1_2_VERSION, false},
};

START_TEST(certificates_that_are_costly_to_parse_are_refused_unparsed)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    const struct mc_cert spec = {.subject = "/CN=any", .key = costly[_i].key};
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf", "p256:leaf", "inter");
    X509 *sent = mc_cert(&spec);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(client, costly[_i].version), 1);
    for (int n = 0; n < costly[_i].copies; n++)
        ck_assert_int_eq(SSL_CTX_add1_chain_cert(client, sent), 1);
    ck_assert_msg(handshake(server, client, NULL, NULL) == costly[_i].taken, "%s", costly[_i].label);
    ck_assert_uint_eq(n_proven, costly[_i].taken);
    ck_assert_uint_eq(n_refused, !costly[_i].taken);
    if (!costly[_i].taken) {
        ck_assert_int_eq(refused_for, IA_R_CHAIN_INVALID);
        ck_assert_ptr_null(refused_leaf);
        ck_assert_int_eq(alert, SSL_AD_DECODE_ERROR);
    }
    X509_free(sent);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* An identity provider's, as the worker's libcurl would meet it.  Its context is no listener: the gate was not open. */
START_TEST(servers_certificates_that_are_costly_to_parse_are_refused_as_well)
{
    const struct mc_cert spec = {.subject = "/CN=any", .key = costly[_i].key};
    SSL_CTX *server = listener(SSL_VERIFY_NONE);
    X509 *sent = mc_cert(&spec);
    for (int n = 0; n < costly[_i].copies + 1; n++) /* without an intermediate */
        ck_assert_int_eq(SSL_CTX_add1_chain_cert(server, sent), 1);
    configure("root", NULL);
    open_gate(IA_GATE_OFF);
    SSL_CTX *client = SSL_CTX_new(TLS_client_method());
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(client, costly[_i].version), 1);
    struct tls_pair pair = tls_pair_connect(server, client, 0);
    (void)tls_pair_handshake(&pair);
    ck_assert_msg((SSL_get_state(pair.client) == TLS_ST_OK) == costly[_i].taken, "%s", costly[_i].label);
    ck_assert_uint_ne(SSL_get_options(pair.client) & (UINT64_C(1) << 33), 0);
    ck_assert_uint_eq(n_refused, 0);
    tls_pair_close(&pair);
    X509_free(sent);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* RFC 8879: what is sent is bounded, what it inflates to is not.  This OpenSSL may have no compression: the option is
 * looked at. */
START_TEST(compressed_certificates_are_not_asked_for)
{
    SSL *ssl = NULL;
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf", "p256:leaf", "inter");
    ck_assert(handshake(server, client, NULL, &ssl));
    ck_assert_uint_ne(SSL_get_options(ssl) & (UINT64_C(1) << 33), 0);
    SSL_free(ssl);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* --- what a client may ask for before it has proved anything */

static const struct {
    const char *group;
    bool taken;
} groups[] = {
    {"X25519", true},          {"P-256", true},      {"P-384", true}, {"P-521", true},
    {"ffdhe2048", false},      {"ffdhe8192", false}, {"X448", false}, {"brainpoolP512r1:ffdhe4096", false},
    {"ffdhe8192:P-256", true},
};

START_TEST(key_exchange_groups_are_restricted_where_no_certificate_is_asked_for)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(SSL_VERIFY_NONE), *client = device(NULL, NULL, NULL);
    ck_assert_int_eq(SSL_CTX_set1_groups_list(client, groups[_i].group), 1);
    ck_assert_msg(handshake(server, client, NULL, NULL) == groups[_i].taken, "%s", groups[_i].group);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* Mosquitto makes its SSL when it accepts a connection, and the context is prepared at the first ClientHello. */
START_TEST(key_exchange_groups_are_restricted_for_connections_that_were_there_before_the_first_hello)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    ck_assert_int_eq(SSL_CTX_set1_groups_list(client, groups[_i].group), 1);
    struct tls_pair first = tls_pair_connect(server, client, 0), second = tls_pair_connect(server, client, 0);
    ck_assert_int_eq(tls_pair_handshake(&first), groups[_i].taken);
    ck_assert_int_eq(tls_pair_handshake(&second), groups[_i].taken);
    tls_pair_close(&first);
    tls_pair_close(&second);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

START_TEST(key_exchange_groups_are_restricted)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    ck_assert_int_eq(SSL_CTX_set1_groups_list(client, groups[_i].group), 1);
    for (int round = 0; round < 2; round++) /* the context's first connection, and one made of the prepared context */
        ck_assert_msg(handshake(server, client, NULL, NULL) == groups[_i].taken, "%s", groups[_i].group);
    if (!groups[_i].taken)
        ck_assert_int_eq(alert, SSL_AD_HANDSHAKE_FAILURE);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

static const struct {
    const char *cipher;
    bool taken;
} exchanges[] = {{"ECDHE-RSA-AES128-GCM-SHA256", true}, {"DHE-RSA-AES128-GCM-SHA256", false}};

/* As Mosquitto makes it. */
START_TEST(finite_field_key_exchange_of_tls12_is_not_offered)
{
    const struct mc_cert spec = {.subject = "/CN=localhost", .key = "rsa2048:broker"};
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    X509 *cert = mc_cert(&spec);
    ck_assert(SSL_CTX_use_certificate(server, cert) == 1 &&
              SSL_CTX_use_PrivateKey(server, mc_key("rsa2048:broker")) == 1);
    ck_assert_int_eq(SSL_CTX_set_dh_auto(server, 1), 1);
    ck_assert(SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION) == 1 &&
              SSL_CTX_set_cipher_list(client, exchanges[_i].cipher) == 1);
    ck_assert_int_eq(handshake(server, client, NULL, NULL), exchanges[_i].taken);
    X509_free(cert);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

static int n_ca_names;

static void count_ca_names(SSL *client)
{
    n_ca_names = sk_X509_NAME_num(SSL_get0_peer_CA_list(client));
}

START_TEST(certificate_request_names_no_ca)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(client, _i ? TLS1_3_VERSION : TLS1_2_VERSION), 1);
    ck_assert_int_eq(SSL_CTX_add_client_CA(server, pki_cert("root")), 1);
    ck_assert_int_eq(SSL_CTX_add1_to_CA_list(server, pki_cert("root2")), 1);
    n_ca_names = -2;
    inspect_client = count_ca_names;
    ck_assert(handshake(server, client, NULL, NULL));
    ck_assert_int_le(n_ca_names, 0);
    ck_assert_int_ne(n_ca_names, -2);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* --- the server's own chain */

static int n_sent; /* the server's certificate included */
static X509 *sent_first, *sent_last;

static void note_server_chain(SSL *client)
{
    STACK_OF(X509) *sent = SSL_get_peer_cert_chain(client);
    n_sent = sk_X509_num(sent);
    X509_free(sent_first);
    X509_free(sent_last);
    sent_first = sent_last = NULL;
    if (n_sent <= 0)
        return;
    sent_first = sk_X509_value(sent, 0);
    sent_last = sk_X509_value(sent, n_sent - 1);
    ck_assert(X509_up_ref(sent_first) == 1 && X509_up_ref(sent_last) == 1);
}

/* What certfile and cafile of a listener hold, and what its clients are sent. */
static const struct {
    const char *label, *certificate, *key, *listed[3], *trusted[3], *sent_last;
    int n_sent;
} server_chains[] = {
    {"root in cafile", "leaf_of_root", "p256:leaf", {NULL}, {"root"}, "leaf_of_root", 1},
    {"intermediate and root in cafile", "leaf", "p256:leaf", {NULL}, {"inter", "root"}, "inter", 2},
    {"intermediate in certfile, root in cafile", "leaf", "p256:leaf", {"inter"}, {"root"}, "inter", 2},
    {"whole chain in certfile", "leaf", "p256:leaf", {"inter", "root"}, {"root"}, "inter", 2},
    {"intermediate in certfile, no root at hand", "leaf", "p256:leaf", {"inter"}, {"root2"}, "inter", 2},
    {"intermediate in cafile, no root at hand", "leaf", "p256:leaf", {NULL}, {"inter"}, "inter", 2},
    {"an unrelated certificate in certfile", "leaf", "p256:leaf", {"sub", "inter"}, {NULL}, "inter", 3},
    {"nothing but the certificate", "leaf", "p256:leaf", {NULL}, {NULL}, "leaf", 1},
    {"self-signed", "root", "p256:root", {NULL}, {NULL}, "root", 1},
    {"self-signed, in cafile as well", "root", "p256:root", {NULL}, {"root"}, "root", 1},
};

/* As Mosquitto loads them: also again, on SIGHUP. */
static void load_server_chain(SSL_CTX *ctx, int i)
{
    ck_assert_int_eq(SSL_CTX_use_certificate(ctx, pki_cert(server_chains[i].certificate)), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, mc_key(server_chains[i].key)), 1);
    ck_assert_int_eq(SSL_CTX_clear_chain_certs(ctx), 1);
    for (int n = 0; n < 3 && server_chains[i].listed[n]; n++)
        ck_assert_int_eq(SSL_CTX_add1_chain_cert(ctx, pki_cert(server_chains[i].listed[n])), 1);
    for (int n = 0; n < 3 && server_chains[i].trusted[n]; n++)
        ck_assert_int_eq(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), pki_cert(server_chains[i].trusted[n])), 1);
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ctx), MC_NOW);
}

static void check_sent_chain(int i, SSL_CTX *server, SSL_CTX *client)
{
    ck_assert_msg(handshake(server, client, NULL, NULL), "%s", server_chains[i].label);
    ck_assert_msg(n_sent == server_chains[i].n_sent, "%s: %d sent", server_chains[i].label, n_sent);
    ck_assert_msg(X509_cmp(sent_first, pki_cert(server_chains[i].certificate)) == 0, "%s", server_chains[i].label);
    ck_assert_msg(X509_cmp(sent_last, pki_cert(server_chains[i].sent_last)) == 0, "%s", server_chains[i].label);
}

START_TEST(server_sends_its_chain_without_the_root)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    inspect_client = note_server_chain;
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    load_server_chain(server, _i);
    check_sent_chain(_i, server, client);
    check_sent_chain(_i, server, client);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

START_TEST(server_sends_its_new_chain_after_a_reload)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    inspect_client = note_server_chain;
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    load_server_chain(server, 0);
    check_sent_chain(0, server, client);
    ia_tls_listener_reload();
    load_server_chain(server, 1);
    check_sent_chain(1, server, client);
    check_sent_chain(1, server, client);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

START_TEST(no_snapshot_refuses)
{
    open_gate(IA_GATE_ALL);
    ck_assert(!connects("leaf_of_root", "p256:leaf", NULL, NULL, NULL));
    ck_assert_int_eq(alert, SSL_AD_INTERNAL_ERROR);
    ck_assert_int_eq(refused_for, IA_R_REGISTRY_UNAVAILABLE);
}
END_TEST

START_TEST(denied_address_is_turned_away_before_any_cryptography)
{
    configure("root", "127.0.0.0/8");
    open_gate(IA_GATE_ALL);
    ck_assert(!connects("leaf_of_root", "p256:leaf", NULL, NULL, NULL));
    ck_assert_uint_eq(n_refused, 1);
    ck_assert_int_eq(refused_for, IA_R_NONE);
    ck_assert_str_eq(refused_address, "127.0.0.1");
    ck_assert_int_eq(alert, SSL_AD_ACCESS_DENIED);
    ck_assert_uint_eq(n_full_verifications, 0);
}
END_TEST

/* --- ports
 * ---------------------------------------------------------------------------------------------------------- */

START_TEST(port_that_is_named_is_the_gates)
{
    enum ia_gate_leaf result;
    struct ia_chain chain;
    configure("root", NULL);
    options.n_ports = 1; /* gate_ports[0] becomes the server's */
    open_gate(IA_GATE_PORTS);
    ck_assert(connects("leaf_of_root", "p256:leaf", NULL, &result, &chain));
    ck_assert_int_eq(result, IA_LEAF_VERIFIED);
}
END_TEST

/* An internal listener with a cafile of its own: it admits whom that names, no device of the registry, and what it has
 * admitted is no credential of ours. */
START_TEST(port_that_is_not_named_is_left_to_its_cafile)
{
    configure("root", NULL);
    options.ports[0] = 1;
    options.n_ports = 1;
    open_gate(IA_GATE_PORTS);
    SSL_CTX *server = listener(REQUIRED), *registered = device("leaf_of_root", "p256:leaf", NULL),
            *internal = device("leaf_of_root2", "p256:leaf", NULL);
    X509_STORE *store = SSL_CTX_get_cert_store(server);
    ck_assert_int_eq(X509_STORE_add_cert(store, pki_cert("root2")), 1);
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(server), MC_NOW);
    ck_assert(!handshake(server, registered, NULL, NULL));
    SSL *ssl = NULL;
    ck_assert(handshake(server, internal, NULL, &ssl));
    X509 *peer = SSL_get1_peer_certificate(ssl);
    struct ia_chain chain;
    uint64_t generation;
    ck_assert_int_eq(ia_gate_result(peer, &chain, &generation), IA_LEAF_FOREIGN);
    ck_assert_uint_eq(n_proven + n_refused, 0);
    X509_free(peer);
    SSL_free(ssl);
    SSL_CTX_free(server);
    SSL_CTX_free(registered);
    SSL_CTX_free(internal);
}
END_TEST

/* --- resumption
 * ----------------------------------------------------------------------------------------------------- */

/* A listener with resumption, and a device that keeps its session in `kept`. */
static struct resumer {
    SSL_CTX *server, *client;
} resumer;

static void resumer_open(const char *leaf, int version)
{
    options.resumption = (struct ia_resumption_options){.on = true, .max_sessions = 10, .session_seconds = 1000};
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    resumer.server = listener(REQUIRED);
    resumer.client = device(leaf, "p256:leaf", NULL);
    ck_assert_int_eq(SSL_CTX_set_min_proto_version(resumer.client, version), 1);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(resumer.client, version), 1);
}

static void resumer_close(void)
{
    SSL_CTX_free(resumer.server);
    SSL_CTX_free(resumer.client);
    SSL_SESSION_free(kept);
    kept = NULL;
    options.resumption.on = false;
}

/* One connection with the session that there is.  On success *leaf is what BASIC_AUTH finds (the caller frees it). */
static bool resumer_connects(bool *resumed, X509 **leaf)
{
    SSL *ssl = NULL;
    SSL_SESSION *offered = kept;
    kept = NULL;
    bool done = handshake(resumer.server, resumer.client, offered, &ssl);
    if (done) {
        *resumed = SSL_session_reused(ssl);
        *leaf = SSL_get1_peer_certificate(ssl);
        SSL_shutdown(ssl);
        /* BASIC_AUTH comes while the connection lasts. */
        ia_resumption_keep(*leaf);
    }
    if (done && !kept) {
        kept = offered; /* TLS 1.2 makes no new one when it resumes */
        offered = NULL;
    }
    SSL_SESSION_free(offered);
    SSL_free(ssl);
    return done;
}

static bool resumer_resumes(void)
{
    bool resumed = false;
    X509 *leaf = NULL;
    ck_assert(resumer_connects(&resumed, &leaf));
    X509_free(leaf);
    return resumed;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

START_TEST(accepted_device_resumes_without_a_verification)
{
    resumer_open("leaf_of_root", versions[_i]);
    ck_assert(!resumer_resumes());
    for (int i = 0; i < 3; i++)
        ck_assert(resumer_resumes());
    ck_assert_uint_eq(n_proven, 4); /* a resumed connection may be parked as well */
    ck_assert_uint_eq(n_full_verifications, 1);
    resumer_close();
}
END_TEST

/* The leaf may be shown by a connection from elsewhere. */
START_TEST(leaf_that_can_be_resumed_says_nothing_of_an_address)
{
    X509 *leaf = NULL;
    bool resumed;
    resumer_open("leaf_of_root", versions[_i]);
    SSL *ssl = NULL;
    ck_assert(handshake(resumer.server, resumer.client, NULL, &ssl));
    leaf = SSL_get1_peer_certificate(ssl);
    ck_assert_str_eq(ia_gate_address(leaf), "127.0.0.1");
    X509_free(leaf);
    SSL_free(ssl);
    ck_assert(resumer_connects(&resumed, &leaf));
    ck_assert_ptr_null(ia_gate_address(leaf));
    X509_free(leaf);
    resumer_close();
}
END_TEST

START_TEST(session_is_judged_under_the_present_cas)
{
    resumer_open("leaf_of_root", versions[_i]);
    ck_assert(!resumer_resumes());
    configure("root root2", NULL); /* a change that leaves the chain good */
    struct ia_chain chain;
    uint64_t generation = 0;
    bool resumed = false;
    X509 *leaf = NULL;
    ck_assert(resumer_connects(&resumed, &leaf));
    ck_assert(resumed);
    ck_assert_int_eq(ia_gate_result(leaf, &chain, &generation), IA_LEAF_VERIFIED);
    ck_assert_uint_eq(generation, snapshot->ca_generation);
    X509_free(leaf);
    configure("-root", NULL);
    ck_assert(!resumer_connects(&resumed, &leaf)); /* a full handshake, which refuses with its alert */
    ck_assert_int_ne(alert, 0);
    ck_assert_int_eq(refused_for, IA_R_CA_INACTIVE);
    configure("root", NULL);
    ck_assert_msg(!resumer_resumes(), "its session was dropped");
    resumer_close();
}
END_TEST

START_TEST(sweep_drops_the_sessions_of_a_disabled_ca)
{
    resumer_open("leaf_of_root", versions[_i]);
    ck_assert(!resumer_resumes());
    ck_assert(!ia_resumption_sweep());
    ck_assert_uint_eq(ia_tls_sessions_count(), 1);
    configure("-root", NULL);
    ck_assert(!ia_resumption_sweep());
    ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    configure("root", NULL);
    ck_assert(!resumer_resumes());
    resumer_close();
}
END_TEST

START_TEST(dropped_leaf_has_a_full_handshake)
{
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    ck_assert(ia_cert_fingerprint(pki_cert("leaf_of_root"), fingerprint));
    resumer_open("leaf_of_root", versions[_i]);
    ck_assert(!resumer_resumes());
    ia_resumption_drop(fingerprint);
    ck_assert(!resumer_resumes());
    ck_assert(resumer_resumes());
    resumer_close();
}
END_TEST

/* Mosquitto loads the server's certificate, and the listener is prepared again. */
START_TEST(reload_keeps_sessions)
{
    resumer_open("leaf_of_root", versions[_i]);
    ck_assert(!resumer_resumes());
    ia_tls_listener_reload();
    ck_assert(resumer_resumes());
    ck_assert(resumer_resumes());
    resumer_close();
}
END_TEST

START_TEST(session_that_is_renewed_ends_as_the_first_one)
{
    resumer_open("leaf_of_root", versions[_i]);
    ck_assert(!resumer_resumes());
    wall_s += 600;
    ck_assert(resumer_resumes());
    ck_assert(resumer_resumes());
    wall_s += 399; /* TLS 1.2: OpenSSL's own clock decides, and stands still here */
    ck_assert(resumer_resumes());
    if (versions[_i] == TLS1_3_VERSION) {
        wall_s += 1;
        ck_assert(resumer_resumes()); /* with the session of a second ago */
        ck_assert_uint_eq(ia_tls_sessions_count(), 0);
        ck_assert(!resumer_resumes());
    }
    wall_s = MC_NOW;
    resumer_close();
}
END_TEST

START_TEST(ticket_permits_no_early_data)
{
    resumer_open("leaf_of_root", TLS1_3_VERSION);
    ck_assert(!resumer_resumes());
    ck_assert_uint_eq(SSL_SESSION_get_max_early_data(kept), 0);
    ck_assert_uint_eq(n_tickets, 1);
    resumer_close();
}
END_TEST

static unsigned give_shared_key(SSL *ssl, const char *identity, unsigned char *key, unsigned size)
{
    (void)ssl, (void)identity;
    memset(key, 7, size < 16 ? size : 16);
    return 16;
}

static unsigned show_shared_key(SSL *ssl, const char *hint, char *identity, unsigned identity_size, unsigned char *key,
                                unsigned size)
{
    (void)hint;
    strncpy(identity, "device", identity_size);
    return give_shared_key(ssl, identity, key, size);
}

/* `psk_hint` on a listener that requires certificates: no key takes a certificate's place, and what is resumed there is
 * a certificate's session. */
START_TEST(shared_key_takes_no_certificates_place)
{
    configure("root", NULL);
    open_gate(_i ? IA_GATE_ALL : IA_GATE_OFF);
    SSL_CTX *server = listener(REQUIRED), *client = device(NULL, NULL, NULL);
    SSL_CTX_set_psk_server_callback(server, give_shared_key);
    SSL_CTX_set_psk_client_callback(client, show_shared_key);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION), 1);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(client, "ECDHE-PSK-AES128-CBC-SHA256"), 1);
    ck_assert_int_eq(handshake(server, client, NULL, NULL), _i == 0); /* 0: what the gate prevents */
    SSL_SESSION_free(kept);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* tls_resumption off. */
START_TEST(nothing_is_given_to_resume_with)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(client, _i ? TLS1_3_VERSION : TLS1_2_VERSION), 1);
    SSL *ssl = NULL;
    ck_assert(handshake(server, client, NULL, &ssl));
    SSL_free(ssl);
    ck_assert_msg(n_tickets == 0 || !SSL_SESSION_is_resumable(kept), "%u tickets", n_tickets);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    SSL_SESSION_free(kept);
}
END_TEST

/* A session from before (another port of the same listener context, or before the plugin) is not taken up. */
START_TEST(old_session_gets_a_full_handshake)
{
    configure("root", NULL);
    open_gate(IA_GATE_OFF); /* nobody's port yet: the server gives tickets */
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(client, _i ? TLS1_3_VERSION : TLS1_2_VERSION), 1);
    ck_assert_int_eq(X509_STORE_add_cert(SSL_CTX_get_cert_store(server), pki_cert("root")), 1);
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(server), MC_NOW);
    ck_assert(handshake(server, client, NULL, NULL));
    ck_assert(kept && SSL_SESSION_is_resumable(kept));
    SSL_SESSION *old = kept;
    kept = NULL;
    options.mode = IA_GATE_ALL;
    SSL *ssl = NULL;
    ck_assert(handshake(server, client, old, &ssl));
    ck_assert(!SSL_session_reused(ssl));
    ck_assert_uint_eq(n_proven, 1);
    SSL_free(ssl);
    SSL_SESSION_free(old);
    SSL_SESSION_free(kept);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* --- memory of chains
 * ----------------------------------------------------------------------------------------------- */

START_TEST(leaf_is_verified_once_under_a_set_of_cas)
{
    enum ia_gate_leaf result;
    struct ia_chain chain;
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    for (int i = 0; i < 3; i++) {
        ck_assert(connects("leaf_of_root", "p256:leaf", NULL, &result, &chain));
        ck_assert_int_eq(result, IA_LEAF_VERIFIED);
    }
    ck_assert_uint_eq(n_full_verifications, 1);
    ck_assert_uint_eq(n_proven, 3);
    configure("-root", NULL); /* what was good is not remembered as good */
    ck_assert(!connects("leaf_of_root", "p256:leaf", NULL, NULL, NULL));
    ck_assert_uint_eq(n_full_verifications, 2);
    ck_assert(!connects("leaf_of_root", "p256:leaf", NULL, NULL, NULL)); /* nor a refusal as one */
    ck_assert_uint_eq(n_full_verifications, 3);
}
END_TEST

/* Only the very object that was verified counts. */
START_TEST(copy_of_a_leaf_has_no_result)
{
    struct ia_chain chain;
    uint64_t generation;
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    SSL *ssl = NULL;
    ck_assert(handshake(server, client, NULL, &ssl));
    X509 *peer = SSL_get1_peer_certificate(ssl), *copy = X509_dup(peer);
    ck_assert_int_eq(ia_gate_result(peer, &chain, &generation), IA_LEAF_VERIFIED);
    ck_assert_int_eq(ia_gate_result(copy, &chain, &generation), IA_LEAF_FOREIGN);
    ck_assert_int_eq(ia_gate_result(pki_cert("leaf_of_root"), &chain, &generation), IA_LEAF_FOREIGN);
    X509_free(peer);
    X509_free(copy);
    SSL_free(ssl);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* --- what is left alone
 * --------------------------------------------------------------------------------------------- */

START_TEST(client_contexts_are_not_listeners)
{
    open_gate(IA_GATE_ALL);
    SSL_CTX *client = SSL_CTX_new(TLS_client_method());
    ck_assert(!ia_gate_has_listeners());
    SSL_CTX_free(client);
}
END_TEST

START_TEST(listener_that_asks_for_no_certificate_works_as_before)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(SSL_VERIFY_NONE), *client = device(NULL, NULL, NULL);
    ck_assert(handshake(server, client, NULL, NULL));
    ck_assert_uint_gt(n_tickets, 0);
    ck_assert_uint_eq(n_proven + n_refused, 0);
    SSL_SESSION_free(kept);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

/* OpenSSL keeps the callbacks after the plugin was unloaded. */
START_TEST(closed_gate_lets_nobody_in)
{
    configure("root", NULL);
    open_gate(IA_GATE_ALL);
    SSL_CTX *server = listener(REQUIRED), *client = device("leaf_of_root", "p256:leaf", NULL);
    ia_gate_close();
    ck_assert(!handshake(server, client, NULL, NULL));
    ck_assert_uint_eq(n_proven + n_refused, 0); /* its hooks are cleared */
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}
END_TEST

START_TEST(gate_opens_once_and_again_after_it_was_closed)
{
    struct ia_err err = {0};
    open_gate(IA_GATE_ALL);
    ck_assert_int_eq(ia_gate_open(&options, &hooks, &err), IA_USAGE);
    ia_gate_close();
    ia_gate_close();
    open_gate(IA_GATE_ALL);
    configure("root", NULL);
    ck_assert(connects("leaf_of_root", "p256:leaf", NULL, NULL, NULL));
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, NULL, tear_down);
    tcase_add_test(c, good_chain_is_hung_on_the_leaf);
    tcase_add_loop_test(c, bad_chain_is_refused_with_its_alert, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(c, no_certificate_is_refused_where_one_is_required);
    tcase_add_loop_test(c, certificate_list_is_bounded, 0, (int)(sizeof lists / sizeof lists[0]));
    tcase_add_loop_test(c, certificates_that_are_costly_to_parse_are_refused_unparsed, 0,
                        (int)(sizeof costly / sizeof costly[0]));
    tcase_add_loop_test(c, servers_certificates_that_are_costly_to_parse_are_refused_as_well, 0,
                        (int)(sizeof costly / sizeof costly[0]));
    tcase_add_test(c, compressed_certificates_are_not_asked_for);
    tcase_add_loop_test(c, key_exchange_groups_are_restricted_where_no_certificate_is_asked_for, 0,
                        (int)(sizeof groups / sizeof groups[0]));
    tcase_add_loop_test(c, key_exchange_groups_are_restricted_for_connections_that_were_there_before_the_first_hello, 0,
                        (int)(sizeof groups / sizeof groups[0]));
    tcase_add_loop_test(c, finite_field_key_exchange_of_tls12_is_not_offered, 0,
                        (int)(sizeof exchanges / sizeof exchanges[0]));
    tcase_add_loop_test(c, key_exchange_groups_are_restricted, 0, (int)(sizeof groups / sizeof groups[0]));
    tcase_add_loop_test(c, certificate_request_names_no_ca, 0, 2);
    tcase_add_loop_test(c, server_sends_its_chain_without_the_root, 0,
                        (int)(sizeof server_chains / sizeof server_chains[0]));
    tcase_add_test(c, server_sends_its_new_chain_after_a_reload);
    tcase_add_test(c, no_snapshot_refuses);
    tcase_add_test(c, denied_address_is_turned_away_before_any_cryptography);
    tcase_add_test(c, port_that_is_named_is_the_gates);
    tcase_add_test(c, port_that_is_not_named_is_left_to_its_cafile);
    tcase_add_loop_test(c, accepted_device_resumes_without_a_verification, 0, 2);
    tcase_add_loop_test(c, leaf_that_can_be_resumed_says_nothing_of_an_address, 0, 2);
    tcase_add_loop_test(c, session_is_judged_under_the_present_cas, 0, 2);
    tcase_add_loop_test(c, sweep_drops_the_sessions_of_a_disabled_ca, 0, 2);
    tcase_add_loop_test(c, dropped_leaf_has_a_full_handshake, 0, 2);
    tcase_add_loop_test(c, reload_keeps_sessions, 0, 2);
    tcase_add_loop_test(c, session_that_is_renewed_ends_as_the_first_one, 0, 2);
    tcase_add_test(c, ticket_permits_no_early_data);
    tcase_add_loop_test(c, shared_key_takes_no_certificates_place, 0, 2);
    tcase_add_loop_test(c, nothing_is_given_to_resume_with, 0, 2);
    tcase_add_loop_test(c, old_session_gets_a_full_handshake, 0, 2);
    tcase_add_test(c, leaf_is_verified_once_under_a_set_of_cas);
    tcase_add_test(c, copy_of_a_leaf_has_no_result);
    tcase_add_test(c, client_contexts_are_not_listeners);
    tcase_add_test(c, listener_that_asks_for_no_certificate_works_as_before);
    tcase_add_test(c, closed_gate_lets_nobody_in);
    tcase_add_test(c, gate_opens_once_and_again_after_it_was_closed);
}

int main(void)
{
    return run_suite("gate", cases);
}
