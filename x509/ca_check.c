// SPDX-License-Identifier: ISC
/* May a certificate act as a registered CA?  The texts are for `ca.problem`. */
#include "common/rfc3339.h"
#include "x509/private.h"
#include "x509/validity.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#define SECURITY_BITS 112 /* OpenSSL's security level 2 */

bool ia_x509_may_issue_clients(X509 *ca_or_intermediate)
{
    if (X509_check_purpose(ca_or_intermediate, X509_PURPOSE_SSL_CLIENT, 1) == 1)
        return true;
    return X509_check_ca(ca_or_intermediate) == 1 && (X509_get_extension_flags(ca_or_intermediate) & EXFLAG_XKUSAGE) &&
           (X509_get_extended_key_usage(ca_or_intermediate) & XKU_ANYEKU);
}

/* RFC 5280 4.2.1.9 and 4.2.1.3. */
static const char *ca_extension_problem(X509 *x509)
{
    uint32_t flags = X509_get_extension_flags(x509);
    if (flags & EXFLAG_INVALID)
        return "an extension is malformed";
    if (X509_get_version(x509) != X509_VERSION_3)
        return "not an X.509 version 3 certificate, so it has no basicConstraints";
    if (!(flags & EXFLAG_BCONS) || !(flags & EXFLAG_CA))
        return "not a CA: basicConstraints does not say CA:TRUE; register the CA's certificate, not a device's";
    if (!(X509_get_key_usage(x509) & KU_KEY_CERT_SIGN))
        return "the key usage does not include keyCertSign";
    if (flags & EXFLAG_CRITICAL)
        return "unknown critical extension";
    if (!ia_x509_may_issue_clients(x509))
        return "the extended key usage does not include clientAuth or anyExtendedKeyUsage, so it cannot issue device certificates";
    return NULL;
}

/* Strength of the key, as OpenSSL's security level 2 requires it in a chain.  The CA's own signature is not checked: the
 * signature of a trust anchor is not part of the path (RFC 5280 6.1), so a root may be signed with SHA-1. */
static const char *ca_key_problem(X509 *x509)
{
    EVP_PKEY *key = X509_get0_pubkey(x509);
    if (EVP_PKEY_get_security_bits(key) < SECURITY_BITS)
        return "the key is too weak (RSA and DSA need 2048 bits, EC 224)";
    return ia_key_problem(key);
}

/* A key of an algorithm that this OpenSSL does not have.  ML-DSA has a name of its own in the text, because the cure is known. */
static enum ia_rc refuse_unreadable_key(X509 *x509, struct ia_err *err)
{
    const char *name = ia_ml_dsa_name(x509);
    if (!name)
        return ia_fail(err, IA_FORMAT, "the public key cannot be read");
    return ia_fail(err, IA_FORMAT, "an %s key takes OpenSSL 3.5 or newer, and this broker has OpenSSL %s", name,
                   OpenSSL_version(OPENSSL_VERSION_STRING));
}

enum ia_rc ia_cert_check_ca_form(const struct ia_cert *cert, struct ia_err *err)
{
    struct ia_openssl_scope scope;
    ia_openssl_enter(&scope);
    const char *problem = ca_extension_problem(cert->x509);
    bool readable = X509_get0_pubkey(cert->x509) != NULL;
    if (!problem && readable)
        problem = ca_key_problem(cert->x509);
    if (ia_openssl_leave(&scope) != IA_OK)
        return ia_nomem(err);
    if (!problem && !readable)
        return refuse_unreadable_key(cert->x509, err);
    return problem ? ia_fail(err, IA_FORMAT, "%s", problem) : IA_OK;
}

enum ia_rc ia_cert_check_ca(const struct ia_cert *cert, int64_t now, struct ia_err *err)
{
    char date[IA_RFC3339_SIZE];
    const struct ia_cert_info *info = &cert->info;
    enum ia_rc rc = ia_cert_check_ca_form(cert, err);
    if (rc != IA_OK)
        return rc;
    if (ia_x509_not_yet_valid(info->not_before, now))
        return ia_fail(err, IA_FORMAT, "not valid before %s", ia_rfc3339_seconds(info->not_before, date));
    if (ia_x509_expired(info->not_after, now))
        return ia_fail(err, IA_FORMAT, "expired at %s; register the renewed CA",
                       ia_rfc3339_seconds(info->not_after, date));
    return IA_OK;
}

bool ia_openssl_has_ml_dsa(void)
{
    ERR_set_mark();
    EVP_KEYMGMT *found = EVP_KEYMGMT_fetch(NULL, "ML-DSA-44", NULL);
    ERR_pop_to_mark();
    EVP_KEYMGMT_free(found);
    return found != NULL;
}
