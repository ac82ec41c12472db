// SPDX-License-Identifier: ISC
#include "x509/shown_certificate.h"

#include "common/rfc3339.h"
#include "common/str.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* What is no UTF-8, or misleads the reader, becomes '?'; whole characters only. */
static void copy_line(const unsigned char *text, size_t len, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        bool shown = false;
        size_t n = ia_shown_character((const char *)text + i, len - i, &shown), add = shown ? n : 1;
        if (used + add >= size)
            break;
        if (shown)
            memcpy(out + used, text + i, n);
        else
            out[used] = '?';
        used += add;
        i += n;
    }
    out[used] = '\0';
}

static void read_name(X509_NAME *name, char out[IA_SHOWN_TEXT_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(bio, &text);
        if (len > 0)
            copy_line((const unsigned char *)text, (size_t)len, out, IA_SHOWN_TEXT_MAX);
    }
    BIO_free(bio);
}

static void read_common_name(X509 *leaf, char out[IA_SHOWN_TEXT_MAX])
{
    X509_NAME *name = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *utf8 = NULL;
    int len = at < 0 ? 0 : ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (len > 0)
        copy_line(utf8, (size_t)len, out, IA_SHOWN_TEXT_MAX);
    OPENSSL_free(utf8);
}

static void write_hex(const unsigned char *bytes, int len, char out[2 * IA_SERIAL_MAX + 1])
{
    if (bytes && len > 0)
        ia_hex(bytes, (size_t)len < IA_SERIAL_MAX ? (size_t)len : IA_SERIAL_MAX, out);
}

static void read_key_ids(X509 *leaf, struct ia_shown_certificate *out)
{
    const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(leaf), *authority = X509_get0_authority_key_id(leaf);
    if (own)
        write_hex(ASN1_STRING_get0_data(own), ASN1_STRING_length(own), out->key_id);
    if (authority)
        write_hex(ASN1_STRING_get0_data(authority), ASN1_STRING_length(authority), out->authority_key_id);
}

static void read_not_after(X509 *leaf, char out[32])
{
    struct ia_cert_info info;
    if (ia_cert_info_read(leaf, &info, NULL) != IA_OK)
        return;
    char text[IA_RFC3339_SIZE];
    (void)snprintf(out, 32, "%s", ia_rfc3339_seconds(info.not_after, text));
}

void ia_shown_certificate_read(X509 *leaf, struct ia_shown_certificate *out)
{
    memset(out, 0, sizeof *out);
    ERR_set_mark();
    const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
    if (!ia_cert_fingerprint(leaf, out->fingerprint))
        memset(out->fingerprint, 0, sizeof out->fingerprint);
    read_common_name(leaf, out->cn);
    write_hex(ASN1_STRING_get0_data(serial), ASN1_STRING_length(serial), out->serial);
    read_name(X509_get_subject_name(leaf), out->subject);
    read_name(X509_get_issuer_name(leaf), out->issuer);
    read_key_ids(leaf, out);
    read_not_after(leaf, out->not_after);
    ERR_pop_to_mark();
}
