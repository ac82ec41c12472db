// SPDX-License-Identifier: ISC
#include "tests/swarm/credentials.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_S 3600

/* The first certificate of a file, and those behind it. */
static X509 *read_chain(const char *path, STACK_OF(X509) * *behind)
{
    FILE *file = fopen(path, "r");
    X509 *cert = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    X509 *more;
    *behind = sk_X509_new_null();
    while (cert && (more = PEM_read_X509(file, NULL, NULL, NULL)) != NULL)
        sk_X509_push(*behind, more);
    ERR_clear_error();
    if (file)
        (void)fclose(file);
    return cert;
}

static EVP_PKEY *read_key(const char *path)
{
    FILE *file = fopen(path, "r");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (file)
        (void)fclose(file);
    return key;
}

static X509 *issue_certificate(const char *cn, long serial, X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -HOUR_S);
    X509_gmtime_adj(X509_getm_notAfter(cert), 24 * HOUR_S);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(ca));
    X509_set_pubkey(cert, key);
    X509_sign(cert, ca_key, EVP_sha256());
    return cert;
}

static void add_device(struct group *g, const char *id, X509 *cert, STACK_OF(X509) * chain, EVP_PKEY *key)
{
    struct client *c = client_add(g, id);
    c->cert = cert;
    c->chain = chain;
    c->key = key;
}

static void print_client(FILE *out, const struct client *c)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    X509_digest(c->cert, EVP_sha256(), digest, &len);
    (void)fprintf(out, "%s ", c->id);
    for (unsigned i = 0; i < len; i++)
        (void)fprintf(out, "%02x", digest[i]);
    (void)fputc('\n', out);
}

static const char *list_clients(const struct group *g, size_t first, bool all, const char *path)
{
    FILE *out = fopen(path, "w");
    if (!out)
        return "cannot write the list";
    for (size_t i = first; i < g->n; i++)
        if (all || g->clients[i]->admitted)
            print_client(out, g->clients[i]);
    return fclose(out) == 0 ? NULL : "cannot write the list";
}

const char *credentials_mint(struct group *g, const char *prefix, long count, const char *ca_path,
                             const char *ca_key_path, const char *list_path)
{
    STACK_OF(X509) * chain;
    X509 *ca = read_chain(ca_path, &chain);
    EVP_PKEY *ca_key = read_key(ca_key_path), *key = EVP_EC_gen("P-256");
    size_t first = g->n;
    if (!ca || !ca_key || !key)
        return "cannot read the CA";
    sk_X509_unshift(chain, ca); /* sent along: the device's chain up to the registered CA */
    for (long i = 0; i < count; i++) {
        char id[64];
        (void)snprintf(id, sizeof id, "%.40s%ld", prefix, i);
        add_device(g, id, issue_certificate(id, i + 1, ca, ca_key, key), chain, key);
    }
    EVP_PKEY_free(ca_key);
    return list_path ? list_clients(g, first, true, list_path) : NULL;
}

const char *credentials_load(struct group *g, const char *id, const char *chain_path, const char *key_path)
{
    STACK_OF(X509) * chain;
    X509 *cert = read_chain(chain_path, &chain);
    EVP_PKEY *key = read_key(key_path);
    if (!cert || !key)
        return "cannot read the credential";
    add_device(g, id, cert, chain, key);
    return NULL;
}

const char *credentials_login(struct group *g, const char *id, const char *user, const char *password)
{
    struct client *c = client_add(g, id);
    c->user = strdup(user);
    c->password = strdup(password);
    return c->user && c->password ? NULL : "out of memory";
}

const char *credentials_psk(struct group *g, const char *id, const char *key)
{
    struct client *c = client_add(g, id);
    bool ok = OPENSSL_hexstr2buf_ex(c->psk, sizeof c->psk, &c->psk_len, key, '\0') == 1;
    return ok ? NULL : "that is no key of at most 64 bytes";
}

const char *credentials_list_admitted(const struct group *g, const char *list_path)
{
    return list_clients(g, 0, false, list_path);
}
