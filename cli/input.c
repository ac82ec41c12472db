// SPDX-License-Identifier: ISC
#include "cli/input.h"

#include "common/str.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_STEP    65536
#define TOKEN_MAX    (1 << 20)  /* longer than any token: a token that is too long is refused, not unreadable */
#define DOCUMENT_MAX (96 << 20) /* a CRL is the largest */

/* Read all of `in` as text, at most `max` bytes.  *len gets the number of bytes, so that a caller that needs a C string
 * can detect a NUL in it (see ia_cli_read_text).  The caller frees *out, which is NUL-terminated.  `name` is for
 * messages. */
static enum ia_rc read_stream(FILE *in, const char *name, size_t max, char **out, size_t *len, struct ia_err *err)
{
    ia_autofree char *text = NULL;
    size_t used = 0, size = 0;
    for (;;) {
        if (size - used < 2) {
            size += READ_STEP;
            char *grown = realloc(text, size);
            if (!grown)
                return ia_fail(err, IA_NOMEM, "%s: " IA_NOMEM_TEXT, name);
            text = grown;
        }
        size_t got = fread(text + used, 1, size - used - 1, in);
        used += got;
        if (used > max)
            return ia_fail(err, IA_FORMAT, "%s: longer than %zu bytes", name, max);
        if (got == 0)
            break;
    }
    if (ferror(in))
        return ia_fail(err, IA_IO, "%s: %s", name, strerror(errno));
    text[used] = '\0';
    *out = text;
    *len = used;
    text = NULL;
    return IA_OK;
}

enum ia_rc ia_cli_read_text(const char *path, size_t max, char **out, struct ia_err *err)
{
    FILE *in = fopen(path, "rbe");
    if (!in)
        return ia_fail(err, IA_IO, "%s: %s", path, strerror(errno));
    char *text = NULL;
    size_t len = 0;
    enum ia_rc rc = read_stream(in, path, max, &text, &len, err);
    (void)fclose(in);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): IA_OK means that it was read
    if (strlen(text) != len) {
        free(text);
        return ia_fail(err, IA_FORMAT, "%s: contains a NUL byte", path);
    }
    *out = text;
    return IA_OK;
}

void ia_cli_wipe_text(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

enum ia_rc ia_input_token(char **out, size_t *len, struct ia_err *err)
{
    enum ia_rc rc = read_stream(stdin, "standard input", TOKEN_MAX, out, len, err);
    while (rc == IA_OK && *len > 0 && ((*out)[*len - 1] == '\n' || (*out)[*len - 1] == '\r'))
        (*out)[--*len] = '\0';
    return rc;
}

/* DER as base64 lines.  Which kind of document it is, its reader finds out: a certificate has its version or serial where
 * a CRL has an algorithm, so the label must be the right one. */
static char *encode_pem(const unsigned char *der, size_t len, const char *label)
{
    size_t size = len / 3 * 4 + len / 48 + 128;
    char *out = malloc(size);
    if (!out)
        return NULL;
    size_t used = (size_t)snprintf(out, size, "-----BEGIN %s-----\n", label);
    for (size_t at = 0; at < len; at += 48) {
        size_t part = len - at < 48 ? len - at : 48;
        used += (size_t)EVP_EncodeBlock((unsigned char *)out + used, der + at, (int)part);
        out[used++] = '\n';
    }
    (void)snprintf(out + used, size - used, "-----END %s-----\n", label);
    return out;
}

/* The header of an element of DER (X.690 8.1): its length octets are skipped. */
static size_t skip_header(const unsigned char *der, size_t len, size_t at)
{
    if (at + 2 > len)
        return len;
    return at + 2 + (der[at + 1] & 0x80 ? der[at + 1] & 0x7F : 0);
}

/* In TBSCertificate comes [0] or an INTEGER of more than one octet; in TBSCertList the INTEGER 1 or a SEQUENCE (RFC 5280
 * 4.1, 5.1). */
static bool is_crl(const unsigned char *der, size_t len)
{
    size_t at = skip_header(der, len, skip_header(der, len, 0));
    if (at + 3 > len)
        return false;
    return der[at] == 0x30 || (der[at] == 0x02 && der[at + 1] == 1 && der[at + 2] == 1);
}

enum ia_rc ia_input_document(const char *path, char **out, struct ia_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    size_t len = 0;
    char *text = NULL;
    FILE *in = is_stdin ? stdin : fopen(path, "rbe");
    if (!in)
        return ia_fail(err, IA_IO, "%s: %s", path, strerror(errno));
    enum ia_rc rc = read_stream(in, is_stdin ? "standard input" : path, DOCUMENT_MAX, &text, &len, err);
    if (!is_stdin)
        (void)fclose(in);
    if (rc != IA_OK || !text)
        return rc != IA_OK ? rc : ia_nomem(err);
    const unsigned char *der = (const unsigned char *)text;
    if (len > 2 && der[0] == 0x30 && der[1] & 0x80) {
        *out = encode_pem(der, len, is_crl(der, len) ? "X509 CRL" : "CERTIFICATE");
        free(text);
        return *out ? IA_OK : ia_nomem(err);
    }
    if (strlen(text) != len || !ia_utf8_valid(text, len)) {
        free(text);
        return ia_fail(err, IA_FORMAT, "%s: is neither text (UTF-8) nor DER", path);
    }
    *out = text;
    return IA_OK;
}
