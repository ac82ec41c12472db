// SPDX-License-Identifier: ISC
/* A CRL of the registry as PEM text: parsed or refused, and never more than that. */
#include "x509/crl.h"

#include "common/str.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char head[] = "-----BEGIN X509 CRL-----\n", tail[] = "\n-----END X509 CRL-----\n";
    struct ia_crl *crl = NULL;
    struct ia_err err = {0};
    if (size > 65536)
        return 0;
    ia_autofree char *pem = calloc(1, sizeof head + sizeof tail + size * 2 + 8);
    if (!pem)
        return 0;
    memcpy(pem, head, sizeof head - 1);
    int n = EVP_EncodeBlock((unsigned char *)pem + sizeof head - 1, data, (int)size);
    memcpy(pem + sizeof head - 1 + n, tail, sizeof tail);
    enum ia_rc rc = ia_crl_parse_pem(pem, &crl, &err);
    if ((rc == IA_OK) != (crl != NULL) || (rc != IA_OK && err.msg[0] == '\0') || ERR_peek_error() != 0)
        abort();
    ia_crl_free(crl);
    return 0;
}
