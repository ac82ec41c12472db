// SPDX-License-Identifier: ISC
/* The values that a certificate has for each variable.  A text that two readers could read differently is no value: with
 * it one device could pass for another. */
#include "x509/der.h"
#include "x509/identity_private.h"
#include "x509/private.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <string.h>

#define HW_MODULE_NAME "1.3.6.1.5.5.7.8.4" /* RFC 4108 section 5 */
#define HW_SERIAL_MAX  64                  /* octets: 128 digits */
#define IP4_OCTETS     4
#define IP6_OCTETS     16
#define SUBJECT_FLAGS  (XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB)
#define LAST_ASCII     0x7F

static const char malformed_san[] = "the subjectAltName is malformed";
static const char too_long[] = "longer than 512 bytes";

static void collect_refused(struct ia_identity_collector *c, const char *why)
{
    const struct ia_raw_value value = {.why = why};
    ia_collect_value(c, &value);
}

static void collect_text(struct ia_identity_collector *c, const char *text, size_t len)
{
    struct ia_raw_value value = {.len = len};
    if (len > IA_RAW_MAX)
        value.why = too_long;
    else if (memchr(text, '\0', len))
        value.why = "it contains a NUL, so it would be shown as another name";
    else
        memcpy(value.text, text, len);
    ia_collect_value(c, &value);
}

static void collect_hex(struct ia_identity_collector *c, const uint8_t *octets, size_t len)
{
    char text[2 * HW_SERIAL_MAX + 1];
    ia_hex(octets, len, text);
    collect_text(c, text, 2 * len);
}

static bool is_ascii(const ASN1_STRING *text)
{
    const uint8_t *octets = ASN1_STRING_get0_data(text);
    for (int i = 0; i < ASN1_STRING_length(text); i++)
        if (octets[i] > LAST_ASCII)
            return false;
    return true;
}

/* RFC 5280 4.1.2.4: DirectoryString, and IA5String for domain components.  Beyond ASCII a T61String means one thing to
 * its standard and another (Latin-1) to nearly all software: two readers would see two devices. */
static const char *string_problem(const ASN1_STRING *text)
{
    switch (ASN1_STRING_type(text)) {
    case V_ASN1_PRINTABLESTRING:
    case V_ASN1_IA5STRING:
    case V_ASN1_NUMERICSTRING:
    case V_ASN1_VISIBLESTRING:
    case V_ASN1_T61STRING:
        return is_ascii(text) ? NULL : "it has characters beyond ASCII, which its string type does not define";
    case V_ASN1_UTF8STRING:
    case V_ASN1_BMPSTRING:
    case V_ASN1_UNIVERSALSTRING:
        return NULL;
    default:
        return "it is not a text";
    }
}

/* UCS-2 and UCS-4 have one meaning; OpenSSL converts them. */
static void collect_converted(struct ia_identity_collector *c, const ASN1_STRING *text)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, text);
    if (len < 0)
        collect_refused(c, "its characters are malformed");
    else
        collect_text(c, (const char *)utf8, (size_t)len);
    OPENSSL_free(utf8);
}

static void collect_string(struct ia_identity_collector *c, const ASN1_STRING *text)
{
    const char *problem = string_problem(text);
    int type = ASN1_STRING_type(text);
    if (problem)
        collect_refused(c, problem);
    else if (ASN1_STRING_length(text) > IA_RAW_MAX)
        collect_refused(c, too_long);
    else if (type == V_ASN1_BMPSTRING || type == V_ASN1_UNIVERSALSTRING)
        collect_converted(c, text);
    else
        collect_text(c, (const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

/* ---- the subject */

/* Attributes of one multi-valued RDN count like those of several RDNs: two CNs are two, wherever they stand. */
static void collect_attribute(X509 *leaf, struct ia_identity_collector *c, int nid)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    for (int i = 0; i < X509_NAME_entry_count(subject); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
        if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == nid)
            collect_string(c, X509_NAME_ENTRY_get_data(entry));
    }
}

void ia_field_cn(X509 *leaf, struct ia_identity_collector *c)
{
    collect_attribute(leaf, c, NID_commonName);
}

void ia_field_o(X509 *leaf, struct ia_identity_collector *c)
{
    collect_attribute(leaf, c, NID_organizationName);
}

void ia_field_ou(X509 *leaf, struct ia_identity_collector *c)
{
    collect_attribute(leaf, c, NID_organizationalUnitName);
}

void ia_field_serial_number(X509 *leaf, struct ia_identity_collector *c)
{
    collect_attribute(leaf, c, NID_serialNumber);
}

void ia_field_uid(X509 *leaf, struct ia_identity_collector *c)
{
    collect_attribute(leaf, c, NID_userId);
}

static const char *subject_problem(const X509_NAME *subject)
{
    for (int i = 0; i < X509_NAME_entry_count(subject); i++) {
        const ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i));
        const char *problem = string_problem(text);
        if (problem)
            return problem;
        if (memchr(ASN1_STRING_get0_data(text), '\0', (size_t)ASN1_STRING_length(text)) &&
            ASN1_STRING_type(text) != V_ASN1_BMPSTRING && ASN1_STRING_type(text) != V_ASN1_UNIVERSALSTRING)
            return "it contains a NUL, so it would be shown as another name";
    }
    return NULL;
}

/* RFC 4514: the last RDN first, special characters escaped, UTF-8 as it is. */
void ia_field_subject(X509 *leaf, struct ia_identity_collector *c)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    const char *problem = subject_problem(subject);
    if (X509_NAME_entry_count(subject) == 0)
        return;
    if (problem) {
        collect_refused(c, problem);
        return;
    }
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (!bio || X509_NAME_print_ex(bio, subject, 0, SUBJECT_FLAGS) < 0)
        collect_refused(c, "it cannot be printed");
    else {
        long len = BIO_get_mem_data(bio, &text);
        collect_text(c, text, (size_t)len);
    }
    BIO_free(bio);
}

/* ---- serial number and fingerprint */

void ia_field_serial(X509 *leaf, struct ia_identity_collector *c)
{
    struct ia_serial serial;
    const ASN1_INTEGER *number = X509_get0_serialNumber(leaf);
    if (!ia_x509_serial(number, &serial))
        collect_refused(c, "it is missing or longer than 20 octets");
    else if (ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER)
        collect_refused(c, "it is negative");
    else
        collect_hex(c, serial.octets, serial.len);
}

void ia_field_fingerprint(X509 *leaf, struct ia_identity_collector *c)
{
    uint8_t digest[IA_FINGERPRINT_LEN];
    if (ia_cert_fingerprint(leaf, digest))
        collect_hex(c, digest, sizeof digest);
    else
        collect_refused(c, "it could not be computed");
}

/* ---- subjectAltName */

typedef void collect_name(struct ia_identity_collector *c, const GENERAL_NAME *name);

static void collect_san(X509 *leaf, struct ia_identity_collector *c, int type, collect_name *collect)
{
    int critical = -1;
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, NULL);
    if (!names && critical == -2)
        collect_refused(c, "the certificate has more than one subjectAltName extension");
    else if (!names && critical >= 0)
        collect_refused(c, malformed_san);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == type)
            collect(c, name);
    }
    GENERAL_NAMES_free(names);
}

static void collect_ia5_name(struct ia_identity_collector *c, const GENERAL_NAME *name)
{
    collect_string(c, name->d.ia5);
}

void ia_field_dns(X509 *leaf, struct ia_identity_collector *c)
{
    collect_san(leaf, c, GEN_DNS, collect_ia5_name);
}

void ia_field_uri(X509 *leaf, struct ia_identity_collector *c)
{
    collect_san(leaf, c, GEN_URI, collect_ia5_name);
}

void ia_field_email(X509 *leaf, struct ia_identity_collector *c)
{
    collect_san(leaf, c, GEN_EMAIL, collect_ia5_name);
}

static void collect_ip_name(struct ia_identity_collector *c, const GENERAL_NAME *name)
{
    char text[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(name->d.iPAddress);
    const void *octets = ASN1_STRING_get0_data(name->d.iPAddress);
    if ((len != IP4_OCTETS && len != IP6_OCTETS) ||
        !inet_ntop(len == IP4_OCTETS ? AF_INET : AF_INET6, octets, text, sizeof text))
        collect_refused(c, "it is not an IP address");
    else
        collect_text(c, text, strlen(text));
}

void ia_field_ip(X509 *leaf, struct ia_identity_collector *c)
{
    collect_san(leaf, c, GEN_IPADD, collect_ip_name);
}

static bool other_name_is(const GENERAL_NAME *name, const char *oid)
{
    ASN1_OBJECT *wanted = OBJ_txt2obj(oid, 1);
    bool same = wanted && OBJ_cmp(wanted, name->d.otherName->type_id) == 0;
    ASN1_OBJECT_free(wanted);
    return same;
}

static void collect_other_name(struct ia_identity_collector *c, const GENERAL_NAME *name)
{
    const ASN1_TYPE *value = name->d.otherName->value;
    if (!other_name_is(name, c->query->oid))
        return;
    switch (ASN1_TYPE_get(value)) {
    case V_ASN1_UTF8STRING:
    case V_ASN1_PRINTABLESTRING:
    case V_ASN1_IA5STRING:
    case V_ASN1_NUMERICSTRING:
    case V_ASN1_VISIBLESTRING:
    case V_ASN1_T61STRING:
    case V_ASN1_BMPSTRING:
    case V_ASN1_UNIVERSALSTRING:
        collect_string(c, value->value.asn1_string);
        break;
    default:
        collect_refused(c, "it is not a text");
    }
}

void ia_field_othername(X509 *leaf, struct ia_identity_collector *c)
{
    collect_san(leaf, c, GEN_OTHERNAME, collect_other_name);
}

/* HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING } */
static void collect_hw_serial(struct ia_identity_collector *c, const GENERAL_NAME *name)
{
    const ASN1_TYPE *value = name->d.otherName->value;
    struct ia_der_element sequence, type, serial;
    if (!other_name_is(name, HW_MODULE_NAME))
        return;
    struct ia_der_span span = {0};
    if (ASN1_TYPE_get(value) == V_ASN1_SEQUENCE)
        span = (struct ia_der_span){ASN1_STRING_get0_data(value->value.sequence),
                                    (size_t)ASN1_STRING_length(value->value.sequence)};
    if (!ia_der_take_tag(&span, IA_DER_SEQUENCE, &sequence) || !ia_der_take_tag(&sequence.content, IA_DER_OID, &type) ||
        !ia_der_take_tag(&sequence.content, IA_DER_OCTET_STRING, &serial) || sequence.content.len > 0)
        collect_refused(c, "the hardware module name is malformed");
    else if (serial.content.len > HW_SERIAL_MAX)
        collect_refused(c, "the hardware serial number is longer than 64 octets");
    else
        collect_hex(c, serial.content.at, serial.content.len);
}

void ia_field_hwserial(X509 *leaf, struct ia_identity_collector *c)
{
    collect_san(leaf, c, GEN_OTHERNAME, collect_hw_serial);
}
