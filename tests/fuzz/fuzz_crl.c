// SPDX-License-Identifier: ISC
/* A CRL of the registry as PEM text: parsed or refused, and never more than that. */
#include "x509/crl.h"

#include "common/str.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ia_cert *issuer(void)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----\n"
                              "MIIBdTCCARugAwIBAgIUb4ckaiQyx6AYIz1Qc6NNSKwJPLcwCgYIKoZIzj0EAwIw\n"
                              "DzENMAsGA1UEAwwEUm9vdDAgFw0yNjExMjgwNTE3MDNaGA8yMTI2MTEwNDA1MTcw\n"
                              "M1owDzENMAsGA1UEAwwEUm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABInl\n"
                              "ZvurP4Hv8iB81HmS2kgdVjR73Cx28PU67M1r5oouF7TLrI1ixDYIUISsOrIoMh/A\n"
                              "e+ybM+n9lVp9+1FStX2jUzBRMB0GA1UdDgQWBBRUOMBSFNpvrRj4tSVUnsrPH3l7\n"
                              "qDAfBgNVHSMEGDAWgBRUOMBSFNpvrRj4tSVUnsrPH3l7qDAPBgNVHRMBAf8EBTAD\n"
                              "AQH/MAoGCCqGSM49BAMCA0gAMEUCIQDfjePvOx5pqavgbqTu3byRWf/SEhWYY/sC\n"
                              "gqgpYE+WxgIgeTi80somBlQSkZYbIsJc9keZOJOEGQnw8t7phJ+0F1k=\n"
                              "-----END CERTIFICATE-----\n";
    static struct ia_cert *cert;
    if (!cert && ia_cert_parse_pem(pem, &cert, NULL) != IA_OK)
        abort();
    return cert;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char head[] = "-----BEGIN X509 CRL-----\n", tail[] = "\n-----END X509 CRL-----\n";
    struct ia_crl_spec spec = {0};
    struct ia_err err = {0};
    if (size > 65536)
        return 0;
    ia_autofree char *pem = calloc(1, sizeof head + sizeof tail + size * 2 + 8);
    if (!pem)
        return 0;
    memcpy(pem, head, sizeof head - 1);
    int n = EVP_EncodeBlock((unsigned char *)pem + sizeof head - 1, data, (int)size);
    memcpy(pem + sizeof head - 1 + n, tail, sizeof tail);
    enum ia_rc rc = ia_crl_parse_pem(pem, &spec.crl, &err);
    spec.pem = pem;
    if ((rc == IA_OK) != (spec.crl != NULL) || (rc != IA_OK && err.msg[0] == '\0') || ERR_peek_error() != 0)
        abort();
    /* Nobody has this CA's key: no list is signed by it. */
    if (rc == IA_OK && (!ia_crl_is_from(spec.crl, pem) || ia_crl_signed_by(&spec, issuer()) || ERR_peek_error() != 0))
        abort();
    ia_crl_free(spec.crl);
    return 0;
}
