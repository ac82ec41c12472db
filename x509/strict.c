// SPDX-License-Identifier: ISC
/* Strict revocation, for iot-auth-check: first what a broker would decide, then OpenSSL checks the same chain with all
 * its features (delta lists, lists of other issuers), which refuses a certificate without a valid list. */
#include "x509/chain.h"
#include "x509/private.h"
#include "x509/validity.h"

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

/* One strict check as OpenSSL's callbacks see it. */
struct strict_run {
    const struct ia_chain_strict_input *in;
    const struct ia_path *path;
};

static int strict_check_issued(X509_STORE_CTX *ctx, X509 *x509, X509 *issuer)
{
    const struct strict_run *run = X509_STORE_CTX_get_app_data(ctx);
    const struct ia_path *path = run ? run->path : NULL;
    for (size_t i = 0; path && i < path->n; i++)
        if (path->certs[i] == x509)
            return issuer == (i + 1 < path->n ? path->certs[i + 1] : path->anchor->cert->x509);
    return X509_check_issued(issuer, x509) == X509_V_OK; /* the issuer of a CRL */
}

static bool crl_is_valid_at(const struct ia_crl *crl, int64_t now)
{
    /* Without nextUpdate, which RFC 5280 5.1.2.5 requires, a list never ends: it cannot be known to be valid. */
    return !crl->unusable && crl->has_next_update && !ia_x509_not_yet_valid(crl->this_update, now) &&
           !ia_crl_is_past_update(crl, now);
}

/* X509_V_OK: a complete list of the issuer's key covers the certificate and does not list it. */
static int check_own_lists(const struct ia_chain_strict_input *in, const X509 *x509, X509 *issuer)
{
    struct ia_serial serial;
    int error = X509_V_ERR_UNABLE_TO_GET_CRL;
    if (!ia_x509_serial(X509_get0_serialNumber(x509), &serial) || !(X509_get_key_usage(issuer) & KU_CRL_SIGN))
        return error;
    for (size_t i = 0; i < in->n_crls; i++) {
        const struct ia_crl_spec *spec = &in->crls[i];
        if (spec->crl->partial || !crl_is_valid_at(spec->crl, in->now) || !ia_crl_signed_by_x509(spec, issuer) ||
            ia_crl_load_entries(spec) != IA_OK)
            continue;
        if (ia_serial_list_has(spec->crl->entries, &serial))
            return X509_V_ERR_CERT_REVOKED;
        error = X509_V_OK;
    }
    return error;
}

/* OpenSSL takes no list whose authority key identifier does not fit the issuer (RFC 5280 5.2.1 wants it to be set, but a
 * CA that was renewed keeps its key, not always its identifier).  Overridden where the signature is verified here. */
static int find_list_by_signature(const struct strict_run *run, X509_STORE_CTX *ctx)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    if (depth + 1 >= sk_X509_num(chain))
        return 0;
    int error = check_own_lists(run->in, sk_X509_value(chain, depth), sk_X509_value(chain, depth + 1));
    if (error == X509_V_OK)
        return 1;
    X509_STORE_CTX_set_error(ctx, error);
    return 0;
}

/* The anchor is trusted because it is registered: it needs no list over itself, and a list of a CA above it that OpenSSL
 * cannot check is not an error here (the registry's view of the CAs above is required below). */
static bool is_anchor_at_top(const struct strict_run *run, X509_STORE_CTX *ctx)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    int top = sk_X509_num(chain) - 1;
    return top > 0 && X509_STORE_CTX_get_error_depth(ctx) == top &&
           X509_cmp(sk_X509_value(chain, top), run->path->anchor->cert->x509) == 0;
}

static int forgive_error(int ok, X509_STORE_CTX *ctx)
{
    const struct strict_run *run = X509_STORE_CTX_get_app_data(ctx);
    if (ok || !run || X509_STORE_CTX_get0_parent_ctx(ctx))
        return ok;
    switch (X509_STORE_CTX_get_error(ctx)) {
    case X509_V_ERR_CERT_REVOKED:
        return 0;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return 1; /* decided before, the last second included */
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
        return is_anchor_at_top(run, ctx) || find_list_by_signature(run, ctx);
    default:
        return is_anchor_at_top(run, ctx);
    }
}

static bool configure_strict(X509_STORE_CTX *ctx, struct strict_run *run, STACK_OF(X509_CRL) * crls)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_STORE_CTX_set0_crls(ctx, crls);
    X509_STORE_CTX_set_verify_cb(ctx, forgive_error);
    X509_VERIFY_PARAM_set_time(param, (time_t)run->in->now);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_STORE_CTX_set_app_data(ctx, run) == 1 &&
           X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_CRL_CHECK |
                                                  X509_V_FLAG_CRL_CHECK_ALL | X509_V_FLAG_EXTENDED_CRL_SUPPORT |
                                                  X509_V_FLAG_USE_DELTAS) == 1;
}

/* An X509_V_ERR_*, or X509_V_OK. */
static int verify_with_lists(struct strict_run *run, STACK_OF(X509_CRL) * crls)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE *store = X509_STORE_new();
    int error = X509_V_ERR_OUT_OF_MEM;
    if (ctx && store && X509_STORE_add_cert(store, run->path->anchor->cert->x509) == 1) {
        X509_STORE_set_check_issued(store, strict_check_issued);
        if (X509_STORE_CTX_init(ctx, store, run->path->certs[0], run->in->sent) == 1 &&
            configure_strict(ctx, run, crls))
            error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return error;
}

static void *parse_crl_object(const unsigned char **der, long len)
{
    return d2i_X509_CRL(NULL, der, len);
}

static void free_crl_object(void *crl)
{
    X509_CRL_free(crl);
}

/* The lists as OpenSSL's objects; the caller owns the stack.  NULL: out of memory. */
static STACK_OF(X509_CRL) * read_crl_objects(const struct ia_chain_strict_input *in)
{
    static const struct ia_pem_kind kind = {
        .label = "X509 CRL",
        .old_label = "CRL",
        .noun = "CRL",
        .max = IA_CRL_PEM_MAX,
        .parse = parse_crl_object,
        .release = free_crl_object,
    };
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
    for (size_t i = 0; crls && i < in->n_crls; i++) {
        void *crl = NULL;
        if (ia_pem_parse(in->crls[i].pem, &kind, &crl, NULL) != IA_OK)
            continue; /* a list that OpenSSL cannot read covers nothing */
        if (sk_X509_CRL_push(crls, crl) > 0)
            continue;
        X509_CRL_free(crl);
        sk_X509_CRL_pop_free(crls, X509_CRL_free);
        crls = NULL;
    }
    return crls;
}

static void require_lists(const struct ia_ca_set *set, const struct ia_chain_strict_input *in, struct ia_chain *out)
{
    struct ia_path path;
    struct strict_run run = {.in = in, .path = &path};
    STACK_OF(X509_CRL) *crls = read_crl_objects(in);
    ia_path_find(set, in->leaf, in->sent, in->now, &path);
    for (size_t i = 0; path.anchor && i < set->n; i++)
        if (set->cas[i].ca_id == out->ca_id) /* of several certificates of its key the one that admits the path */
            path.anchor = &set->cas[i];
    int error = crls && path.anchor ? verify_with_lists(&run, crls) : X509_V_ERR_OUT_OF_MEM;
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    enum ia_reason reason = IA_R_CHAIN_INVALID;
    if (error == X509_V_ERR_CERT_REVOKED)
        reason = IA_R_CERTIFICATE_REVOKED;
    else if (error == X509_V_ERR_OUT_OF_MEM)
        reason = IA_R_INTERNAL;
    if (error != X509_V_OK)
        ia_chain_refuse(out, reason, error, X509_verify_cert_error_string(error));
}

static bool ca_has_valid_list(const struct ia_chain_strict_input *in, const struct ia_ca *ca)
{
    for (size_t i = 0; i < in->n_crls; i++)
        if (crl_is_valid_at(in->crls[i].crl, in->now) && ia_crl_signed_by(&in->crls[i], ca->cert))
            return true;
    return false;
}

/* OpenSSL stopped at the anchor; the CAs above it are known to the registry alone.  Same-key CAs share their lists. */
static void require_lists_above(const struct ia_ca_set *set, const struct ia_chain_strict_input *in,
                                struct ia_chain *out)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct ia_ca *ca = &set->cas[i];
        for (size_t k = 1; k < out->n_cas && out->reason == IA_R_NONE; k++)
            if (out->cas[k] == ca->ca_id && !ca_has_valid_list(in, ca))
                ia_chain_refuse(out, IA_R_CHAIN_INVALID, X509_V_ERR_UNABLE_TO_GET_CRL,
                                "a registered CA above the chain has no valid CRL");
    }
}

void ia_chain_verify_strict(const struct ia_ca_set *set, const struct ia_chain_strict_input *in, struct ia_chain *out)
{
    struct ia_openssl_scope scope;
    ia_chain_verify(set, in->leaf, in->sent, in->now, out);
    if (out->reason != IA_R_NONE)
        return;
    ia_openssl_enter(&scope);
    require_lists(set, in, out);
    if (out->reason == IA_R_NONE)
        require_lists_above(set, in, out);
    if (ia_openssl_leave(&scope) != IA_OK)
        ia_chain_refuse(out, IA_R_INTERNAL, X509_V_ERR_OUT_OF_MEM, IA_NOMEM_TEXT);
}
