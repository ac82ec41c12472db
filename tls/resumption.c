// SPDX-License-Identifier: ISC
#include "tls/resumption.h"

#include "common/clock.h"
#include "tls/leaf.h"
#include "tls/sessions.h"
#include "x509/validity.h"

#define SWEEP_SESSIONS 1000 /* of one TICK: a millisecond or two */

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    bool open;
    int64_t session_seconds;
    ia_resumption_snapshot *snapshot;
    void *ctx;
    uint64_t swept_generation; /* of the CAs that the last sweep began under */
} resumption;

/* ---- what sessions.c asks */

static const uint8_t *leaf_id(void *ctx, X509 *leaf)
{
    (void)ctx;
    const struct ia_leaf *l = ia_leaf_get(leaf);
    return l && l->chain->n_links > 0 ? l->chain->links[0].fingerprint : NULL;
}

/* Chains are judged again under each generation of the CAs, once. */
static bool is_chain_acceptable(void *ctx, X509 *leaf)
{
    (void)ctx;
    const struct ia_snapshot *snapshot = resumption.snapshot(resumption.ctx);
    struct ia_leaf *l = ia_leaf_get(leaf);
    int64_t now = ia_wall_s();
    if (!snapshot || !l)
        return false;
    if (l->generation == snapshot->ca_generation)
        return !ia_x509_expired(l->chain->not_after, now);
    if (ia_chain_revalidate(snapshot->cas, l->chain, now) != IA_R_NONE)
        return false;
    l->generation = snapshot->ca_generation;
    return true;
}

/* ---- */

enum ia_rc ia_resumption_open(const struct ia_resumption_options *options, ia_resumption_snapshot *snapshot, void *ctx,
                              struct ia_err *err)
{
    if (!options->on)
        return IA_OK;
    const struct ia_tls_session_settings settings = {.max = (size_t)options->max_sessions,
                                                     .seconds = options->session_seconds,
                                                     .leaf_id = leaf_id,
                                                     .is_acceptable = is_chain_acceptable};
    enum ia_rc rc = ia_tls_sessions_open(&settings, err);
    if (rc != IA_OK)
        return rc;
    resumption.session_seconds = options->session_seconds;
    resumption.snapshot = snapshot;
    resumption.ctx = ctx;
    resumption.swept_generation = 0;
    resumption.open = true;
    return IA_OK;
}

void ia_resumption_close(void)
{
    resumption.open = false;
    ia_tls_sessions_close();
}

void ia_resumption_offer(SSL *ssl, uint16_t port)
{
    if (resumption.open && port != 0)
        (void)ia_tls_sessions_offer(ssl, port);
}

/* However often a session is renewed by resumption, its time counts from the full handshake: the device has proved its key
 * then (RFC 8446 section 4.6.1). */
void ia_resumption_keep(X509 *leaf)
{
    struct ia_leaf *l = resumption.open ? ia_leaf_get(leaf) : NULL;
    if (!l)
        return;
    int64_t until = l->verified_at + resumption.session_seconds;
    l->address[0] = '\0';
    ia_tls_sessions_keep(leaf, ia_wall_s(), until < l->chain->not_after ? until : l->chain->not_after);
}

void ia_resumption_exclude(X509 *leaf)
{
    const struct ia_leaf *l = resumption.open ? ia_leaf_get(leaf) : NULL;
    if (l)
        ia_tls_sessions_exclude(l->port);
}

void ia_resumption_drop(const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    if (resumption.open)
        ia_tls_sessions_drop(fingerprint);
}

bool ia_resumption_sweep(void)
{
    const struct ia_snapshot *snapshot = resumption.open ? resumption.snapshot(resumption.ctx) : NULL;
    if (!snapshot)
        return false;
    if (resumption.swept_generation != snapshot->ca_generation) {
        resumption.swept_generation = snapshot->ca_generation;
        ia_tls_sessions_sweep_begin();
    }
    return ia_tls_sessions_sweep(SWEEP_SESSIONS);
}
