// SPDX-License-Identifier: ISC
/* A leaf as it comes from the network (DER), and the same bytes as PEM of the registry: everything that reads a
 * certificate must end in a decision, leave nothing in OpenSSL's error queue, and say only what is fit to be said. */
#include "common/str.h"
#include "x509/ca_set.h"
#include "x509/chain.h"
#include "x509/identity.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1800000000

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void read_variable(struct ia_identity *id, const char *variable)
{
    const char *why = NULL, *value = ia_identity_get(id, variable, &why);
    must(value ? ia_value_valid(value, strlen(value), NULL) : why != NULL);
}

static void read_identity(X509 *leaf)
{
    static const char *const more[] = {"cert.san.othername.1.3.6.1.4.1.311.20.2.3", "cert.subject|field:=,2",
                                       "cert.san.uri|prefix:urn:", "cert.san.uri|path:1", "cert.cn|field:-,3"};
    struct ia_identity id;
    struct ia_cert_info info;
    ia_identity_read(leaf, &id);
    for (size_t i = 0; ia_identity_name(i); i++)
        read_variable(&id, ia_identity_name(i));
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        read_variable(&id, more[i]);
    if (ia_cert_info_read(leaf, &info, NULL) == IA_OK)
        must(strlen(info.subject) < sizeof info.subject);
}

/* Registered itself, the certificate is the only CA: nothing it sends may be admitted by itself. */
static void verify(X509 *leaf, struct ia_cert *ca)
{
    struct ia_ca_spec spec = {.ca_id = 1, .active = true, .cert = ca};
    struct ia_ca_set *set = NULL;
    struct ia_chain chain;
    STACK_OF(X509) *sent = sk_X509_new_null();
    must(sent && sk_X509_push(sent, leaf) > 0);
    const struct ia_ca_set_input input = {.cas = &spec, .n = ca ? 1 : 0, .now = NOW};
    must(ia_ca_set_build(&input, &set, NULL) == IA_OK);
    ia_chain_verify(set, leaf, sent, NOW, &chain);
    must(chain.reason != IA_R_NONE);
    sk_X509_free(sent);
    ia_ca_set_free(set);
}

static char *pem_of(const uint8_t *data, size_t size)
{
    static const char head[] = "-----BEGIN CERTIFICATE-----\n", tail[] = "\n-----END CERTIFICATE-----\n";
    char *pem = calloc(1, sizeof head + sizeof tail + size * 2 + 8);
    must(pem != NULL);
    memcpy(pem, head, sizeof head - 1);
    int n = EVP_EncodeBlock((unsigned char *)pem + sizeof head - 1, data, (int)size);
    memcpy(pem + sizeof head - 1 + n, tail, sizeof tail);
    return pem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *p = data;
    struct ia_cert *ca = NULL;
    if (size > 16384)
        return 0;
    ia_autofree char *pem = pem_of(data, size);
    must((ia_cert_parse_pem(pem, &ca, NULL) == IA_OK) == (ca != NULL));
    X509 *leaf = d2i_X509(NULL, &p, (long)size);
    ERR_clear_error();
    if (leaf) {
        read_identity(leaf);
        verify(leaf, ca);
        must(ERR_peek_error() == 0);
    }
    X509_free(leaf);
    ia_cert_free(ca);
    return 0;
}
