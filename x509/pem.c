// SPDX-License-Identifier: ISC
/* PEM (RFC 7468) to DER, for rows of the registry and files of the command. */
#include "x509/private.h"

#include <ctype.h>
#include <openssl/pem.h>
#include <string.h>

static bool bio_holds_only_space(BIO *bio)
{
    char *rest = NULL;
    long len = BIO_get_mem_data(bio, &rest);
    for (long i = 0; i < len; i++)
        if (!isspace((unsigned char)rest[i]))
            return false;
    return true;
}

static enum ia_rc check_pem_block(BIO *bio, const char *label, const char *header, const struct ia_pem_kind *kind,
                                  struct ia_err *err)
{
    if (strcmp(label, kind->label) != 0 && strcmp(label, kind->old_label) != 0)
        return ia_fail(err, IA_FORMAT, "the PEM block is '%.40s' instead of '%s'", label, kind->label);
    if (header[0] != '\0')
        return ia_fail(err, IA_FORMAT, "the PEM block has headers");
    if (!bio_holds_only_space(bio))
        return ia_fail(err, IA_FORMAT, "there is text after the first '%s' block", kind->label);
    return IA_OK;
}

static enum ia_rc read_pem_block(BIO *bio, const struct ia_pem_kind *kind, struct ia_der *out, struct ia_err *err)
{
    char *label = NULL, *header = NULL;
    unsigned char *data = NULL;
    long len = 0;
    if (PEM_read_bio(bio, &label, &header, &data, &len) != 1)
        return ia_fail(err, IA_FORMAT, "not PEM");
    enum ia_rc rc = check_pem_block(bio, label, header, kind, err);
    OPENSSL_free(label);
    OPENSSL_free(header);
    if (rc != IA_OK) {
        OPENSSL_clear_free(data, (size_t)len); /* possibly a private key that was pasted by mistake */
        return rc;
    }
    *out = (struct ia_der){.octets = data, .len = len};
    return IA_OK;
}

enum ia_rc ia_pem_read(const char *pem, const struct ia_pem_kind *kind, struct ia_der *out, struct ia_err *err)
{
    size_t size = strnlen(pem, kind->max + 1);
    if (size > kind->max)
        return ia_fail(err, IA_FORMAT, "longer than %zu bytes", kind->max);
    BIO *bio = BIO_new_mem_buf(pem, (int)size);
    if (!bio)
        return ia_nomem(err);
    enum ia_rc rc = read_pem_block(bio, kind, out, err);
    BIO_free(bio);
    return rc;
}

void ia_der_clear(struct ia_der *der)
{
    OPENSSL_free(der->octets);
    *der = (struct ia_der){0};
}

enum ia_rc ia_pem_parse(const char *pem, const struct ia_pem_kind *kind, void **out, struct ia_err *err)
{
    struct ia_der der = {0};
    enum ia_rc rc = ia_pem_read(pem, kind, &der, err);
    if (rc != IA_OK)
        return rc;
    const unsigned char *end = der.octets;
    void *object = kind->parse(&end, der.len);
    if (!object)
        rc = ia_fail(err, IA_FORMAT, "not a %s", kind->noun);
    else if (end != der.octets + der.len)
        rc = ia_fail(err, IA_FORMAT, "there are octets after the %s inside its PEM block", kind->noun);
    ia_der_clear(&der);
    if (rc != IA_OK) {
        kind->release(object);
        return rc;
    }
    *out = object;
    return IA_OK;
}
