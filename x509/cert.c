// SPDX-License-Identifier: ISC
#include "x509/cert.h"

#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define REFUTED_MAX 65536 /* keys, 8 octets each, that are remembered not to have signed one certificate */

static void *parse_cert_der(const unsigned char **der, long len)
{
    return d2i_X509(NULL, der, len);
}

static void free_cert_object(void *x509)
{
    X509_free(x509);
}

static enum ia_rc fill_cert(struct ia_cert *cert, struct ia_err *err)
{
    /* OpenSSL reads the extensions at the first question about them: ask now, so that threads which share the
     * certificate only read. */
    (void)X509_check_purpose(cert->x509, -1, 0);
    enum ia_rc rc = ia_cert_info_read(cert->x509, &cert->info, err);
    if (rc != IA_OK)
        return rc;
    if (!ia_x509_serial(X509_get0_serialNumber(cert->x509), &cert->serial) ||
        !ia_x509_name_key_hash(cert->x509, cert->name_key_hash) ||
        !ia_x509_name_hash(X509_get_subject_name(cert->x509), &cert->subject_hash) ||
        !ia_x509_name_hash(X509_get_issuer_name(cert->x509), &cert->issuer_hash))
        return ia_fail(err, IA_CRYPTO, "names and public key cannot be hashed");
    return IA_OK;
}

static enum ia_rc parse_cert_pem(const char *pem, struct ia_cert *cert, struct ia_err *err)
{
    static const struct ia_pem_kind kind = {
        .label = "CERTIFICATE",
        .old_label = "X509 CERTIFICATE",
        .noun = "certificate",
        .max = IA_PEM_MAX,
        .parse = parse_cert_der,
        .release = free_cert_object,
    };
    void *x509 = NULL;
    enum ia_rc rc = ia_pem_parse(pem, &kind, &x509, err);
    if (rc != IA_OK)
        return rc;
    cert->x509 = x509;
    return fill_cert(cert, err);
}

enum ia_rc ia_cert_parse_pem(const char *pem, struct ia_cert **out, struct ia_err *err)
{
    struct ia_openssl_scope scope;
    struct ia_cert *cert = calloc(1, sizeof *cert);
    if (!cert)
        return ia_nomem(err);
    ia_ref_init(&cert->refs);
    ia_openssl_enter(&scope);
    enum ia_rc rc = parse_cert_pem(pem, cert, err);
    if (ia_openssl_leave(&scope) != IA_OK)
        rc = ia_nomem(err);
    if (rc != IA_OK) {
        ia_cert_free(cert);
        return rc;
    }
    *out = cert;
    return IA_OK;
}

struct ia_cert *ia_cert_ref(struct ia_cert *cert)
{
    ia_ref_take(&cert->refs);
    return cert;
}

void ia_cert_free(struct ia_cert *cert)
{
    if (!cert || !ia_ref_drop(&cert->refs))
        return;
    X509_free(cert->x509);
    free(cert->memo.refuted);
    free(cert);
}

const struct ia_cert_info *ia_cert_info(const struct ia_cert *cert)
{
    return &cert->info;
}

X509 *ia_cert_x509(const struct ia_cert *cert)
{
    return cert->x509;
}

/* Where the key stands, or would stand, in the sorted list. */
static size_t place_of_refuted(const struct ia_signer_memo *memo, uint64_t key)
{
    size_t low = 0, high = memo->n_refuted;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memo->refuted[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t short_hash(const struct ia_cert *issuer)
{
    uint64_t key;
    memcpy(&key, issuer->name_key_hash, sizeof key);
    return key;
}

bool ia_cert_signer_is_refuted(const struct ia_cert *cert, const struct ia_cert *issuer)
{
    uint64_t key = short_hash(issuer);
    size_t place = place_of_refuted(&cert->memo, key);
    return place < cert->memo.n_refuted && cert->memo.refuted[place] == key;
}

/* Without memory the signature is verified once more at the next build. */
static void remember_refuted(struct ia_signer_memo *memo, uint64_t key)
{
    if (memo->n_refuted == REFUTED_MAX)
        return;
    if ((memo->n_refuted & (memo->n_refuted - 1)) == 0) { /* room for the next power of two */
        size_t room = memo->n_refuted ? 2 * memo->n_refuted : 1;
        uint64_t *more = realloc(memo->refuted, room * sizeof *more);
        if (!more)
            return;
        memo->refuted = more;
    }
    size_t place = place_of_refuted(memo, key);
    memmove(memo->refuted + place + 1, memo->refuted + place, (memo->n_refuted - place) * sizeof key);
    memo->refuted[place] = key;
    memo->n_refuted++;
}

bool ia_cert_signed_by(struct ia_cert *cert, const struct ia_cert *issuer)
{
    struct ia_signer_memo *memo = &cert->memo;
    struct ia_openssl_scope scope;
    if (memo->found && memcmp(memo->signer, issuer->name_key_hash, sizeof memo->signer) == 0)
        return true;
    if (ia_cert_signer_is_refuted(cert, issuer))
        return false;
    ia_openssl_enter(&scope);
    EVP_PKEY *public_key = X509_get0_pubkey(issuer->x509);
    bool is_signed = public_key && X509_verify(cert->x509, public_key) == 1;
    if (ia_openssl_leave(&scope) != IA_OK)
        return false;
    if (!is_signed) {
        remember_refuted(memo, short_hash(issuer));
        return false;
    }
    memo->found = true;
    memcpy(memo->signer, issuer->name_key_hash, sizeof memo->signer);
    return true;
}
