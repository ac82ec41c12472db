// SPDX-License-Identifier: ISC
/* Chain verification: path.c finds the certificates, OpenSSL judges them (signatures, times, constraints, purpose,
 * strength), and what the registry knows of the CAs is added: statuses, parents, twins, CRLs.
 *
 * OpenSSL gets the registered CA as its only trust anchor and no choice of path: its own search would take the first
 * issuer of a fitting name.  All its complaints are gathered before one is chosen, because the reason that is told
 * should be the one that helps; a chain with any complaint is refused. */
#include "x509/chain.h"

#include "x509/internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define SECURITY_LEVEL 2 /* no SHA-1, no RSA below 2048 bits: a fresh context has lost the listener's level */

/* One verification as OpenSSL's callbacks see it. */
struct run {
    const struct ia_path *path;
    int error; /* the first complaint, or X509_V_OK */
    int depth;
    bool forged; /* some signature is not good: nothing in the chain is proven */
};

void ia_chain_refuse(struct ia_chain *chain, enum ia_reason reason, int x509_error, const char *detail)
{
    chain->reason = reason;
    chain->x509_error = x509_error;
    (void)snprintf(chain->detail, sizeof chain->detail, "%s", detail);
}

/* X509_STORE's question whether `issuer` issued x509: only the next certificate of the path did. */
static int follows_path(X509_STORE_CTX *ctx, X509 *x509, X509 *issuer)
{
    const struct run *run = X509_STORE_CTX_get_app_data(ctx);
    const struct ia_path *path = run->path;
    for (size_t i = 0; i < path->n; i++)
        if (path->certs[i] == x509)
            return issuer == (i + 1 < path->n ? path->certs[i + 1] : path->anchor->cert->x509);
    return 0;
}

static bool means_forged(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY:
    case X509_V_ERR_NO_ISSUER_PUBLIC_KEY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
        return true;
    default:
        return false;
    }
}

/* Gathers; answering 1 makes OpenSSL go on, not accept: run->error decides.  After a bad signature it must not go on:
 * the next would be checked with a key that nobody vouched for. */
static int note_complaint(int ok, X509_STORE_CTX *ctx)
{
    struct run *run = X509_STORE_CTX_get_app_data(ctx);
    int error = X509_STORE_CTX_get_error(ctx), depth = X509_STORE_CTX_get_error_depth(ctx);
    if (ok)
        return 1;
    bool forged = means_forged(error);
    if (run->error == X509_V_OK || (forged && !run->forged)) {
        run->error = error;
        run->depth = depth;
    }
    run->forged = run->forged || forged;
    return !forged;
}

X509_STORE *ia_chain_store_new(void)
{
    X509_STORE *store = X509_STORE_new();
    if (store)
        X509_STORE_set_check_issued(store, follows_path);
    return store;
}

static bool configure(X509_STORE_CTX *ctx, struct run *run, STACK_OF(X509) * anchors, int64_t now)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_STORE_CTX_set0_trusted_stack(ctx, anchors);
    X509_STORE_CTX_set_verify_cb(ctx, note_complaint);
    X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_time(param, (time_t)now);
    /* No policy is asked for, but where a CA demands that some policy hold (requireExplicitPolicy), one must. */
    return X509_STORE_CTX_set_app_data(ctx, run) == 1 &&
           X509_VERIFY_PARAM_add0_policy(param, OBJ_nid2obj(NID_any_policy)) == 1 &&
           X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1 &&
           X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_POLICY_CHECK) == 1;
}

/* What OpenSSL built must be the path that was asked for, or it judged something else. */
static bool judged_path(X509_STORE_CTX *ctx, const struct ia_path *path)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    if (sk_X509_num(chain) != (int)path->n + 1)
        return false;
    for (size_t i = 0; i < path->n; i++)
        if (sk_X509_value(chain, (int)i) != path->certs[i])
            return false;
    return sk_X509_value(chain, (int)path->n) == path->anchor->cert->x509;
}

/* A certificate may stop OpenSSL without a question to the callback (a key that lacks its parameters). */
static void note_stop(X509_STORE_CTX *ctx, struct run *run)
{
    if (run->forged)
        return;
    run->error = X509_STORE_CTX_get_error(ctx);
    run->depth = X509_STORE_CTX_get_error_depth(ctx);
    run->forged = run->error != X509_V_OK;
}

/* Returns false where no judgement was reached: run->error may then be anything. */
static bool run_verification(X509_STORE_CTX *ctx, X509_STORE *store, struct run *run, STACK_OF(X509) * middle,
                             STACK_OF(X509) * anchors, int64_t now)
{
    const struct ia_path *path = run->path;
    for (size_t i = 1; i < path->n; i++)
        if (!sk_X509_push(middle, path->certs[i]))
            return false;
    if (!sk_X509_push(anchors, path->anchor->cert->x509) ||
        X509_STORE_CTX_init(ctx, store, path->certs[0], middle) != 1 || !configure(ctx, run, anchors, now))
        return false;
    if (X509_verify_cert(ctx) == 1)
        return judged_path(ctx, path);
    note_stop(ctx, run);
    return run->forged;
}

static bool verify_path(X509_STORE *store, struct run *run, int64_t now)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *middle = sk_X509_new_null(), *anchors = sk_X509_new_null();
    bool done = ctx && middle && anchors && run_verification(ctx, store, run, middle, anchors, now);
    X509_STORE_CTX_free(ctx);
    sk_X509_free(middle);
    sk_X509_free(anchors);
    return done;
}

/* The leaf's own faults, as against those of its chain. */
static bool is_unfit(int error)
{
    switch (error) {
    case X509_V_ERR_INVALID_PURPOSE:
    case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
    case X509_V_ERR_INVALID_EXTENSION:
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
    case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS:
    case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
    case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
        return true;
    default:
        return false;
    }
}

static enum ia_reason reason_of(const struct run *run)
{
    switch (run->error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return IA_R_CERTIFICATE_EXPIRED;
    case X509_V_ERR_CERT_REVOKED:
        return IA_R_CERTIFICATE_REVOKED;
    case X509_V_ERR_OUT_OF_MEM:
        return IA_R_INTERNAL;
    default:
        return run->depth == 0 && is_unfit(run->error) ? IA_R_CERTIFICATE_UNFIT : IA_R_CHAIN_INVALID;
    }
}

static void refuse_for_complaint(struct ia_chain *out, const struct run *run)
{
    char text[sizeof out->detail];
    const char *which = "an intermediate";
    if (run->depth == 0)
        which = "the leaf";
    else if (run->depth == (int)run->path->n)
        which = "the registered CA";
    (void)snprintf(text, sizeof text, "%s: %s", which, X509_verify_cert_error_string(run->error));
    ia_chain_refuse(out, reason_of(run), run->error, text);
}

/* What OpenSSL's purpose check lets pass, and a client certificate has no use for. */
static const char *why_leaf_unfit(X509 *leaf)
{
    if (X509_check_ca(leaf) != 0)
        return "the leaf may act as a CA: not an end entity";
    /* A client signs its handshake (RFC 8446 4.4.3): keys for encipherment or agreement only cannot. */
    if (!(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
        return "the leaf's key usage lacks digitalSignature";
    return NULL;
}

static bool read_link(X509 *x509, struct ia_chain_link *link)
{
    struct ia_serial serial = {0};
    bool ok = ia_x509_serial(X509_get0_serialNumber(x509), &serial);
    link->serial_len = serial.len;
    memcpy(link->serial, serial.octets, serial.len);
    return ok && ia_x509_fingerprint(x509, link->fingerprint) && ia_x509_subject_key(x509, link->subject_key);
}

static void copy_link(const struct ia_cert *cert, struct ia_chain_link *link)
{
    memcpy(link->fingerprint, cert->info.fingerprint, sizeof link->fingerprint);
    memcpy(link->subject_key, cert->subject_key, sizeof link->subject_key);
    memcpy(link->serial, cert->serial.octets, cert->serial.len);
    link->serial_len = cert->serial.len;
}

static bool note_not_after(struct ia_chain *out, X509 *x509)
{
    int64_t at;
    if (!ia_x509_time(X509_get0_notAfter(x509), &at))
        return false;
    if (at < out->not_after)
        out->not_after = at;
    return true;
}

/* Take down the chain as plain data.  False: some field of it cannot be told. */
static bool read_links(const struct ia_path *path, struct ia_chain *out)
{
    const struct ia_ca *anchor = path->anchor;
    out->not_after = anchor->cert->info.not_after;
    for (size_t i = 0; i < path->n; i++)
        if (!read_link(path->certs[i], &out->links[i]) || !note_not_after(out, path->certs[i]))
            return false;
    copy_link(anchor->cert, &out->links[path->n]);
    out->links[path->n - 1].issuer_ca_id = anchor->ca_id;
    if (anchor->n_parents > 0)
        out->links[path->n].issuer_ca_id = anchor->parents[0]->ca_id;
    out->n_links = (uint8_t)(path->n + 1);
    out->ca_id = anchor->ca_id;
    return true;
}

/* The chain is authentic: who refuses it?  The administrator first, who disabled a CA; then OpenSSL; then the rest. */
static void decide(const struct ia_ca_set *set, const struct run *run, struct ia_chain *out)
{
    struct ia_judgement verdict = ia_registry_judge(set, out);
    const char *unfit = why_leaf_unfit(run->path->certs[0]);
    if (verdict.reason == IA_R_CA_INACTIVE)
        ia_chain_refuse(out, verdict.reason, X509_V_ERR_CERT_REJECTED, verdict.detail);
    else if (run->error != X509_V_OK)
        refuse_for_complaint(out, run);
    else if (unfit)
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_PURPOSE, unfit);
    else
        ia_chain_refuse(out, verdict.reason, verdict.x509_error, verdict.detail);
}

static void verify(const struct ia_ca_set *set, struct run *run, const struct ia_path *path, int64_t now,
                   struct ia_chain *out)
{
    X509 *leaf = path->certs[0];
    uint32_t flags = X509_get_extension_flags(leaf);
    if (flags & EXFLAG_INVALID)
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_EXTENSION,
                        "an extension of the leaf is malformed");
    else if (flags & EXFLAG_PROXY)
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_PROXY_CERTIFICATES_NOT_ALLOWED,
                        "a proxy certificate (RFC 3820)");
    else if (X509_self_signed(leaf, 0) == 1)
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
                        "the leaf names itself as issuer");
    else if (!path->anchor)
        ia_chain_refuse(out, path->reason, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, path->detail);
    else if (!verify_path(set->store, run, now))
        ia_chain_refuse(out, IA_R_INTERNAL, X509_V_ERR_UNSPECIFIED, "the verification did not come to an end");
    else if (run->forged)
        refuse_for_complaint(out, run);
    else if (!read_links(path, out))
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_EXTENSION,
                        "a serial number is longer than 20 octets, or a time or key malformed");
    else
        decide(set, run, out);
}

void ia_chain_verify(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_chain *out)
{
    int saved = errno;
    struct ia_path path;
    struct run run = {.path = &path};
    *out = (struct ia_chain){.reason = IA_R_INTERNAL, .x509_error = X509_V_ERR_UNSPECIFIED};
    ERR_set_mark();
    errno = 0;
    ia_path_find(set, leaf, sent, now, &path);
    verify(set, &run, &path, now, out);
    if (ia_memory_ran_out())
        ia_chain_refuse(out, IA_R_INTERNAL, X509_V_ERR_OUT_OF_MEM, IA_NOMEM_TEXT);
    ERR_pop_to_mark();
    errno = saved;
}
