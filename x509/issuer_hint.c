// SPDX-License-Identifier: ISC
#include "x509/private.h"

#include <openssl/x509v3.h>

/* keyIdentifier decides where both have one.  Easy-RSA and others also write the issuer's own issuer and serial number,
 * which change at each renewal while the key stays. */
enum ia_hint ia_issuer_hint(const X509 *issuer, const X509 *x509)
{
    const ASN1_OCTET_STRING *wanted = X509_get0_authority_key_id((X509 *)x509);
    const ASN1_OCTET_STRING *own = X509_get0_subject_key_id((X509 *)issuer);
    if (wanted && own)
        return ASN1_OCTET_STRING_cmp(wanted, own) == 0 ? IA_HINT_FITS : IA_HINT_CONTRADICTS;
    const ASN1_INTEGER *serial = X509_get0_authority_serial((X509 *)x509);
    if (!serial)
        return IA_HINT_NONE;
    return ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(issuer)) == 0 ? IA_HINT_FITS : IA_HINT_CONTRADICTS;
}

bool ia_x509_may_have_issued(X509 *issuer, const X509 *x509)
{
    return X509_NAME_cmp(X509_get_subject_name(issuer), X509_get_issuer_name(x509)) == 0 &&
           (X509_get_key_usage(issuer) & KU_KEY_CERT_SIGN);
}
