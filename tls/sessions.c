// SPDX-License-Identifier: ISC
#include "tls/sessions.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define SESSION_ID_MAX SSL_MAX_SSL_SESSION_ID_LENGTH
#define CONTEXT_LEN    (sizeof(uint16_t) + 16) /* of a port and of this run of the broker */
#define CACHE_MODE     (SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL)
#define EXCLUDED_MAX   32 /* ports without resumption; on further ones it is offered, and nothing is kept */

struct session {
    uint8_t leaf_id[IA_TLS_LEAF_ID_LEN]; /* key of both tables */
    uint8_t id[SESSION_ID_MAX];          /* key of `by_id` */
    unsigned id_len;
    SSL_SESSION *session; /* owned reference */
    SSL *connection;      /* pending: the connection that it was made on; NULL: kept */
    UT_hash_handle hh, hh_id;
    struct session *prev, *next; /* kept: by use, the most recent last */
};

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    bool open;
    struct ia_tls_session_settings settings;
    uint8_t instance[16];
    struct session *pending; /* by leaf; of logins that are not decided yet */
    struct session *kept;    /* by leaf */
    struct session *by_id;   /* kept ones by session id */
    struct session *by_use;
    struct session *unswept; /* the next one of a sweep, in the order of use */
    uint16_t excluded[EXCLUDED_MAX];
    unsigned n_excluded;
    int ssl_index; /* ex_data of an SSL: its pending session; made once a process */
    bool indexed;
} sessions;

static void session_free(struct session *s)
{
    SSL_SESSION_free(s->session);
    free(s);
}

/* ---- pending */

static void drop_pending(struct session *s)
{
    HASH_DEL(sessions.pending, s);
    (void)SSL_set_ex_data(s->connection, sessions.ssl_index, NULL);
    session_free(s);
}

static struct session *find_pending(const uint8_t *leaf_id)
{
    struct session *s = NULL;
    HASH_FIND(hh, sessions.pending, leaf_id, IA_TLS_LEAF_ID_LEN, s);
    return s;
}

static void on_ssl_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    struct session *s = ptr;
    if (!s)
        return;
    HASH_DEL(sessions.pending, s);
    session_free(s);
}

/* ---- kept */

/* Out of the list by use; a sweep goes on behind it. */
static void unlink_used(struct session *s)
{
    if (sessions.unswept == s)
        sessions.unswept = s->next;
    DL_DELETE(sessions.by_use, s);
}

static void drop_kept(struct session *s)
{
    HASH_DEL(sessions.kept, s); // NOLINT(clang-analyzer-core.NullDereference): uthash lists each kept session
    HASH_DELETE(hh_id, sessions.by_id, s); // NOLINT(clang-analyzer-core.NullDereference): likewise
    unlink_used(s);
    session_free(s);
}

static struct session *find_kept(const uint8_t *leaf_id)
{
    struct session *s = NULL;
    HASH_FIND(hh, sessions.kept, leaf_id, IA_TLS_LEAF_ID_LEN, s);
    return s;
}

/* Takes the session over.  Out of memory it is freed: the next handshake is a full one. */
static void add_kept(struct session *s)
{
    HASH_ADD(hh, sessions.kept, leaf_id, IA_TLS_LEAF_ID_LEN, s);
    if (!s->hh.tbl) {
        session_free(s);
        return;
    }
    HASH_ADD(hh_id, sessions.by_id, id, s->id_len, s);
    if (!s->hh_id.tbl) {
        HASH_DEL(sessions.kept, s);
        session_free(s);
        return;
    }
    DL_APPEND(sessions.by_use, s);
}

/* ---- OpenSSL's questions */

/* A new session: it waits for the decision about its connection's login.  Returns 1 where the reference is kept. */
static int on_new_session(SSL *ssl, SSL_SESSION *made)
{
    X509 *leaf = SSL_SESSION_get0_peer(made);
    const uint8_t *leaf_id = sessions.open && leaf ? sessions.settings.leaf_id(sessions.settings.ctx, leaf) : NULL;
    unsigned id_len = 0;
    const unsigned char *id = SSL_SESSION_get_id(made, &id_len);
    if (!leaf_id || id_len == 0 || id_len > SESSION_ID_MAX)
        return 0;
    struct session *before = find_pending(leaf_id);
    if (before)
        drop_pending(before);
    before = SSL_get_ex_data(ssl, sessions.ssl_index);
    if (before)
        drop_pending(before);
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return 0;
    memcpy(s->leaf_id, leaf_id, sizeof s->leaf_id);
    memcpy(s->id, id, id_len);
    s->id_len = id_len;
    s->connection = ssl;
    HASH_ADD(hh, sessions.pending, leaf_id, IA_TLS_LEAF_ID_LEN, s);
    if (!s->hh.tbl) {
        free(s);
        return 0;
    }
    if (SSL_set_ex_data(ssl, sessions.ssl_index, s) != 1) {
        HASH_DEL(sessions.pending, s);
        free(s);
        return 0;
    }
    s->session = made;
    return 1;
}

static bool is_session_acceptable(const struct session *s)
{
    X509 *leaf = SSL_SESSION_get0_peer(s->session);
    return leaf && sessions.settings.is_acceptable(sessions.settings.ctx, leaf);
}

static SSL_SESSION *on_get_session(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    (void)ssl;
    struct session *s = NULL;
    *copy = 1; /* OpenSSL takes a reference of its own */
    if (sessions.open && len > 0)
        HASH_FIND(hh_id, sessions.by_id, id, (unsigned)len, s);
    if (!s)
        return NULL;
    if (!is_session_acceptable(s)) {
        drop_kept(s);
        return NULL;
    }
    unlink_used(s);
    DL_APPEND(sessions.by_use, s);
    return s->session;
}

/* OpenSSL found the session expired or its connection broken. */
static void on_remove_session(SSL_CTX *ctx, SSL_SESSION *removed)
{
    (void)ctx;
    unsigned id_len = 0;
    const unsigned char *id = SSL_SESSION_get_id(removed, &id_len);
    struct session *s = NULL;
    if (id_len > 0)
        HASH_FIND(hh_id, sessions.by_id, id, id_len, s);
    if (s && s->session == removed)
        drop_kept(s);
}

/* ---- offering, keeping */

/* A session is resumed only on the port that it was made on, in the same run of the broker. */
static bool set_session_context(SSL *ssl, uint16_t port)
{
    unsigned char context[CONTEXT_LEN];
    memcpy(context, &port, sizeof port);
    memcpy(context + sizeof port, sessions.instance, sizeof sessions.instance);
    return SSL_set_session_id_context(ssl, context, sizeof context) == 1;
}

static void prepare_context(SSL_CTX *ctx)
{
    SSL_CTX_set_session_cache_mode(ctx, CACHE_MODE);
    SSL_CTX_set_timeout(ctx, (long)sessions.settings.seconds);
    SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    SSL_CTX_sess_set_get_cb(ctx, on_get_session);
    SSL_CTX_sess_set_remove_cb(ctx, on_remove_session);
}

static bool is_excluded(uint16_t port)
{
    for (unsigned i = 0; i < sessions.n_excluded; i++)
        if (sessions.excluded[i] == port)
            return true;
    return false;
}

void ia_tls_sessions_exclude(uint16_t port)
{
    if (!is_excluded(port) && sessions.n_excluded < EXCLUDED_MAX)
        sessions.excluded[sessions.n_excluded++] = port;
}

bool ia_tls_sessions_offer(SSL *ssl, uint16_t port)
{
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    if (!sessions.open || is_excluded(port) || !set_session_context(ssl, port))
        return false;
    if (SSL_CTX_get_session_cache_mode(ctx) != CACHE_MODE || SSL_CTX_sess_get_new_cb(ctx) != on_new_session)
        prepare_context(ctx);
    /* A TCP connection that ends without close_notify, as radio links do, must not cost its session (RFC 5246 7.2.1). */
    SSL_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    return SSL_set_num_tickets(ssl, 1) == 1;
}

/* The login of its connection is decided. */
static void settle_pending(struct session *s)
{
    HASH_DEL(sessions.pending, s);
    (void)SSL_set_ex_data(s->connection, sessions.ssl_index, NULL);
    s->connection = NULL;
}

void ia_tls_sessions_keep(X509 *leaf, int64_t now, int64_t until)
{
    const uint8_t *leaf_id = sessions.open ? sessions.settings.leaf_id(sessions.settings.ctx, leaf) : NULL;
    struct session *s = leaf_id ? find_pending(leaf_id) : NULL;
    if (!s || SSL_SESSION_get0_peer(s->session) != leaf)
        return; /* a resumed TLS 1.2 handshake makes no new session */
    settle_pending(s);
    struct session *before = find_kept(leaf_id);
    if (before)
        drop_kept(before);
    int64_t left = until - now;
    if (left < 1) {
        session_free(s);
        return;
    }
    if (left < sessions.settings.seconds)
        (void)SSL_SESSION_set_timeout(s->session, (long)left);
    while (HASH_COUNT(sessions.kept) >= sessions.settings.max)
        drop_kept(sessions.by_use);
    add_kept(s);
}

void ia_tls_sessions_drop(const uint8_t leaf_id[IA_TLS_LEAF_ID_LEN])
{
    struct session *s = find_pending(leaf_id);
    if (s)
        drop_pending(s);
    s = find_kept(leaf_id);
    if (s)
        drop_kept(s);
}

void ia_tls_sessions_sweep_begin(void)
{
    sessions.unswept = sessions.by_use;
}

bool ia_tls_sessions_sweep(size_t n)
{
    for (; sessions.unswept && n > 0; n--) {
        struct session *s = sessions.unswept;
        sessions.unswept = s->next;
        if (!is_session_acceptable(s))
            drop_kept(s);
    }
    return sessions.unswept != NULL;
}

size_t ia_tls_sessions_count(void)
{
    return HASH_COUNT(sessions.kept);
}

enum ia_rc ia_tls_sessions_open(const struct ia_tls_session_settings *settings, struct ia_err *err)
{
    if (!sessions.indexed)
        sessions.ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
    sessions.indexed = sessions.ssl_index >= 0;
    if (!sessions.indexed || RAND_bytes(sessions.instance, sizeof sessions.instance) != 1)
        return ia_fail(err, IA_CRYPTO, "OpenSSL gives no ex_data index, or no random bytes");
    sessions.settings = *settings;
    sessions.n_excluded = 0;
    sessions.open = true;
    return IA_OK;
}

void ia_tls_sessions_close(void)
{
    struct session *s, *next;
    HASH_ITER(hh, sessions.pending, s, next) {
        drop_pending(s);
    }
    while (sessions.by_use)
        drop_kept(sessions.by_use);
    sessions.open = false;
}
