// SPDX-License-Identifier: ISC
#include "x509/crl.h"

#include "x509/private.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define REMOVE_FROM_CRL 8 /* RFC 5280 5.3.1 */

/* The reason code of an entry, or -1.  Read off the DER (ENUMERATED, one octet): decoding it properly allocates, a
 * million times for a large list. */
static int entry_reason(X509_EXTENSION *reason)
{
    const ASN1_OCTET_STRING *der = X509_EXTENSION_get_data(reason);
    const uint8_t *octets = ASN1_STRING_get0_data(der);
    return ASN1_STRING_length(der) == 3 && octets[0] == V_ASN1_ENUMERATED && octets[1] == 1 ? octets[2] : -1;
}

/* RFC 5280 5.3: a list with a critical entry extension that is not understood must not be used.  certificateIssuer is
 * among those: it belongs to indirect lists. */
static bool entry_extensions(const X509_REVOKED *entry, bool *removed, const char **unusable)
{
    *removed = false;
    for (int i = 0; i < X509_REVOKED_get_ext_count(entry); i++) {
        X509_EXTENSION *extension = X509_REVOKED_get_ext(entry, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_crl_reason)
            *removed = entry_reason(extension) == REMOVE_FROM_CRL;
        else if (X509_EXTENSION_get_critical(extension) && nid != NID_invalidity_date)
            *unusable = "an entry of it has a critical extension that is not known here";
    }
    return *unusable == NULL;
}

static int compare_serials(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct ia_serial));
}

/* OpenSSL sorts its list at the first look-up, under a lock; ours is sorted once and only read after. */
static enum ia_rc read_entries(struct ia_crl *crl, struct ia_err *err)
{
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl->x509);
    int n = sk_X509_REVOKED_num(entries);
    if (n <= 0)
        return IA_OK;
    crl->revoked = calloc((size_t)n, sizeof *crl->revoked);
    if (!crl->revoked)
        return ia_nomem(err);
    for (int i = 0; i < n; i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);
        bool removed;
        if (!entry_extensions(entry, &removed, &crl->unusable))
            break;
        /* A serial number that does not fit is no loss: a certificate with one is refused. */
        if (!removed && ia_x509_serial(X509_REVOKED_get0_serialNumber(entry), &crl->revoked[crl->n_revoked]))
            crl->n_revoked++;
    }
    qsort(crl->revoked, crl->n_revoked, sizeof *crl->revoked, compare_serials);
    return IA_OK;
}

/* RFC 5280 5.2.5.  A list that covers only some certificates or reasons still names revoked ones; one that speaks for
 * other issuers, or of attribute certificates, would be read wrongly. */
static const char *why_scope_unusable(const X509_CRL *x509)
{
    int critical = -1;
    ISSUING_DIST_POINT *scope = X509_CRL_get_ext_d2i(x509, NID_issuing_distribution_point, &critical, NULL);
    if (!scope)
        return critical == -1 ? NULL : "its issuing distribution point is malformed or there are two";
    const char *why = NULL;
    if (scope->indirectCRL > 0)
        why = "it is an indirect CRL: it speaks for other issuers";
    else if (scope->onlyattr > 0)
        why = "it lists attribute certificates only";
    ISSUING_DIST_POINT_free(scope);
    return why;
}

static const char *why_unusable(const X509_CRL *x509)
{
    for (int i = 0; i < X509_CRL_get_ext_count(x509); i++) {
        X509_EXTENSION *extension = X509_CRL_get_ext(x509, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_delta_crl)
            return "it is a delta CRL: only complete ones are used";
        bool known =
            nid == NID_issuing_distribution_point || nid == NID_crl_number || nid == NID_authority_key_identifier;
        if (!known && X509_EXTENSION_get_critical(extension))
            return "it has a critical extension that is not known here";
    }
    return why_scope_unusable(x509);
}

static enum ia_rc fill_crl(struct ia_crl *crl, struct ia_err *err)
{
    int critical = -1;
    crl->number = X509_CRL_get_ext_d2i(crl->x509, NID_crl_number, &critical, NULL);
    if (!crl->number && critical != -1)
        return ia_fail(err, IA_FORMAT, "its CRL number is malformed");
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl->x509);
    if (!ia_x509_time(X509_CRL_get0_lastUpdate(crl->x509), &crl->this_update) ||
        (next && !ia_x509_time(next, &crl->next_update)))
        return ia_fail(err, IA_FORMAT, "its times are malformed");
    crl->unusable = why_unusable(crl->x509);
    return crl->unusable ? IA_OK : read_entries(crl, err);
}

static void *parse_crl_der(const unsigned char **der, long len)
{
    return d2i_X509_CRL(NULL, der, len);
}

static void free_crl_object(void *crl)
{
    X509_CRL_free(crl);
}

static enum ia_rc parse_crl_pem(const char *pem, struct ia_crl *crl, struct ia_err *err)
{
    static const struct ia_pem_kind kind = {
        .label = "X509 CRL",
        .old_label = "CRL",
        .noun = "CRL",
        .max = IA_CRL_PEM_MAX,
        .parse = parse_crl_der,
        .release = free_crl_object,
    };
    void *x509 = NULL;
    enum ia_rc rc = ia_pem_parse(pem, &kind, &x509, err);
    if (rc != IA_OK)
        return rc;
    crl->x509 = x509;
    return fill_crl(crl, err);
}

enum ia_rc ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err)
{
    struct ia_openssl_scope scope;
    struct ia_crl *crl = calloc(1, sizeof *crl);
    if (!crl)
        return ia_nomem(err);
    ia_ref_init(&crl->refs);
    ia_openssl_enter(&scope);
    enum ia_rc rc = parse_crl_pem(pem, crl, err);
    if (ia_openssl_leave(&scope) != IA_OK)
        rc = ia_nomem(err);
    if (rc != IA_OK) {
        ia_crl_free(crl);
        return rc;
    }
    *out = crl;
    return IA_OK;
}

struct ia_crl *ia_crl_ref(struct ia_crl *crl)
{
    ia_ref_take(&crl->refs);
    return crl;
}

void ia_crl_free(struct ia_crl *crl)
{
    if (!crl || !ia_ref_drop(&crl->refs))
        return;
    X509_CRL_free(crl->x509);
    ASN1_INTEGER_free(crl->number);
    free(crl->revoked);
    free(crl);
}

bool ia_crl_lists(const struct ia_crl *crl, const struct ia_serial *serial)
{
    return crl->n_revoked > 0 &&
           bsearch(serial, crl->revoked, crl->n_revoked, sizeof *crl->revoked, compare_serials) != NULL;
}

/* By CRL number (RFC 5280 5.2.3) where both have one, else by date. */
bool ia_crl_is_newer(const struct ia_crl *a, const struct ia_crl *b)
{
    int order = a->number && b->number ? ASN1_INTEGER_cmp(a->number, b->number) : 0;
    return order != 0 ? order > 0 : a->this_update > b->this_update;
}

static const ASN1_OCTET_STRING *scope_of(const struct ia_crl *crl)
{
    int at = X509_CRL_get_ext_by_NID(crl->x509, NID_issuing_distribution_point, -1);
    return at < 0 ? NULL : X509_EXTENSION_get_data(X509_CRL_get_ext(crl->x509, at));
}

bool ia_crl_same_scope(const struct ia_crl *a, const struct ia_crl *b)
{
    const ASN1_OCTET_STRING *one = scope_of(a), *other = scope_of(b);
    if (!one || !other)
        return one == other;
    return ASN1_OCTET_STRING_cmp(one, other) == 0;
}

static bool signed_by(const struct ia_crl *crl, const struct ia_cert *issuer)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer->x509);
    return key && X509_NAME_cmp(X509_CRL_get_issuer(crl->x509), X509_get_subject_name(issuer->x509)) == 0 &&
           X509_CRL_verify(crl->x509, key) == 1;
}

bool ia_crl_signed_by(struct ia_crl *crl, const struct ia_cert *issuer)
{
    if (ia_signature_memo_has(&crl->issuer, issuer))
        return true;
    ERR_set_mark();
    bool is = signed_by(crl, issuer);
    ERR_pop_to_mark();
    if (is)
        ia_signature_memo_keep(&crl->issuer, issuer);
    return is;
}
