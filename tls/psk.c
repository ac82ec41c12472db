// SPDX-License-Identifier: ISC
#include "tls/psk.h"

#include "tls/psk_listeners.h"
#include "tls/psk_suites.h"
#include "tls/socket_port.h"

#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define SECRET_LEN      32
#define FOREIGN_INDEXES 32 /* ex_data slots of an SSL that may be Mosquitto's */
#define PORTS_MAX       64 /* ports of listeners with pre-shared keys */

/* What hangs on an SSL. */
struct connection {
    SSL *ssl;                               /* owns this, by ex_data */
    char identity[IA_PSK_IDENTITY_MAX + 1]; /* as claimed; "": none, or none of the registry */
    const char *why;                        /* there is no usable key; NULL: there is */
    uint8_t proof[SHA256_DIGEST_LENGTH];    /* of the key of the handshake; says nothing about the key to others */
    bool claimed, finished, proven, taken, refused;
    uint16_t port;                  /* of the listener; once the key is proven */
    const void *owner;              /* Mosquitto's client, once it is known; NULL: not yet */
    UT_hash_handle hh;              /* with an owner: by that */
    struct connection *prev, *next; /* proven without an owner: of that list */
};

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    bool open;
    struct ia_tls_psk_hooks hooks;
    uint8_t secret[SECRET_LEN];       /* derives the keys of identities that have none */
    uint8_t proof_secret[SECRET_LEN]; /* for make_proof; random at each start */
    struct connection *by_owner;      /* proven; hash */
    struct connection *ownerless;     /* proven, before the first CONNECT has shown where Mosquitto keeps its client */
    int owner_index;                  /* ex_data slot of an SSL that Mosquitto's client is in; -1: not known yet */
    int ssl_index;
    uint16_t asked_ports[PORTS_MAX]; /* where Mosquitto has asked who a client is */
    size_t n_asked_ports;
    struct ia_psk_suites suites; /* of listeners with pre-shared keys */
    EVP_MD *sha256;              /* fetched once */
    bool indexed;
} psk = {.owner_index = -1};

static struct connection *connection_of(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, psk.ssl_index);
}

/* ---- keys */

/* SHA-256 of a secret of this process and some octets.  The result never leaves the process, so that nobody can extend it:
 * an HMAC is not needed, which costs OpenSSL 3.0 six times as much. */
static bool hash_with_secret(const uint8_t secret[SECRET_LEN], const void *octets, size_t len,
                             uint8_t out[SHA256_DIGEST_LENGTH])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex2(ctx, psk.sha256, NULL) == 1 && EVP_DigestUpdate(ctx, secret, SECRET_LEN) == 1 &&
              EVP_DigestUpdate(ctx, octets, len) == 1 && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx); /* overwrites what it knows */
    return ok;
}

/* The key of an identity that has none: as long as a usual one, and unknown to everybody. */
static bool derive_unknown_key(const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX], size_t *key_len)
{
    *key_len = SHA256_DIGEST_LENGTH;
    return hash_with_secret(psk.secret, identity, len, key);
}

/* What a connection remembers of its key. */
static bool make_proof(const uint8_t *key, size_t len, uint8_t proof[SHA256_DIGEST_LENGTH])
{
    return hash_with_secret(psk.proof_secret, key, len, proof);
}

/* A row that is replaced, withdrawn or moved to another device fails; one that is only sealed again does not. */
static bool still_has_key(const struct connection *c)
{
    uint8_t key[IA_PSK_KEY_MAX], proof[SHA256_DIGEST_LENGTH];
    size_t len = 0;
    const char *why = psk.hooks.find_key(psk.hooks.ctx, c->identity, strlen(c->identity), key, &len);
    bool same = !why && make_proof(key, len, proof) && CRYPTO_memcmp(proof, c->proof, sizeof proof) == 0;
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(proof, sizeof proof);
    return same;
}

static void note_claim(struct connection *c, const char *identity, size_t len)
{
    c->claimed = true;
    c->identity[0] = '\0';
    if (!ia_psk_identity_valid(identity, len))
        return;
    memcpy(c->identity, identity, len);
    c->identity[len] = '\0';
}

/* Find the key of what the client claims, and remember the claim.  False: the handshake must fail. */
static bool find_key(SSL *ssl, const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX], size_t *key_len)
{
    struct connection *c = connection_of(ssl);
    if (!psk.open || !c || c->finished || !derive_unknown_key(identity, len, key, key_len))
        return false;
    note_claim(c, identity, len);
    uint8_t known[IA_PSK_KEY_MAX];
    size_t known_len = 0;
    c->why = psk.hooks.find_key(psk.hooks.ctx, identity, len, known, &known_len);
    if (!c->why) {
        memcpy(key, known, known_len);
        *key_len = known_len;
    }
    OPENSSL_cleanse(known, sizeof known);
    return make_proof(key, *key_len, c->proof); /* also of an unknown key: it must take as long */
}

/* TLS 1.2: the length of the key, 0 to fail. */
static unsigned on_server_key(SSL *ssl, const char *identity, unsigned char *out, unsigned max)
{
    uint8_t key[IA_PSK_KEY_MAX];
    size_t len = 0;
    unsigned written = 0;
    if (SSL_version(ssl) == TLS1_3_VERSION)
        return 0; /* asked for an identity that on_find_session has answered for */
    if (identity && find_key(ssl, identity, strlen(identity), key, &len) && len <= max) {
        memcpy(out, key, len);
        written = (unsigned)len;
    }
    OPENSSL_cleanse(key, sizeof key);
    return written;
}

/* A session that stands for an external key of TLS 1.3.  Such keys are bound to SHA-256 (RFC 8446 section 4.2.11), so the
 * cipher suite here only names the hash. */
static SSL_SESSION *session_of_key(SSL *ssl, const uint8_t *key, size_t len)
{
    static const unsigned char suite[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
    SSL_SESSION *session = cipher ? SSL_SESSION_new() : NULL;
    if (session && SSL_SESSION_set1_master_key(session, key, len) == 1 &&
        SSL_SESSION_set_cipher(session, cipher) == 1 && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

/* Has a suite been chosen that such a key can be used with?  OpenSSL asks for every identity that the client lists until
 * one of them fits the suite: with another suite it would ask for thousands. */
static bool suite_fits_key(SSL *ssl)
{
    const SSL_CIPHER *suite = SSL_get_pending_cipher(ssl);
    return suite && EVP_MD_get_type(SSL_CIPHER_get_handshake_digest(suite)) == NID_sha256;
}

static int on_find_session(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **out)
{
    struct connection *c = connection_of(ssl);
    if (c && !c->finished && !suite_fits_key(ssl)) {
        note_claim(c, (const char *)identity, len);
        c->why = "the client offers no cipher suite with SHA-256";
        *out = NULL;
        return 1;
    }
    uint8_t key[IA_PSK_KEY_MAX];
    size_t key_len = 0;
    *out = find_key(ssl, (const char *)identity, len, key, &key_len) ? session_of_key(ssl, key, key_len) : NULL;
    OPENSSL_cleanse(key, sizeof key);
    return *out != NULL;
}

/* ---- the end of the handshake */

static bool used_key(const SSL *ssl)
{
    if (SSL_version(ssl) == TLS1_3_VERSION)
        return SSL_session_reused(ssl) == 1; /* there are no tickets */
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    int auth = cipher ? SSL_CIPHER_get_auth_nid(cipher) : NID_undef;
    return SSL_version(ssl) == TLS1_2_VERSION && auth == NID_auth_psk && SSL_get_psk_identity(ssl);
}

/* OpenSSL keeps the external key of TLS 1.3 in the session, where a reader of the process's memory would find it. */
static void forget_key(SSL *ssl)
{
    static const uint8_t nothing[SSL_MAX_MASTER_KEY_LENGTH];
    SSL_SESSION *session = SSL_get_session(ssl);
    if (SSL_version(ssl) == TLS1_3_VERSION && session)
        (void)SSL_SESSION_set1_master_key(session, nothing, sizeof nothing);
}

static bool is_asked_port(uint16_t port)
{
    for (size_t i = 0; i < psk.n_asked_ports; i++)
        if (psk.asked_ports[i] == port)
            return true;
    return false;
}

static void note_asked_port(uint16_t port)
{
    if (psk.n_asked_ports < PORTS_MAX && !is_asked_port(port))
        psk.asked_ports[psk.n_asked_ports++] = port;
}

/* Out of the lists: nobody finds it any more. */
static void unlist_connection(struct connection *c)
{
    if (c->owner)
        HASH_DEL(psk.by_owner, c); // NOLINT(clang-analyzer-core.NullDereference): uthash lists each with an owner
    else if (c->proven)
        DL_DELETE(psk.ownerless, c);
    c->owner = NULL;
    c->proven = false;
}

static void on_ssl_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    struct connection *c = ptr;
    if (!c)
        return;
    if (c->proven && !c->taken && psk.open && !is_asked_port(c->port))
        psk.hooks.unused(psk.hooks.ctx, c->identity, c->port);
    unlist_connection(c);
    free(c);
}

/* List the connection under the client that Mosquitto has hung on it.  Without memory, or before it is known where to
 * look, it is searched for.  Of two with the same client the newer one counts. */
static void list_connection(struct connection *c)
{
    const void *owner = psk.owner_index >= 0 ? SSL_get_ex_data(c->ssl, psk.owner_index) : NULL;
    struct connection *before = NULL;
    c->proven = true;
    if (owner)
        HASH_FIND_PTR(psk.by_owner, &owner, before);
    if (before)
        unlist_connection(before);
    c->owner = owner;
    if (owner)
        HASH_ADD_PTR(psk.by_owner, owner, c);
    if (owner && c->hh.tbl)
        return;
    c->owner = NULL;
    DL_APPEND(psk.ownerless, c);
}

static void finish_handshake(SSL *ssl, struct connection *c)
{
    if (c->finished)
        return; /* a KeyUpdate, in OpenSSL's eyes a handshake, too */
    c->finished = true;
    bool proven = c->claimed && !c->why && c->identity[0] && used_key(ssl);
    forget_key(ssl);
    if (!proven)
        return; /* BASIC_AUTH finds no identity */
    c->port = ia_socket_port(SSL_get_fd(ssl));
    list_connection(c);
    psk.hooks.proven(psk.hooks.ctx, ssl, c->identity);
}

static void on_info(const SSL *ssl, int where, int alert)
{
    struct connection *c = connection_of(ssl);
    SSL *mine = (SSL *)(uintptr_t)ssl; /* OpenSSL hands its own object out as const */
    if (!psk.open || !c)
        return;
    if (where & SSL_CB_HANDSHAKE_DONE)
        finish_handshake(mine, c);
    bool fails = (where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT && alert >> 8 == SSL3_AL_FATAL;
    if (!fails || c->refused || c->finished)
        return;
    c->refused = true;
    const char *why = c->claimed ? "the client has another key" : "the client offers no pre-shared key";
    psk.hooks.refused(psk.hooks.ctx, mine, c->identity[0] ? c->identity : NULL, c->why ? c->why : why);
}

/* ---- listeners */

bool ia_tls_psk_concerns(const SSL *ssl)
{
    return psk.open && SSL_CTX_get0_certificate(SSL_get_SSL_CTX(ssl)) == NULL;
}

static bool attach_connection(SSL *ssl)
{
    struct connection *c = connection_of(ssl);
    if (c)
        return true;
    c = calloc(1, sizeof *c);
    if (!c)
        return false;
    c->ssl = ssl;
    if (SSL_set_ex_data(ssl, psk.ssl_index, c) == 1)
        return true;
    free(c);
    return false;
}

bool ia_tls_psk_prepare(SSL *ssl)
{
    if (!psk.open)
        return false;
    if (!attach_connection(ssl))
        return false;
    SSL_set_info_callback(ssl, on_info);
    if (!ia_psk_suites_restrict(&psk.suites, ssl)) {
        connection_of(ssl)->why = "the listener cannot be restricted to the allowed cipher suites";
        return false;
    }
    SSL_set_psk_server_callback(ssl, on_server_key);
    SSL_set_psk_find_session_callback(ssl, on_find_session);
    return true;
}

/* Once a connection.  Octets that are no identity may be those of a TLS 1.3 ticket. */
static void report_beside_certificate(SSL *ssl, const char *identity, size_t len)
{
    char copy[IA_PSK_IDENTITY_MAX + 1];
    if (!psk.open || !ia_psk_identity_valid(identity, len))
        return;
    memcpy(copy, identity, len);
    copy[len] = '\0';
    SSL_set_psk_server_callback(ssl, NULL);
    SSL_set_psk_find_session_callback(ssl, NULL);
    psk.hooks.refused(psk.hooks.ctx, ssl, copy, "the listener has a certificate: it takes no pre-shared key");
}

/* TLS 1.2.  In TLS 1.3 the question comes to refuse_session, too, which knows the identity's length. */
static unsigned refuse_key(SSL *ssl, const char *identity, unsigned char *key, unsigned max)
{
    (void)key, (void)max;
    if (SSL_version(ssl) != TLS1_3_VERSION && identity)
        report_beside_certificate(ssl, identity, strlen(identity));
    return 0;
}

static int refuse_session(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **out)
{
    *out = NULL;
    report_beside_certificate(ssl, (const char *)identity, len);
    return 1; /* go on without */
}

void ia_tls_psk_refuse_beside_certificate(SSL *ssl)
{
    if (!psk.open || !ia_psk_listener_is_mixed(SSL_get_SSL_CTX(ssl)))
        return;
    SSL_set_psk_server_callback(ssl, refuse_key);
    SSL_set_psk_find_session_callback(ssl, refuse_session);
}

void ia_tls_psk_examine_listeners(bool all_ports)
{
    if (psk.open)
        ia_psk_listeners_examine(&psk.suites, all_ports);
}

/* ---- CONNECT */

/* The slot of the SSL that holds `owner`; -1: none does. */
static int slot_of_owner(const SSL *ssl, const void *owner)
{
    for (int i = 0; i < FOREIGN_INDEXES; i++)
        if (i != psk.ssl_index && SSL_get_ex_data(ssl, i) == owner)
            return i;
    return -1;
}

/* The proven connection of Mosquitto's client `owner`.  Mosquitto frees the SSL of a client before the client, so an SSL
 * that holds this very pointer is that of this very client, whoever had the pointer before. */
static struct connection *find_owned(const void *owner)
{
    struct connection *c = NULL, *next;
    HASH_FIND_PTR(psk.by_owner, &owner, c);
    if (c)
        return SSL_get_ex_data(c->ssl, psk.owner_index) == owner ? c : NULL;
    DL_FOREACH_SAFE(psk.ownerless, c, next) {
        int slot = slot_of_owner(c->ssl, owner);
        if (slot < 0)
            continue;
        psk.owner_index = slot;
        return c;
    }
    return NULL;
}

const char *ia_tls_psk_take(const void *owner, SSL **ssl, bool *replaced)
{
    struct connection *c = owner ? find_owned(owner) : NULL;
    if (!psk.open || !c || c->taken)
        return NULL;
    c->taken = true;
    note_asked_port(c->port);
    *ssl = c->ssl;
    *replaced = !still_has_key(c);
    return c->identity;
}

const char *ia_tls_psk_taken(const void *owner)
{
    const struct connection *c = owner ? find_owned(owner) : NULL;
    return psk.open && c && c->taken ? c->identity : NULL;
}

bool ia_tls_psk_is_current(const void *owner)
{
    const struct connection *c = owner ? find_owned(owner) : NULL;
    return psk.open && c && c->taken && still_has_key(c);
}

/* Made once, they stay: the library is never unmapped. */
static bool make_indexes(void)
{
    if (psk.indexed)
        return true;
    psk.ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
    psk.suites.ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    psk.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    psk.indexed = psk.ssl_index >= 0 && psk.suites.ctx_index >= 0 && psk.sha256;
    return psk.indexed;
}

enum ia_rc ia_tls_psk_open(const struct ia_tls_psk_hooks *hooks, bool allow_plain, struct ia_err *err)
{
    if (!make_indexes())
        return ia_fail(err, IA_CRYPTO, "OpenSSL gives no ex_data index or no SHA-256");
    if (RAND_bytes(psk.secret, SECRET_LEN) != 1 || RAND_bytes(psk.proof_secret, SECRET_LEN) != 1)
        return ia_fail(err, IA_CRYPTO, "OpenSSL gives no random octets");
    psk.hooks = *hooks;
    psk.suites.allow_plain = allow_plain;
    psk.suites.warn = hooks->warn;
    psk.suites.warn_ctx = hooks->ctx;
    psk.open = true;
    return IA_OK;
}

void ia_tls_psk_close(void)
{
    psk.open = false;
    OPENSSL_cleanse(psk.secret, SECRET_LEN);
    OPENSSL_cleanse(psk.proof_secret, SECRET_LEN);
}
