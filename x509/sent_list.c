// SPDX-License-Identifier: ISC
#include "x509/sent_list.h"

#include "x509/der.h"

#include <string.h>

#define OID_IS(oid, octets) oid_is(oid, octets, sizeof(octets) - 1)

static bool oid_is(const struct ia_der_element *oid, const char *octets, size_t len)
{
    return oid->content.len == len && memcmp(oid->content.at, octets, len) == 0;
}

/* OpenSSL decodes id-ecPublicKey, and its number for SM2, which is an EC key too. */
static bool is_ec_algorithm(const struct ia_der_element *oid)
{
    return OID_IS(oid, "\x2A\x86\x48\xCE\x3D\x02\x01") || OID_IS(oid, "\x2A\x81\x1C\xCF\x55\x01\x82\x2D");
}

/* Curves whose prime is 3 modulo 4: a square root is one exponentiation. */
static bool root_is_cheap(const struct ia_der_element *curve)
{
    return OID_IS(curve, "\x2A\x86\x48\xCE\x3D\x03\x01\x07") ||     /* P-256 */
           OID_IS(curve, "\x2B\x81\x04\x00\x22") ||                 /* P-384 */
           OID_IS(curve, "\x2B\x81\x04\x00\x23") ||                 /* P-521 */
           OID_IS(curve, "\x2B\x81\x04\x00\x0A") ||                 /* secp256k1 */
           OID_IS(curve, "\x2B\x24\x03\x03\x02\x08\x01\x01\x07") || /* brainpoolP256r1, P384r1, P512r1 */
           OID_IS(curve, "\x2B\x24\x03\x03\x02\x08\x01\x01\x0B") ||
           OID_IS(curve, "\x2B\x24\x03\x03\x02\x08\x01\x01\x0D");
}

/* The octet of a BIT STRING that counts unused bits, then the point: 2 or 3 for a compressed one (SEC 1 2.3.3). */
static bool is_compressed(const struct ia_der_element *bits)
{
    return bits->content.len > 1 && (bits->content.at[1] == 2 || bits->content.at[1] == 3);
}

static const char not_der[] = "a certificate that is not DER";

/* AlgorithmIdentifier and BIT STRING of a SubjectPublicKeyInfo. */
static const char *key_encoding_problem(struct ia_der_span algorithm, const struct ia_der_element *bits)
{
    struct ia_der_element oid, curve;
    if (!ia_der_take_tag(&algorithm, IA_DER_OID, &oid))
        return not_der;
    if (!is_ec_algorithm(&oid))
        return NULL;
    if (!ia_der_take_tag(&algorithm, IA_DER_OID, &curve) || algorithm.len > 0)
        return "an EC key with explicit curve parameters";
    return is_compressed(bits) && !root_is_cheap(&curve) ? "a compressed EC key on a curve where that is slow" : NULL;
}

/* TBSCertificate (RFC 5280 4.1): version [0], serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo. */
static bool take_public_key(struct ia_der_span tbs, struct ia_der_element *out)
{
    struct ia_der_element skipped;
    if (ia_der_peek(&tbs) == IA_DER_CONTEXT_0 && !ia_der_take(&tbs, &skipped))
        return false;
    if (!ia_der_take_tag(&tbs, IA_DER_INTEGER, &skipped))
        return false;
    for (int i = 0; i < 4; i++)
        if (!ia_der_take_tag(&tbs, IA_DER_SEQUENCE, &skipped))
            return false;
    return ia_der_take_tag(&tbs, IA_DER_SEQUENCE, out);
}

static const char *certificate_encoding_problem(struct ia_der_span der)
{
    struct ia_der_element certificate, tbs, key, algorithm, bits;
    if (!ia_der_take_tag(&der, IA_DER_SEQUENCE, &certificate) ||
        !ia_der_take_tag(&certificate.content, IA_DER_SEQUENCE, &tbs) || !take_public_key(tbs.content, &key) ||
        !ia_der_take_tag(&key.content, IA_DER_SEQUENCE, &algorithm) ||
        !ia_der_take_tag(&key.content, IA_DER_BIT_STRING, &bits))
        return not_der;
    return key_encoding_problem(algorithm.content, &bits);
}

/* A vector of TLS: its length in `octets` octets, then that many.  False: it passes the end. */
static bool take_vector(struct ia_der_span *from, size_t octets, struct ia_der_span *out)
{
    size_t len = 0;
    if (from->len < octets)
        return false;
    for (size_t i = 0; i < octets; i++)
        len = len << 8 | from->at[i];
    if (len > from->len - octets)
        return false;
    *out = (struct ia_der_span){from->at + octets, len};
    from->at += octets + len;
    from->len -= octets + len;
    return true;
}

const char *ia_sent_list_problem(const uint8_t *body, size_t len, bool with_extensions)
{
    static const char malformed[] = "a malformed Certificate message";
    struct ia_der_span rest = {body, len}, list, certificate, skipped;
    if (with_extensions && !take_vector(&rest, 1, &skipped)) /* certificate_request_context */
        return malformed;
    if (!take_vector(&rest, 3, &list))
        return malformed;
    for (size_t n = 0; list.len > 0; n++) {
        if (!take_vector(&list, 3, &certificate) || (with_extensions && !take_vector(&list, 2, &skipped)))
            return malformed;
        const char *problem =
            n < IA_SENT_LIST_MAX ? certificate_encoding_problem(certificate) : "a list of more than 32 certificates";
        if (problem)
            return problem;
    }
    return NULL;
}
