// SPDX-License-Identifier: ISC
/* Strict revocation, for iot-auth-check: first what a broker would decide, then a second look by OpenSSL at the same
 * chain with all its means (delta lists, lists of other issuers), which refuses what it has no valid list for. */
#include "x509/chain.h"
#include "x509/private.h"

#include <openssl/x509_vfy.h>

/* The anchor is trusted because it is registered: it needs no list over itself, and one of a CA above it that OpenSSL
 * cannot check is no fault.  (The registry's view of those above is asked for below.) */
static int forgive_anchor(int ok, X509_STORE_CTX *ctx)
{
    if (ok || X509_STORE_CTX_get0_parent_ctx(ctx) || X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CERT_REVOKED)
        return ok;
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
    int top = sk_X509_num(chain) - 1;
    return top > 0 && X509_STORE_CTX_get_error_depth(ctx) == top &&
           X509_cmp(sk_X509_value(chain, top), X509_STORE_CTX_get_app_data(ctx)) == 0;
}

static bool configure_strict(X509_STORE_CTX *ctx, const struct ia_path *path, STACK_OF(X509_CRL) * crls, int64_t now)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_STORE_CTX_set0_crls(ctx, crls);
    X509_STORE_CTX_set_verify_cb(ctx, forgive_anchor);
    X509_VERIFY_PARAM_set_time(param, (time_t)now);
    return X509_STORE_CTX_set_app_data(ctx, path->anchor->cert->x509) == 1 &&
           X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_CRL_CHECK |
                                                  X509_V_FLAG_CRL_CHECK_ALL | X509_V_FLAG_EXTENDED_CRL_SUPPORT |
                                                  X509_V_FLAG_USE_DELTAS) == 1;
}

/* An X509_V_ERR_*, or X509_V_OK. */
static int check_lists(const struct ia_chain_strict_input *in, const struct ia_path *path, STACK_OF(X509_CRL) * crls)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE *store = X509_STORE_new();
    int error = X509_V_ERR_OUT_OF_MEM;
    if (ctx && store && X509_STORE_add_cert(store, path->anchor->cert->x509) == 1 &&
        X509_STORE_CTX_init(ctx, store, path->certs[0], in->sent) == 1 && configure_strict(ctx, path, crls, in->now))
        error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return error;
}

static void demand_lists(const struct ia_ca_set *set, const struct ia_chain_strict_input *in, struct ia_chain *out)
{
    struct ia_path path;
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
    bool complete = crls != NULL;
    for (size_t i = 0; complete && i < in->n_crls; i++)
        complete = sk_X509_CRL_push(crls, in->crls[i]->x509) > 0;
    ia_path_find(set, in->leaf, in->sent, in->now, &path);
    int error = complete && path.anchor ? check_lists(in, &path, crls) : X509_V_ERR_OUT_OF_MEM;
    sk_X509_CRL_free(crls);
    enum ia_reason reason = IA_R_CHAIN_INVALID;
    if (error == X509_V_ERR_CERT_REVOKED)
        reason = IA_R_CERTIFICATE_REVOKED;
    else if (error == X509_V_ERR_OUT_OF_MEM)
        reason = IA_R_INTERNAL;
    if (error != X509_V_OK)
        ia_chain_refuse(out, reason, error, X509_verify_cert_error_string(error));
}

/* In force at `now`?  One without nextUpdate has no end, so nobody could tell (RFC 5280 5.1.2.5 requires it). */
static bool ca_has_valid_list(const struct ia_chain_strict_input *in, const struct ia_ca *ca)
{
    for (size_t i = 0; i < in->n_crls; i++)
        if (!in->crls[i]->unusable && in->crls[i]->this_update <= in->now && in->now <= in->crls[i]->next_update &&
            ia_crl_signed_by(in->crls[i], ca->cert))
            return true;
    return false;
}

/* OpenSSL stopped at the anchor; those above it are known to the registry alone. */
static void demand_lists_above(const struct ia_ca_set *set, const struct ia_chain_strict_input *in,
                               struct ia_chain *out)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct ia_ca *ca = &set->cas[i];
        if (ca->ca_id == out->ca_id)
            continue;
        for (size_t k = 0; k < out->n_cas && out->reason == IA_R_NONE; k++)
            if (out->cas[k] == ca->ca_id && !ca_has_valid_list(in, ca))
                ia_chain_refuse(out, IA_R_CHAIN_INVALID, X509_V_ERR_UNABLE_TO_GET_CRL,
                                "a registered CA above has no valid CRL");
    }
}

void ia_chain_verify_strict(const struct ia_ca_set *set, const struct ia_chain_strict_input *in, struct ia_chain *out)
{
    struct ia_openssl_scope scope;
    ia_chain_verify(set, in->leaf, in->sent, in->now, out);
    if (out->reason != IA_R_NONE)
        return;
    ia_openssl_enter(&scope);
    demand_lists(set, in, out);
    if (out->reason == IA_R_NONE)
        demand_lists_above(set, in, out);
    if (ia_openssl_leave(&scope) != IA_OK)
        ia_chain_refuse(out, IA_R_INTERNAL, X509_V_ERR_OUT_OF_MEM, IA_NOMEM_TEXT);
}
