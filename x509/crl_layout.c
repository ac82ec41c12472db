// SPDX-License-Identifier: ISC
/* Where the parts of a CRL lie in its DER (RFC 5280 5.1), and the serial numbers of its entries. */
#include "x509/crl_private.h"

#include <openssl/asn1.h>
#include <string.h>

#define REMOVE_FROM_CRL 8 /* RFC 5280 5.3.1 */

static bool is_time_tag(uint8_t tag)
{
    return tag == IA_DER_UTC_TIME || tag == IA_DER_GENERALIZED_TIME;
}

static bool read_tbs_layout(struct ia_der_span tbs, struct ia_crl_layout *out)
{
    struct ia_der_element version, time;
    if (ia_der_peek(&tbs) == IA_DER_INTEGER && !ia_der_take(&tbs, &version))
        return false;
    if (!ia_der_take_tag(&tbs, IA_DER_SEQUENCE, &out->inner_algorithm) ||
        !ia_der_take_tag(&tbs, IA_DER_SEQUENCE, &out->issuer) || !is_time_tag(ia_der_peek(&tbs)) ||
        !ia_der_take(&tbs, &out->this_update))
        return false;
    if (is_time_tag(ia_der_peek(&tbs))) {
        if (!ia_der_take(&tbs, &time))
            return false;
        out->next_update = time;
    }
    if (ia_der_peek(&tbs) == IA_DER_SEQUENCE && !ia_der_take(&tbs, &out->entries))
        return false;
    if (ia_der_peek(&tbs) == IA_DER_CONTEXT_0) {
        struct ia_der_element wrapper;
        if (!ia_der_take(&tbs, &wrapper) || !ia_der_take_tag(&wrapper.content, IA_DER_SEQUENCE, &out->extensions) ||
            wrapper.content.len > 0)
            return false;
    }
    return tbs.len == 0;
}

bool ia_crl_layout_read(struct ia_der_span der, struct ia_crl_layout *out)
{
    struct ia_der_element list;
    *out = (struct ia_crl_layout){0};
    return ia_der_take_tag(&der, IA_DER_SEQUENCE, &list) && der.len == 0 &&
           ia_der_take_tag(&list.content, IA_DER_SEQUENCE, &out->tbs) &&
           ia_der_take_tag(&list.content, IA_DER_SEQUENCE, &out->algorithm) &&
           ia_der_take_tag(&list.content, IA_DER_BIT_STRING, &out->signature) && list.content.len == 0 &&
           read_tbs_layout(out->tbs.content, out);
}

static bool has_oid(const struct ia_der_element *oid, const char octets[3])
{
    return oid->content.len == 3 && memcmp(oid->content.at, octets, 3) == 0;
}

/* RFC 5280 5.3: a list with an unknown critical entry extension must not be used.  certificateIssuer is one of those
 * here: it belongs to indirect lists.  False: malformed. */
static bool read_entry_extension(struct ia_der_span extension, struct ia_crl_entry *out)
{
    struct ia_der_element oid, critical = {0}, value;
    if (!ia_der_take_tag(&extension, IA_DER_OID, &oid))
        return false;
    if (ia_der_peek(&extension) == IA_DER_BOOLEAN && !ia_der_take(&extension, &critical))
        return false;
    if (!ia_der_take_tag(&extension, IA_DER_OCTET_STRING, &value) || extension.len > 0)
        return false;
    const uint8_t *reason = value.content.at;
    if (has_oid(&oid, "\x55\x1D\x15")) /* cRLReason */
        out->removed = value.content.len == 3 && reason[0] == IA_DER_ENUMERATED && reason[2] == REMOVE_FROM_CRL;
    else if (critical.content.len > 0 && critical.content.at[0] != 0 && !has_oid(&oid, "\x55\x1D\x18"))
        out->unknown_critical = true; /* not invalidityDate */
    return true;
}

/* ASN.1 integers are two's complement; a negative one is kept without its sign, as OpenSSL and ia_x509_serial do. */
static bool read_entry_serial(const struct ia_der_element *number, struct ia_serial *out)
{
    struct ia_der_span digits = number->content;
    if (digits.len == 0)
        return false;
    if (digits.at[0] & 0x80) {
        const unsigned char *at = number->whole.at;
        ASN1_INTEGER *negative = d2i_ASN1_INTEGER(NULL, &at, (long)number->whole.len);
        bool ok = negative && ia_x509_serial(negative, out);
        ASN1_INTEGER_free(negative);
        return ok;
    }
    for (; digits.len > 1 && digits.at[0] == 0; digits.len--)
        digits.at++;
    if (digits.len > IA_SERIAL_MAX)
        return false;
    *out = (struct ia_serial){.len = (uint8_t)digits.len};
    memcpy(out->octets, digits.at, digits.len);
    return true;
}

bool ia_crl_entry_take(struct ia_der_span *entries, struct ia_crl_entry *out)
{
    struct ia_der_element entry, number, date, extensions, extension;
    *out = (struct ia_crl_entry){0};
    if (!ia_der_take_tag(entries, IA_DER_SEQUENCE, &entry) ||
        !ia_der_take_tag(&entry.content, IA_DER_INTEGER, &number) || !is_time_tag(ia_der_peek(&entry.content)) ||
        !ia_der_take(&entry.content, &date))
        return false;
    if (entry.content.len > 0) {
        if (!ia_der_take_tag(&entry.content, IA_DER_SEQUENCE, &extensions) || entry.content.len > 0)
            return false;
        while (extensions.content.len > 0)
            if (!ia_der_take_tag(&extensions.content, IA_DER_SEQUENCE, &extension) ||
                !read_entry_extension(extension.content, out))
                return false;
    }
    /* A serial number of more than 20 octets is skipped: a certificate with one is refused anyway. */
    out->countable = read_entry_serial(&number, &out->serial);
    return true;
}
