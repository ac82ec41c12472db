// SPDX-License-Identifier: ISC
#include "common/str.h"
#include "tests/unit/x509/make_cert.h"
#include "x509/identity.h"

#include <check.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* One subject attribute as the certificate has it. */
struct attribute {
    int nid;
    int type; /* V_ASN1_… */
    const char *octets;
    int len;
    int set; /* 0: an RDN of its own, -1: in the RDN before */
};

#define A(nid, type, text)                                                                                             \
    {                                                                                                                  \
        nid, V_ASN1_##type, text, sizeof(text) - 1, 0                                                                  \
    }
#define CN(type, text) A(NID_commonName, type, text)
#define LONG_128                                                                                                       \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                                                 \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* The subject, the field that is asked for, its value; or NULL and a word of the reason. */
static const struct {
    const char *label;
    struct attribute subject[3];
    const char *variable, *value, *why;
} rows[] = {
    {"UTF-8", {CN(UTF8STRING, "g\xC3\xA9rard")}, "cert.cn", "g\xC3\xA9rard", NULL},
    {"printable", {CN(PRINTABLESTRING, "dev-1")}, "cert.cn", "dev-1", NULL},
    {"IA5", {CN(IA5STRING, "dev-1@x")}, "cert.cn", "dev-1@x", NULL},
    {"numeric", {CN(NUMERICSTRING, "4711")}, "cert.cn", "4711", NULL},
    {"BMP becomes UTF-8", {CN(BMPSTRING, "\0d\0\xE9")}, "cert.cn", "d\xC3\xA9", NULL},
    {"universal becomes UTF-8", {CN(UNIVERSALSTRING, "\0\0\0d\0\x01\xF6\0")}, "cert.cn", "d\xF0\x9F\x98\x80", NULL},
    {"T61 in ASCII", {CN(T61STRING, "dev")}, "cert.cn", "dev", NULL},
    {"of 128 bytes", {CN(UTF8STRING, LONG_128)}, "cert.cn", LONG_128, NULL},
    {"O", {CN(UTF8STRING, "d"), A(NID_organizationName, UTF8STRING, "Acme")}, "cert.subject.O", "Acme", NULL},
    {"OU", {A(NID_organizationalUnitName, UTF8STRING, "Lab")}, "cert.subject.OU", "Lab", NULL},
    {"serialNumber", {A(NID_serialNumber, PRINTABLESTRING, "SN1")}, "cert.subject.serialNumber", "SN1", NULL},
    {"CN of a multi-valued RDN",
     {CN(UTF8STRING, "dev"), {NID_serialNumber, V_ASN1_PRINTABLESTRING, "SN1", 3, -1}},
     "cert.cn",
     "dev",
     NULL},
    {"no subject", {{0}}, "cert.cn", NULL, "no value"},
    {"CN only: no O", {CN(UTF8STRING, "d")}, "cert.subject.O", NULL, "no value"},
    {"two CNs", {CN(UTF8STRING, "victim"), CN(UTF8STRING, "mine")}, "cert.cn", NULL, "more than one"},
    {"the same CN twice", {CN(UTF8STRING, "dev"), CN(UTF8STRING, "dev")}, "cert.cn", NULL, "more than one"},
    {"two CNs, the first unfit", {CN(UTF8STRING, ""), CN(UTF8STRING, "dev")}, "cert.cn", NULL, "more than one"},
    {"two CNs, the second unfit", {CN(UTF8STRING, "dev"), CN(UTF8STRING, "a/b")}, "cert.cn", NULL, "more than one"},
    {"three CNs", {CN(UTF8STRING, "a"), CN(UTF8STRING, "b"), CN(UTF8STRING, "c")}, "cert.cn", NULL, "more than one"},
    {"two CNs in one RDN",
     {CN(UTF8STRING, "dev"), {NID_commonName, V_ASN1_UTF8STRING, "admin", 5, -1}},
     "cert.cn",
     NULL,
     "more than one"},
    {"two Os",
     {A(NID_organizationName, UTF8STRING, "Acme"), A(NID_organizationName, UTF8STRING, "Evil")},
     "cert.subject.O",
     NULL,
     "more than one"},
    {"NUL inside: prints as the victim's", {CN(UTF8STRING, "victim\0.evil")}, "cert.cn", NULL, "NUL"},
    {"NUL inside BMP", {CN(BMPSTRING, "\0d\0\0\0e")}, "cert.cn", NULL, "NUL"},
    {"NUL at the end", {CN(PRINTABLESTRING, "dev\0")}, "cert.cn", NULL, "NUL"},
    {"empty", {CN(UTF8STRING, "")}, "cert.cn", NULL, "empty"},
    {"129 bytes", {CN(UTF8STRING, LONG_128 "b")}, "cert.cn", NULL, "longer"},
    {"very long", {CN(UTF8STRING, LONG_128 LONG_128 LONG_128 LONG_128 LONG_128)}, "cert.cn", NULL, "longer"},
    {"fits as BMP, not as UTF-8", {CN(BMPSTRING, LONG_128)}, "cert.cn", NULL, "longer"},
    {"newline", {CN(UTF8STRING, "dev\nallow")}, "cert.cn", NULL, "control"},
    {"C1 control as BMP", {CN(BMPSTRING, "\0d\0\x85")}, "cert.cn", NULL, "control"},
    {"slash: another topic level", {CN(UTF8STRING, "a/b")}, "cert.cn", NULL, "+ # / *"},
    {"plus as BMP", {CN(BMPSTRING, "\0+")}, "cert.cn", NULL, "+ # / *"},
    {"dollar first", {CN(UTF8STRING, "$SYS")}, "cert.cn", NULL, "'$'"},
    {"overlong UTF-8 for a slash", {CN(UTF8STRING, "a\xC0\xAFz")}, "cert.cn", NULL, "UTF-8"},
    {"Latin-1 in a UTF8String", {CN(UTF8STRING, "g\xE9rard")}, "cert.cn", NULL, "UTF-8"},
    {"surrogate in a UTF8String", {CN(UTF8STRING, "\xED\xA0\x80")}, "cert.cn", NULL, "UTF-8"},
    {"T61 beyond ASCII: Latin-1 or not?", {CN(T61STRING, "g\xE9rard")}, "cert.cn", NULL, "string type"},
    {"printable beyond ASCII", {CN(PRINTABLESTRING, "g\xC3\xA9rard")}, "cert.cn", NULL, "string type"},
    {"BMP of odd length", {CN(BMPSTRING, "\0dx")}, "cert.cn", NULL, "malformed"},
    {"lone surrogate in BMP", {CN(BMPSTRING, "\xD8\x00")}, "cert.cn", NULL, ""},
    {"universal above U+10FFFF", {CN(UNIVERSALSTRING, "\x7F\xFF\xFF\xFF")}, "cert.cn", NULL, ""},
    {"octets", {CN(OCTET_STRING, "dev")}, "cert.cn", NULL, "not a text"},
    {"UID", {A(NID_userId, UTF8STRING, "pump-7")}, "cert.subject.UID", "pump-7", NULL},
    {"two UIDs",
     {A(NID_userId, UTF8STRING, "a"), A(NID_userId, UTF8STRING, "b")},
     "cert.subject.UID",
     NULL,
     "more than one"},
    {"whole subject (RFC 4514)",
     {A(NID_organizationName, UTF8STRING, "Acme, Inc."), CN(UTF8STRING, "g\xC3\xA9rard")},
     "cert.subject",
     "CN=g\xC3\xA9rard,O=Acme\\, Inc.",
     NULL},
    {"whole subject, a multi-valued RDN",
     {CN(UTF8STRING, "dev"), {NID_serialNumber, V_ASN1_PRINTABLESTRING, "SN1", 3, -1}},
     "cert.subject",
     NULL,
     "+ # / *"},
    {"whole subject, empty", {{0}}, "cert.subject", NULL, "no value"},
    {"whole subject with a NUL", {CN(UTF8STRING, "a\0b")}, "cert.subject", NULL, "NUL"},
    {"whole subject, T61 beyond ASCII", {CN(T61STRING, "g\xE9rard")}, "cert.subject", NULL, "string type"},
    {"whole subject, very long",
     {CN(UTF8STRING, LONG_128), CN(UTF8STRING, LONG_128), CN(UTF8STRING, LONG_128)},
     "cert.subject",
     NULL,
     "longer"},
    {"a field of the whole subject",
     {A(NID_organizationName, UTF8STRING, "Acme"), CN(UTF8STRING, "dev")},
     "cert.subject|field:=,3",
     "Acme",
     NULL},
    /* splitters */
    {"first field", {CN(UTF8STRING, "acme-pump-7")}, "cert.cn|field:-,1", "acme", NULL},
    {"last field", {CN(UTF8STRING, "acme-pump-7")}, "cert.cn|field:-,3", "7", NULL},
    {"one field too many", {CN(UTF8STRING, "acme-pump-7")}, "cert.cn|field:-,4", NULL, "fewer fields"},
    {"no separator in it: one field", {CN(UTF8STRING, "pump")}, "cert.cn|field:-,1", "pump", NULL},
    {"empty field", {CN(UTF8STRING, "a--b")}, "cert.cn|field:-,2", NULL, "empty"},
    {"empty first field", {CN(UTF8STRING, "-b")}, "cert.cn|field:-,1", NULL, "empty"},
    {"separator of several bytes", {CN(UTF8STRING, "a::b::c")}, "cert.cn|field:::,2", "b", NULL},
    {"comma as separator", {CN(UTF8STRING, "a,b,c")}, "cert.cn|field:,,3", "c", NULL},
    {"separator with commas: all up to the last", {CN(UTF8STRING, "a,,b")}, "cert.cn|field:,,,2", "b", NULL},
    {"the rules are about the result", {CN(UTF8STRING, "plant/7/pump+1")}, "cert.cn|field:/,2", "7", NULL},
    {"a result that breaks them", {CN(UTF8STRING, "plant/7/pump+1")}, "cert.cn|field:/,3", NULL, "+ # / *"},
    {"of a long value", {CN(UTF8STRING, LONG_128 "-b")}, "cert.cn|field:-,2", "b", NULL},
    {"a bar in the separator", {CN(UTF8STRING, "a|b")}, "cert.cn|field:|,2", "b", NULL},
    {"UTF-8 separator", {CN(UTF8STRING, "a\xC3\xA9z")}, "cert.cn|field:\xC3\xA9,2", "z", NULL},
    {"half of a character as the result", {CN(UTF8STRING, "\xC3\xA9")}, "cert.cn|prefix:\xC3", NULL, "UTF-8"},
    {"prefix", {CN(UTF8STRING, "dev:7")}, "cert.cn|prefix:dev:", "7", NULL},
    {"without the prefix", {CN(UTF8STRING, "7")}, "cert.cn|prefix:dev:", NULL, "no value with this prefix"},
    {"nothing after the prefix", {CN(UTF8STRING, "dev:")}, "cert.cn|prefix:dev:", NULL, "empty"},
    {"two with the prefix",
     {CN(UTF8STRING, "dev:7"), CN(UTF8STRING, "dev:8")},
     "cert.cn|prefix:dev:",
     NULL,
     "more than one value with this prefix"},
    {"one of two with the prefix", {CN(UTF8STRING, "Pump"), CN(UTF8STRING, "dev:8")}, "cert.cn|prefix:dev:", "8", NULL},
    {"two CNs, a field", {CN(UTF8STRING, "a-b"), CN(UTF8STRING, "c-d")}, "cert.cn|field:-,1", NULL, "more than one"},
    {"path of what is no URI", {CN(UTF8STRING, "a/b")}, "cert.cn|path:1", NULL, "not a URI"},
    {"no such variable", {CN(UTF8STRING, "d")}, "cert.dn", NULL, "no such"},
};

static X509_NAME *name_of(const struct attribute subject[3])
{
    X509_NAME *name = X509_NAME_new();
    for (size_t i = 0; i < 3 && subject[i].nid; i++)
        ck_assert(X509_NAME_add_entry_by_NID(name, subject[i].nid, V_ASN1_UTF8STRING, (const unsigned char *)"x", 1, -1,
                                             subject[i].set) == 1);
    return name;
}

/* The octets are put into the finished certificate: OpenSSL would not encode some of them. */
static void put_octets(X509 *leaf, const struct attribute subject[3])
{
    const X509_NAME *name = X509_get_subject_name(leaf);
    for (int i = 0; i < 3 && subject[i].nid; i++) {
        ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i));
        ck_assert(ASN1_STRING_set(text, subject[i].octets, subject[i].len) == 1);
        text->type = subject[i].type;
    }
}

static void check_row(size_t i, struct ia_identity *id)
{
    const char *why = NULL, *value = ia_identity_get(id, rows[i].variable, &why);
    if (rows[i].value) {
        ck_assert_msg(value && strcmp(value, rows[i].value) == 0, "%s: %s", rows[i].label, value ? value : why);
        ck_assert_msg(!why, "%s: %s", rows[i].label, why);
        return;
    }
    ck_assert_msg(!value, "%s: %s", rows[i].label, value);
    ck_assert_msg(why && strstr(why, rows[i].why), "%s: %s", rows[i].label, why);
}

START_TEST(identity_rows_read_as_listed)
{
    X509_NAME *name = name_of(rows[_i].subject);
    struct ia_identity id;
    X509 *leaf = mc_cert(&(struct mc_cert){.name = name, .key = "p256:leaf"});
    put_octets(leaf, rows[_i].subject);
    ia_identity_read(leaf, &id);
    check_row((size_t)_i, &id);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    X509_free(leaf);
    X509_NAME_free(name);
}
END_TEST

static const struct {
    const char *label, *ext, *variable, *value, *why;
} san_rows[] = {
    {"DNS", "subjectAltName=DNS:d.example", "cert.san.dns", "d.example", NULL},
    {"DNS beside others", "subjectAltName=DNS:d.example,IP:10.0.0.1,email:a@b.c", "cert.san.dns", "d.example", NULL},
    {"URI", "subjectAltName=URI:urn:dev:mac:0024befffe804ff1", "cert.san.uri", "urn:dev:mac:0024befffe804ff1", NULL},
    {"both", "subjectAltName=DNS:d.example,URI:urn:x", "cert.san.uri", "urn:x", NULL},
    {"no value", NULL, "cert.san.dns", NULL, "no value"},
    {"only an address", "subjectAltName=IP:10.0.0.1", "cert.san.dns", NULL, "no value"},
    {"two DNS names", "subjectAltName=DNS:a.example,DNS:b.example", "cert.san.dns", NULL, "more than one"},
    {"two DNS names, one URI", "subjectAltName=DNS:a,URI:urn:x,DNS:b", "cert.san.uri", "urn:x", NULL},
    {"two URIs", "subjectAltName=URI:urn:a,URI:urn:b", "cert.san.uri", NULL, "more than one"},
    {"wildcard", "subjectAltName=DNS:*.example", "cert.san.dns", NULL, "+ # / *"},
    {"URI with slashes", "subjectAltName=URI:https://x/y", "cert.san.uri", NULL, "+ # / *"},
    {"e-mail", "subjectAltName=email:pump-7@acme.example", "cert.san.email", "pump-7@acme.example", NULL},
    {"two e-mails", "subjectAltName=email:a@x,email:b@x", "cert.san.email", NULL, "more than one"},
    {"address", "subjectAltName=IP:10.0.0.1", "cert.san.ip", "10.0.0.1", NULL},
    {"IPv6 address (RFC 5952)", "subjectAltName=IP:2001:DB8:0:0:0:0:0:1", "cert.san.ip", "2001:db8::1", NULL},
    {"an address of five octets", "2.5.29.17=DER:300787050A00000001", "cert.san.ip", NULL, "not an IP address"},
    {"other name", "subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:pump-7@acme",
     "cert.san.othername.1.3.6.1.4.1.311.20.2.3", "pump-7@acme", NULL},
    {"other name in IA5", "subjectAltName=otherName:1.2.3.4;IA5:pump-7", "cert.san.othername.1.2.3.4", "pump-7", NULL},
    {"another other name", "subjectAltName=otherName:1.2.3.4;UTF8:x", "cert.san.othername.1.2.3.5", NULL, "no value"},
    {"two of one kind", "subjectAltName=otherName:1.2.3.4;UTF8:x,otherName:1.2.3.4;UTF8:y",
     "cert.san.othername.1.2.3.4", NULL, "more than one"},
    {"two kinds", "subjectAltName=otherName:1.2.3.4;UTF8:x,otherName:1.2.3.5;UTF8:y", "cert.san.othername.1.2.3.5", "y",
     NULL},
    {"other name that is no text", "subjectAltName=otherName:1.2.3.4;INT:5", "cert.san.othername.1.2.3.4", NULL,
     "not a text"},
    {"hardware serial number (RFC 4108)", "2.5.29.17=DER:301BA01906082B06010505070804A00D300B06032A03040404DEADBEEF",
     "cert.san.hwserial", "deadbeef", NULL},
    {"hardware module name that is a text", "subjectAltName=otherName:1.3.6.1.5.5.7.8.4;UTF8:x", "cert.san.hwserial",
     NULL, "malformed"},
    {"empty hardware serial number", "2.5.29.17=DER:3017A01506082B06010505070804A009300706032A03040400",
     "cert.san.hwserial", NULL, "empty"},
    {"two hardware serial numbers",
     "2.5.29.17=DER:3036A01906082B06010505070804A00D300B06032A03040404DEADBEEFA01906082B06010505070804A00D300B06032A03"
     "040404DEADBEEE",
     "cert.san.hwserial", NULL, "more than one"},
    {"rest of a URN", "subjectAltName=URI:urn:dev:mac:0024befffe804ff1",
     "cert.san.uri|prefix:urn:dev:mac:", "0024befffe804ff1", NULL},
    {"the URN among several URIs", "subjectAltName=URI:https://x/y,URI:urn:dev:mac:00,URI:urn:uuid:1",
     "cert.san.uri|prefix:urn:dev:", "mac:00", NULL},
    {"SPIFFE id", "subjectAltName=URI:spiffe://acme.example/ns/plant/sa/pump-7", "cert.san.uri|path:4", "pump-7", NULL},
    {"first segment", "subjectAltName=URI:spiffe://acme.example/ns/plant", "cert.san.uri|path:1", "ns", NULL},
    {"one segment too many", "subjectAltName=URI:spiffe://acme.example/ns", "cert.san.uri|path:2", NULL,
     "fewer segments"},
    {"no path", "subjectAltName=URI:spiffe://acme.example", "cert.san.uri|path:1", NULL, "empty"},
    {"query and fragment are no path", "subjectAltName=URI:https://x/a/b?c/d#e/f", "cert.san.uri|path:2", "b", NULL},
    {"query without a path", "subjectAltName=URI:https://x?c/d", "cert.san.uri|path:1", NULL, "empty"},
    {"nothing is decoded", "subjectAltName=URI:https://x/a%2Fb", "cert.san.uri|path:1", "a%2Fb", NULL},
    {"empty segment", "subjectAltName=URI:https://x//b", "cert.san.uri|path:1", NULL, "empty"},
    {"path of a URN", "subjectAltName=URI:urn:dev:mac:00", "cert.san.uri|path:1", "dev:mac:00", NULL},
    {"two extensions", "subjectAltName=DNS:a|subjectAltName=DNS:b", "cert.san.dns", NULL, "extension"},
    {"malformed", "2.5.29.17=DER:3081", "cert.san.dns", NULL, "malformed"},
    {"NUL in a DNS name", "2.5.29.17=DER:30078205612E00622E", "cert.san.dns", NULL, "NUL"},
    {"DNS name beyond ASCII", "2.5.29.17=DER:30048202C3A9", "cert.san.dns", NULL, "string type"},
    {"empty DNS name", "2.5.29.17=DER:30028200", "cert.san.dns", NULL, "empty"},
};

START_TEST(identity_of_alternative_names_reads_as_listed)
{
    struct ia_identity id;
    const char *why = NULL, *label = san_rows[_i].label;
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = "/CN=d", .key = "p256:leaf", .ext = san_rows[_i].ext});
    ia_identity_read(leaf, &id);
    const char *value = ia_identity_get(&id, san_rows[_i].variable, &why);
    if (san_rows[_i].value)
        ck_assert_msg(value && strcmp(value, san_rows[_i].value) == 0, "%s: %s", label, value ? value : why);
    else
        ck_assert_msg(!value && strstr(why, san_rows[_i].why), "%s: %s", label, value ? value : why);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    X509_free(leaf);
}
END_TEST

/* The serial number as DER content octets. */
static const struct {
    const char *label, *hex, *value, *why;
} serial_rows[] = {
    {"small", "5", "05", NULL},
    {"leading digit below 10", "0ABC", "0abc", NULL},
    {"20 octets", "7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "7fffffffffffffffffffffffffffffffffffffff", NULL},
    {"20 octets with the high bit", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
     "ffffffffffffffffffffffffffffffffffffffff", NULL},
    {"zero", "0", "00", NULL},
    {"21 octets", "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", NULL, "longer"},
    {"negative", "-5", NULL, "negative"},
};

START_TEST(identity_serial_rows_read_as_listed)
{
    struct ia_identity id;
    const char *why = NULL, *label = serial_rows[_i].label;
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = "/CN=d", .key = "p256:leaf"});
    BIGNUM *number = NULL;
    ck_assert(BN_hex2bn(&number, serial_rows[_i].hex) > 0);
    ck_assert(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(leaf)) != NULL);
    ia_identity_read(leaf, &id);
    const char *value = ia_identity_get(&id, "cert.serial", &why);
    if (serial_rows[_i].value)
        ck_assert_msg(value && strcmp(value, serial_rows[_i].value) == 0, "%s: %s", label, value ? value : why);
    else
        ck_assert_msg(!value && strstr(why, serial_rows[_i].why), "%s: %s", label, value ? value : why);
    BN_free(number);
    X509_free(leaf);
}
END_TEST

START_TEST(identity_fingerprint_is_sha256_in_lower_case)
{
    struct ia_identity id;
    uint8_t digest[32];
    char hex[65];
    const char *why = NULL;
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = "/CN=d", .key = "p256:leaf"});
    ck_assert(X509_digest(leaf, EVP_sha256(), digest, NULL) == 1);
    ia_hex(digest, sizeof digest, hex);
    ia_identity_read(leaf, &id);
    ck_assert_str_eq(ia_identity_get(&id, "cert.fingerprint", &why), hex);
    X509_free(leaf);
}
END_TEST

/* The same rows are tried on the SQL side's check of templates. */
static const char *const known[] = {"cert.subject",
                                    "cert.subject.UID",
                                    "cert.san.email",
                                    "cert.san.ip",
                                    "cert.san.hwserial",
                                    "cert.san.othername.1.3.6.1.4.1.311.20.2.3",
                                    "cert.san.othername.0.0",
                                    "cert.cn|field:-,1",
                                    "cert.cn|field:-,999",
                                    "cert.cn|field:,,1",
                                    "cert.cn|field:a,b,c,2",
                                    "cert.cn|field:|,2",
                                    "cert.san.uri|prefix:urn:dev:mac:",
                                    "cert.san.uri|path:1",
                                    "cert.subject|path:2",
                                    "cert.san.othername.1.2.3|field:@,1"};
static const char *const unknown[] = {"cert.",
                                      "cert.san",
                                      "cert.subject.CN",
                                      "cert.san.othername",
                                      "cert.san.othername.",
                                      "cert.san.othername.1",
                                      "cert.san.othername.1.",
                                      "cert.san.othername.1..2",
                                      "cert.san.othername.3.1",
                                      "cert.san.othername.1.02",
                                      "cert.san.othername.a.b",
                                      "cert.cn|",
                                      "cert.cn|field",
                                      "cert.cn|field:-",
                                      "cert.cn|field:,1",
                                      "cert.cn|field:-,0",
                                      "cert.cn|field:-,01",
                                      "cert.cn|field:-,1000",
                                      "cert.cn|field:-,",
                                      "cert.cn|field:-,-1",
                                      "cert.cn|field:{,1",
                                      "cert.cn|field:\t,1",
                                      "cert.cn|prefix:",
                                      "cert.cn|path:",
                                      "cert.cn|path:0",
                                      "cert.cn|Path:1",
                                      "cert.cn|regex:.*",
                                      "cert.CN|path:1",
                                      "ca|path:1",
                                      "|path:1"};

START_TEST(identity_knows_its_grammar_only)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        ck_assert_msg(ia_identity_knows(known[i]), "%s", known[i]);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        ck_assert_msg(!ia_identity_knows(unknown[i]), "%s", unknown[i]);
    for (size_t i = 0; ia_identity_name(i); i++)
        ck_assert_msg(ia_identity_knows(ia_identity_name(i)), "%s", ia_identity_name(i));
}
END_TEST

START_TEST(identity_knows_its_variables_only)
{
    ck_assert(ia_identity_knows("cert.cn"));
    ck_assert(ia_identity_knows("cert.san.uri"));
    ck_assert(!ia_identity_knows("cert.CN"));
    ck_assert(!ia_identity_knows(""));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("identity");
    TCase *c = tcase_create("identity");
    tcase_add_loop_test(c, identity_rows_read_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(c, identity_of_alternative_names_reads_as_listed, 0,
                        (int)(sizeof san_rows / sizeof san_rows[0]));
    tcase_add_loop_test(c, identity_serial_rows_read_as_listed, 0, (int)(sizeof serial_rows / sizeof serial_rows[0]));
    tcase_add_test(c, identity_fingerprint_is_sha256_in_lower_case);
    tcase_add_test(c, identity_knows_its_variables_only);
    tcase_add_test(c, identity_knows_its_grammar_only);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
