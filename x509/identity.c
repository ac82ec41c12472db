// SPDX-License-Identifier: ISC
#include "x509/identity.h"

#include "x509/private.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#define TEXT_MAX 512 /* bytes of any encoding that are looked at: four for each of the longest value */

static const char *const names[IA_ID_FIELDS] = {
    [IA_ID_CN] = "cert.cn",
    [IA_ID_SERIAL] = "cert.serial",
    [IA_ID_FINGERPRINT] = "cert.fingerprint",
    [IA_ID_SUBJECT_O] = "cert.subject.O",
    [IA_ID_SUBJECT_OU] = "cert.subject.OU",
    [IA_ID_SUBJECT_SERIAL_NUMBER] = "cert.subject.serialNumber",
    [IA_ID_SAN_DNS] = "cert.san.dns",
    [IA_ID_SAN_URI] = "cert.san.uri",
};

static const char absent[] = "the certificate has none";
static const char several[] = "the certificate has more than one: which is meant?";

static void unset(struct ia_identity *id, enum ia_identity_field field, const char *why)
{
    id->value[field][0] = '\0';
    id->why[field] = why;
}

static void set(struct ia_identity *id, enum ia_identity_field field, const char *text, size_t len)
{
    const char *why = NULL;
    if (memchr(text, '\0', len)) {
        unset(id, field, "it holds a NUL: not the name that it prints as");
        return;
    }
    if (!ia_value_valid(text, len, &why)) {
        unset(id, field, why);
        return;
    }
    memcpy(id->value[field], text, len);
    id->value[field][len] = '\0';
    id->why[field] = NULL;
}

static bool is_ascii(const uint8_t *octets, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (octets[i] > 0x7F)
            return false;
    return true;
}

/* UCS-2 and UCS-4 have one meaning; OpenSSL converts them. */
static void set_converted(struct ia_identity *id, enum ia_identity_field field, const ASN1_STRING *text)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, text);
    if (len < 0)
        unset(id, field, "its characters are malformed");
    else
        set(id, field, (const char *)utf8, (size_t)len);
    OPENSSL_free(utf8);
}

/* RFC 5280 4.1.2.4: DirectoryString, and IA5String for domain components.  Beyond ASCII a T61String means one thing to
 * its standard and another (Latin-1) to nearly all software: two readers would see two devices. */
static void set_string(struct ia_identity *id, enum ia_identity_field field, const ASN1_STRING *text)
{
    const uint8_t *octets = ASN1_STRING_get0_data(text);
    size_t len = (size_t)ASN1_STRING_length(text);
    if (len > TEXT_MAX) {
        unset(id, field, "it is longer than 128 bytes");
        return;
    }
    switch (ASN1_STRING_type(text)) {
    case V_ASN1_UTF8STRING:
        set(id, field, (const char *)octets, len);
        break;
    case V_ASN1_PRINTABLESTRING:
    case V_ASN1_IA5STRING:
    case V_ASN1_NUMERICSTRING:
    case V_ASN1_VISIBLESTRING:
    case V_ASN1_T61STRING:
        if (is_ascii(octets, len))
            set(id, field, (const char *)octets, len);
        else
            unset(id, field, "its characters go beyond what its string type can say for certain");
        break;
    case V_ASN1_BMPSTRING:
    case V_ASN1_UNIVERSALSTRING:
        set_converted(id, field, text);
        break;
    default:
        unset(id, field, "it is not a text");
    }
}

/* The first is read, a second one unsets it for good. */
static void take_string(struct ia_identity *id, enum ia_identity_field field, const ASN1_STRING *text)
{
    if (id->why[field] == absent)
        set_string(id, field, text);
    else
        unset(id, field, several);
}

static void take_attribute(struct ia_identity *id, const X509_NAME_ENTRY *entry)
{
    const ASN1_STRING *text = X509_NAME_ENTRY_get_data(entry);
    switch (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry))) {
    case NID_commonName:
        take_string(id, IA_ID_CN, text);
        break;
    case NID_organizationName:
        take_string(id, IA_ID_SUBJECT_O, text);
        break;
    case NID_organizationalUnitName:
        take_string(id, IA_ID_SUBJECT_OU, text);
        break;
    case NID_serialNumber:
        take_string(id, IA_ID_SUBJECT_SERIAL_NUMBER, text);
        break;
    default:
        break;
    }
}

/* Attributes of one multi-valued RDN count like those of several RDNs: two CNs are two, wherever they stand. */
static void read_subject(struct ia_identity *id, const X509 *leaf)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    for (int i = 0; i < X509_NAME_entry_count(subject); i++)
        take_attribute(id, X509_NAME_get_entry(subject, i));
}

static void unset_san(struct ia_identity *id, const char *why)
{
    unset(id, IA_ID_SAN_DNS, why);
    unset(id, IA_ID_SAN_URI, why);
}

static void read_san(struct ia_identity *id, const X509 *leaf)
{
    int critical = -1;
    GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, NULL);
    if (!all && critical == -2)
        unset_san(id, "the certificate has more than one subjectAltName extension");
    else if (!all && critical >= 0)
        unset_san(id, "the subjectAltName is malformed");
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        int type = -1;
        const void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);
        if (type == GEN_DNS)
            take_string(id, IA_ID_SAN_DNS, value);
        else if (type == GEN_URI)
            take_string(id, IA_ID_SAN_URI, value);
    }
    GENERAL_NAMES_free(all);
}

static void read_serial(struct ia_identity *id, const X509 *leaf)
{
    struct ia_serial serial;
    char text[2 * IA_SERIAL_MAX + 1];
    const ASN1_INTEGER *number = X509_get0_serialNumber(leaf);
    if (!ia_x509_serial(number, &serial)) {
        unset(id, IA_ID_SERIAL, "it is missing or longer than 20 octets");
        return;
    }
    if (ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER) {
        unset(id, IA_ID_SERIAL, "it is negative");
        return;
    }
    ia_hex(serial.octets, serial.len, text);
    set(id, IA_ID_SERIAL, text, strlen(text));
}

static void read_fingerprint(struct ia_identity *id, const X509 *leaf)
{
    uint8_t digest[IA_FINGERPRINT_LEN];
    char text[2 * IA_FINGERPRINT_LEN + 1];
    if (!ia_cert_fingerprint(leaf, digest)) {
        unset(id, IA_ID_FINGERPRINT, "it could not be computed");
        return;
    }
    ia_hex(digest, sizeof digest, text);
    set(id, IA_ID_FINGERPRINT, text, strlen(text));
}

void ia_identity_read(X509 *leaf, struct ia_identity *out)
{
    for (size_t i = 0; i < IA_ID_FIELDS; i++)
        unset(out, (enum ia_identity_field)i, absent);
    ERR_set_mark();
    read_subject(out, leaf);
    read_san(out, leaf);
    read_serial(out, leaf);
    read_fingerprint(out, leaf);
    ERR_pop_to_mark();
}

static size_t find(const char *variable)
{
    size_t i = 0;
    while (i < IA_ID_FIELDS && strcmp(names[i], variable) != 0)
        i++;
    return i;
}

const char *ia_identity_get(const struct ia_identity *id, const char *variable, const char **why)
{
    size_t field = find(variable);
    if (field == IA_ID_FIELDS) {
        *why = "there is no such field of a certificate";
        return NULL;
    }
    *why = id->why[field];
    return id->why[field] ? NULL : id->value[field];
}

bool ia_identity_knows(const char *variable)
{
    return find(variable) < IA_ID_FIELDS;
}
