// SPDX-License-Identifier: ISC
/* A hostile Certificate message: the first byte says of which TLS, the rest is its body.  Whatever passes may be parsed
 * by OpenSSL, and has no EC key with parameters of its own. */
#include "x509/sent_list.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_certificate(const uint8_t *der, size_t len)
{
    int is_explicit = 0;
    X509 *x509 = d2i_X509(NULL, &der, (long)len);
    EVP_PKEY *key = x509 ? X509_get0_pubkey(x509) : NULL;
    if (key && EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &is_explicit) == 1)
        must(!is_explicit);
    X509_free(x509);
    ERR_clear_error();
}

/* The message has passed, so its lengths fit. */
static void check_certificates(const uint8_t *at, size_t len, bool tls13)
{
    const size_t head = tls13 ? 1 + (size_t)at[0] + 3 : 3, after = tls13 ? 2 : 0;
    size_t n = 0, used = head, end = head + ((size_t)at[head - 3] << 16 | (size_t)at[head - 2] << 8 | at[head - 1]);
    must(end <= len);
    for (; used < end; n++) {
        size_t size = (size_t)at[used] << 16 | (size_t)at[used + 1] << 8 | at[used + 2];
        check_certificate(at + used + 3, size);
        used += 3 + size;
        if (after)
            used += after + ((size_t)at[used] << 8 | at[used + 1]);
    }
    must(used == end && n <= IA_SENT_LIST_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool tls13 = data[0] & 1;
    if (!ia_sent_list_problem(data + 1, size - 1, tls13))
        check_certificates(data + 1, size - 1, tls13);
    return 0;
}
