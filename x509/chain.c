// SPDX-License-Identifier: ISC
/* Chain verification: path.c finds the certificates, OpenSSL verifies them (signatures, constraints, purpose,
 * strength), and ca_status.c adds what the registry knows: statuses, parents, same-key CAs, CRLs.
 *
 * OpenSSL gets the registered CA as its only trust anchor and no choice of path: its own search would take the first
 * issuer of a matching name, and refuse one whose key identifiers do not fit.  That check is overridden here only,
 * where path.c has verified every signature.  All its errors are collected before one is chosen, so that the reason
 * which is reported is the one that helps; a chain with any error is refused. */
#include "x509/chain.h"

#include "x509/private.h"
#include "x509/validity.h"

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OTHER_ANCHORS_MAX 3 /* each costs a verification without signatures: 0.1 ms, with many names 0.5 ms */

#define SECURITY_LEVEL 2 /* no SHA-1, no RSA below 2048 bits: a fresh context has lost the listener's level */

/* One verification as OpenSSL's callbacks see it. */
struct chain_run {
    const struct ia_path *path;
    int error; /* the first error, or X509_V_OK */
    int depth;
    bool building_failed; /* OpenSSL built no chain of the path */
};

void ia_chain_refuse(struct ia_chain *chain, enum ia_reason reason, int x509_error, const char *detail)
{
    chain->reason = reason;
    chain->x509_error = x509_error;
    (void)snprintf(chain->detail, sizeof chain->detail, "%s", detail);
}

/* X509_STORE asks whether `issuer` issued x509: only the next certificate of the path did. */
static int is_next_on_path(X509_STORE_CTX *ctx, X509 *x509, X509 *issuer)
{
    const struct chain_run *run = X509_STORE_CTX_get_app_data(ctx);
    const struct ia_path *path = run->path;
    for (size_t i = 0; i < path->n; i++)
        if (path->certs[i] == x509)
            return issuer == (i + 1 < path->n ? path->certs[i + 1] : path->anchor->cert->x509);
    return 0;
}

/* OpenSSL did not get as far as a chain: nothing is proven. */
static bool is_building_error(int error)
{
    switch (error) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return true;
    default:
        return false;
    }
}

/* A CA for any extended key usage issues client certificates as well (RFC 5280 4.2.1.12); OpenSSL wants clientAuth. */
static bool is_permitted_usage(X509_STORE_CTX *ctx, int error, int depth)
{
    return error == X509_V_ERR_INVALID_PURPOSE && depth > 0 &&
           ia_x509_may_issue_clients(X509_STORE_CTX_get_current_cert(ctx));
}

/* Returning 1 makes OpenSSL continue, not accept: run->error decides. */
static int collect_error(int ok, X509_STORE_CTX *ctx)
{
    struct chain_run *run = X509_STORE_CTX_get_app_data(ctx);
    int error = X509_STORE_CTX_get_error(ctx), depth = X509_STORE_CTX_get_error_depth(ctx);
    if (ok || is_permitted_usage(ctx, error, depth))
        return 1;
    bool failed = is_building_error(error);
    if (run->error == X509_V_OK || (failed && !run->building_failed)) {
        run->error = error;
        run->depth = depth;
    }
    run->building_failed = run->building_failed || failed;
    return !failed;
}

/* In place of OpenSSL's own signature checks: path.c has verified each signature of this path, within a bound on cost,
 * with the keys of registered CAs first. */
static int signatures_are_verified(X509_STORE_CTX *ctx)
{
    (void)ctx;
    return 1;
}

X509_STORE *ia_chain_store_new(void)
{
    X509_STORE *store = X509_STORE_new();
    if (!store)
        return NULL;
    X509_STORE_set_check_issued(store, is_next_on_path);
    X509_STORE_set_verify(store, signatures_are_verified);
    return store;
}

/* Times are compared by refuse_invalid_time: OpenSSL excludes the last second of a validity. */
static bool configure_verification(X509_STORE_CTX *ctx, struct chain_run *run, STACK_OF(X509) * anchors)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    const unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_POLICY_CHECK | X509_V_FLAG_NO_CHECK_TIME;
    X509_STORE_CTX_set0_trusted_stack(ctx, anchors);
    X509_STORE_CTX_set_verify_cb(ctx, collect_error);
    X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
    /* dNSName constraints bind subjectAltNames (RFC 5280 4.2.1.10).  OpenSSL also applies them to a common name that looks
     * like a host, which is for clients that verify host names: a device's common name is its id. */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    /* No policy is required, but where a CA requires some policy (requireExplicitPolicy), one must be valid. */
    return X509_STORE_CTX_set_app_data(ctx, run) == 1 &&
           X509_VERIFY_PARAM_add0_policy(param, OBJ_nid2obj(NID_any_policy)) == 1 &&
           X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1 &&
           X509_VERIFY_PARAM_set_flags(param, flags) == 1;
}

/* The chain that OpenSSL built must be the path that it was given, or it verified something else. */
static bool verified_whole_path(X509_STORE_CTX *ctx, const struct ia_path *path)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    if (sk_X509_num(chain) != (int)path->n + 1)
        return false;
    for (size_t i = 0; i < path->n; i++)
        if (sk_X509_value(chain, (int)i) != path->certs[i])
            return false;
    return sk_X509_value(chain, (int)path->n) == path->anchor->cert->x509;
}

/* OpenSSL may stop at a certificate without calling the callback. */
static void collect_stop(X509_STORE_CTX *ctx, struct chain_run *run)
{
    if (run->building_failed)
        return;
    run->error = X509_STORE_CTX_get_error(ctx);
    run->depth = X509_STORE_CTX_get_error_depth(ctx);
    run->building_failed = run->error != X509_V_OK;
}

/* False where the verification reached no result: run->error may then be anything. */
static bool run_verification(X509_STORE_CTX *ctx, X509_STORE *store, struct chain_run *run, STACK_OF(X509) * untrusted,
                             STACK_OF(X509) * anchors)
{
    const struct ia_path *path = run->path;
    for (size_t i = 1; i < path->n; i++)
        if (!sk_X509_push(untrusted, path->certs[i]))
            return false;
    if (!sk_X509_push(anchors, path->anchor->cert->x509) ||
        X509_STORE_CTX_init(ctx, store, path->certs[0], untrusted) != 1 || !configure_verification(ctx, run, anchors))
        return false;
    if (X509_verify_cert(ctx) == 1)
        return verified_whole_path(ctx, path);
    collect_stop(ctx, run);
    return run->building_failed;
}

static bool verify_path(X509_STORE *store, struct chain_run *run)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *untrusted = sk_X509_new_null(), *anchors = sk_X509_new_null();
    bool done = ctx && untrusted && anchors && run_verification(ctx, store, run, untrusted, anchors);
    X509_STORE_CTX_free(ctx);
    sk_X509_free(untrusted);
    sk_X509_free(anchors);
    return done;
}

static bool same_extension(const X509 *a, const X509 *b, int nid)
{
    int at_a = X509_get_ext_by_NID(a, nid, -1), at_b = X509_get_ext_by_NID(b, nid, -1);
    if (at_a < 0 || at_b < 0)
        return at_a < 0 && at_b < 0;
    return ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509_get_ext(a, at_a)),
                                 X509_EXTENSION_get_data(X509_get_ext(b, at_b))) == 0;
}

/* Of most renewals only the validity is new: they would say the same again. */
static bool same_constraints(const struct ia_ca *a, const struct ia_ca *b)
{
    static const int nids[] = {NID_basic_constraints,    NID_name_constraints,   NID_ext_key_usage,
                               NID_certificate_policies, NID_policy_constraints, NID_inhibit_any_policy,
                               NID_policy_mappings};
    for (size_t i = 0; i < sizeof nids / sizeof nids[0]; i++)
        if (!same_extension(a->cert->x509, b->cert->x509, nids[i]))
            return false;
    return true;
}

/* A CA may have been renewed with its key because a path length or a name constraint was too narrow: the path is valid
 * where one registered certificate of the key admits it (RFC 5280 6.1).  Whatever these say, the signatures stay verified. */
static void try_other_anchors(const struct ia_ca_set *set, struct ia_path *path, int64_t now, struct chain_run *run)
{
    const struct ia_ca *first = path->anchor;
    size_t tried = 0;
    for (const struct ia_ca *ca = first->key->first; ca && tried < OTHER_ANCHORS_MAX; ca = ca->next_same_key) {
        struct ia_path other = *path;
        struct chain_run again = {.path = &other};
        if (!ia_ca_is_usable(ca, now) || same_constraints(ca, first) ||
            !ia_x509_may_have_issued(ca->cert->x509, path->certs[path->n - 1]))
            continue;
        tried++;
        other.anchor = ca;
        if (ia_path_limit_problem(&other) || !verify_path(set->store, &again) || again.error != X509_V_OK)
            continue;
        path->anchor = ca;
        run->error = X509_V_OK;
        return;
    }
}

/* Errors of the leaf itself, as opposed to those of its chain. */
static bool is_leaf_error(int error)
{
    switch (error) {
    case X509_V_ERR_INVALID_PURPOSE:
    case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
    case X509_V_ERR_INVALID_EXTENSION:
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
    case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS:
        return true;
    default:
        return false;
    }
}

static enum ia_reason reason_of_run(const struct chain_run *run)
{
    if (run->error == X509_V_ERR_OUT_OF_MEM)
        return IA_R_INTERNAL;
    return run->depth == 0 && is_leaf_error(run->error) ? IA_R_CERTIFICATE_UNFIT : IA_R_CHAIN_INVALID;
}

/* The error that makes OpenSSL send the fitting alert (ssl_x509err2alert; RFC 8446 6.2): a certificate that is not valid
 * yet is certificate_expired (not bad_certificate), a path that is too long is bad_certificate (not unknown_ca, which
 * would send the client looking for another CA). */
static int error_for_alert(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return X509_V_ERR_CERT_HAS_EXPIRED;
    case X509_V_ERR_PATH_LENGTH_EXCEEDED:
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
        return X509_V_ERR_CERT_REJECTED;
    default:
        return error;
    }
}

/* Refuse for what is wrong with the certificate at `depth` of the path. */
static void refuse_at_depth(struct ia_chain *out, const struct ia_path *path, int depth, enum ia_reason reason,
                            int error)
{
    char text[sizeof out->detail];
    const char *which = "an intermediate";
    if (depth == 0)
        which = "the leaf";
    else if (depth == (int)path->n)
        which = "the registered CA";
    (void)snprintf(text, sizeof text, "%s: %s", which, X509_verify_cert_error_string(error));
    ia_chain_refuse(out, reason, error_for_alert(error), text);
}

static void refuse_for_run(struct ia_chain *out, const struct chain_run *run)
{
    refuse_at_depth(out, run->path, run->depth, reason_of_run(run), run->error);
}

/* The anchor first, then down to the leaf.  True when some certificate is not valid at `now`. */
static bool refuse_invalid_time(struct ia_chain *out, const struct ia_path *path, int64_t now)
{
    for (int depth = (int)path->n; depth >= 0; depth--) {
        const X509 *x509 = depth < (int)path->n ? path->certs[depth] : path->anchor->cert->x509;
        int64_t not_before = 0, not_after = 0;
        int error = X509_V_OK;
        if (!ia_x509_time(X509_get0_notBefore(x509), &not_before))
            error = X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD;
        else if (!ia_x509_time(X509_get0_notAfter(x509), &not_after))
            error = X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD;
        else if (ia_x509_not_yet_valid(not_before, now))
            error = X509_V_ERR_CERT_NOT_YET_VALID;
        else if (ia_x509_expired(not_after, now))
            error = X509_V_ERR_CERT_HAS_EXPIRED;
        if (error == X509_V_OK)
            continue;
        refuse_at_depth(out, path, depth, IA_R_CERTIFICATE_EXPIRED, error);
        return true;
    }
    return false;
}

/* What OpenSSL's purpose check accepts, but a client certificate must not be. */
static const char *leaf_usage_problem(X509 *leaf)
{
    if (X509_check_ca(leaf) != 0)
        return "the leaf may act as a CA, so it is not an end-entity certificate";
    /* A client signs its handshake (RFC 8446 4.4.3): a key for encipherment or agreement only cannot. */
    if (!(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
        return "the leaf's key usage does not include digitalSignature";
    return NULL;
}

static bool read_link(X509 *x509, struct ia_chain_link *link)
{
    struct ia_serial serial = {0};
    bool ok = ia_x509_serial(X509_get0_serialNumber(x509), &serial);
    link->serial_len = serial.len;
    memcpy(link->serial, serial.octets, serial.len);
    return ok && ia_cert_fingerprint(x509, link->fingerprint) && ia_x509_name_key_hash(x509, link->name_key_hash);
}

static void copy_link(const struct ia_cert *cert, struct ia_chain_link *link)
{
    memcpy(link->fingerprint, cert->info.fingerprint, sizeof link->fingerprint);
    memcpy(link->name_key_hash, cert->name_key_hash, sizeof link->name_key_hash);
    memcpy(link->serial, cert->serial.octets, cert->serial.len);
    link->serial_len = cert->serial.len;
}

static bool lower_not_after(struct ia_chain *out, const X509 *x509)
{
    int64_t at;
    if (!ia_x509_time(X509_get0_notAfter(x509), &at))
        return false;
    if (at < out->not_after)
        out->not_after = at;
    return true;
}

/* Keep the chain as plain data.  False: some field of it cannot be read. */
static bool read_links(const struct ia_path *path, struct ia_chain *out)
{
    const struct ia_ca *anchor = path->anchor;
    out->not_after = anchor->cert->info.not_after;
    for (size_t i = 0; i < path->n; i++)
        if (!read_link(path->certs[i], &out->links[i]) || !lower_not_after(out, path->certs[i]))
            return false;
    copy_link(anchor->cert, &out->links[path->n]);
    out->n_links = (uint8_t)(path->n + 1);
    out->ca_id = anchor->ca_id;
    return true;
}

/* The chain is authentic.  The administrator's decision (a CA that is not ACTIVE) is reported first, then OpenSSL's
 * errors, then all else. */
static void decide_chain(const struct ia_ca_set *set, const struct chain_run *run, int64_t now, struct ia_chain *out)
{
    struct ia_ca_finding finding = ia_ca_status_check(set, out);
    const char *problem = leaf_usage_problem(run->path->certs[0]);
    if (finding.reason == IA_R_CA_INACTIVE)
        // NOLINTNEXTLINE(bugprone-branch-clone): first or last, by its reason
        ia_chain_refuse(out, finding.reason, finding.x509_error, finding.detail);
    else if (run->error != X509_V_OK)
        refuse_for_run(out, run);
    else if (refuse_invalid_time(out, run->path, now))
        return;
    else if (problem)
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_PURPOSE, problem);
    else
        ia_chain_refuse(out, finding.reason, finding.x509_error, finding.detail);
}

static void refuse_leaf(struct ia_chain *out, int x509_error, const char *problem)
{
    ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, x509_error, problem);
}

/* What is wrong with the leaf alone; before any signature is verified. */
static bool refuse_unfit_leaf(struct ia_chain *out, X509 *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf);
    const EVP_PKEY *key = X509_get0_pubkey(leaf);
    const char *problem = key ? ia_leaf_key_problem(key) : "the leaf's public key cannot be read";
    if (flags & EXFLAG_INVALID)
        refuse_leaf(out, X509_V_ERR_INVALID_EXTENSION, "an extension of the leaf is malformed");
    else if (flags & EXFLAG_PROXY)
        refuse_leaf(out, X509_V_ERR_PROXY_CERTIFICATES_NOT_ALLOWED, "a proxy certificate (RFC 3820)");
    else if (problem)
        refuse_leaf(out, X509_V_ERR_CERT_REJECTED, problem);
    else if (X509_self_signed(leaf, 0) == 1)
        refuse_leaf(out, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "the leaf is self-signed");
    else
        return false;
    return true;
}

/* All limits hold before OpenSSL gets the path. */
static void verify_chain(const struct ia_ca_set *set, struct ia_path *path, int64_t now, struct ia_chain *out)
{
    struct chain_run run = {.path = path};
    const char *problem = path->anchor ? ia_path_limit_problem(path) : NULL;
    bool verified = path->anchor && !problem && verify_path(set->store, &run);
    if (verified && run.error != X509_V_OK && !run.building_failed)
        try_other_anchors(set, path, now, &run);
    if (!path->anchor)
        ia_chain_refuse(out, path->reason, path->x509_error, path->detail);
    else if (problem)
        ia_chain_refuse(out, IA_R_CHAIN_INVALID, X509_V_ERR_CERT_REJECTED, problem);
    else if (!verified)
        ia_chain_refuse(out, IA_R_INTERNAL, X509_V_ERR_UNSPECIFIED, "chain verification could not be completed");
    else if (run.building_failed)
        refuse_for_run(out, &run);
    else if (!read_links(path, out))
        ia_chain_refuse(out, IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_EXTENSION,
                        "a serial number is longer than 20 octets, or a time or key is malformed");
    else
        decide_chain(set, &run, now, out);
}

void ia_chain_verify(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_chain *out)
{
    struct ia_openssl_scope scope;
    struct ia_path path;
    *out = (struct ia_chain){.reason = IA_R_INTERNAL, .x509_error = X509_V_ERR_UNSPECIFIED};
    ia_openssl_enter(&scope);
    if (!refuse_unfit_leaf(out, leaf)) {
        ia_path_find(set, leaf, sent, now, &path);
        verify_chain(set, &path, now, out);
    }
    if (ia_openssl_leave(&scope) != IA_OK)
        ia_chain_refuse(out, IA_R_INTERNAL, X509_V_ERR_OUT_OF_MEM, IA_NOMEM_TEXT);
}

static size_t used_size(const struct ia_chain *chain)
{
    return offsetof(struct ia_chain, links) + chain->n_links * sizeof chain->links[0];
}

struct ia_chain *ia_chain_copy(const struct ia_chain *chain)
{
    struct ia_chain *copy = malloc(used_size(chain));
    if (copy)
        memcpy(copy, chain, used_size(chain));
    return copy;
}

void ia_chain_restore(struct ia_chain *to, const struct ia_chain *from)
{
    memset(to, 0, sizeof *to);
    memcpy(to, from, used_size(from));
}
