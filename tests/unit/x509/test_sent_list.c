// SPDX-License-Identifier: ISC
/* A client's list of certificates before OpenSSL parses it: what is honest passes, what is costly to parse does not. */
#include "x509/sent_list.h"

#include "tests/unit/suite.h"
#include "tests/unit/x509/make_cert.h"

#include <openssl/pem.h>
#include <string.h>

struct octets {
    uint8_t at[16384];
    size_t len;
};

static struct octets message;

static void put_length(size_t value, size_t octets)
{
    while (octets-- > 0)
        message.at[message.len++] = (uint8_t)(value >> (8 * octets));
}

static void begin_message(bool tls13)
{
    message.len = 0;
    if (tls13)
        put_length(0, 1);
    put_length(0, 3);
}

static void put_octets(const uint8_t *der, size_t len, bool tls13)
{
    put_length(len, 3);
    ck_assert_uint_le(message.len + len + 2, sizeof message.at);
    memcpy(message.at + message.len, der, len);
    message.len += len;
    if (tls13)
        put_length(0, 2);
}

/* The length of the list, and what is thought of the message. */
static const char *problem_of_message(bool tls13)
{
    size_t len = message.len, head = tls13 ? 1 : 0;
    message.len = head;
    put_length(len - head - 3, 3);
    message.len = len;
    return ia_sent_list_problem(message.at, len, tls13);
}

static const char *problem_of_octets(const uint8_t *der, size_t len, bool tls13)
{
    begin_message(tls13);
    put_octets(der, len, tls13);
    return problem_of_message(tls13);
}

static struct octets encode_certificate(const char *key)
{
    struct octets out = {0};
    const struct mc_cert spec = {.subject = "/CN=any", .key = key, .ext = MC_ROOT};
    X509 *x509 = mc_cert(&spec);
    uint8_t *at = out.at;
    out.len = (size_t)i2d_X509(x509, &at);
    X509_free(x509);
    return out;
}

static const struct {
    const char *key, *problem; /* NULL: none */
} keys[] = {
    {"p256:any", NULL},
    {"rsa2048:any", NULL},
    {"ed25519:any", NULL},
    {"curve:brainpoolP256r1:", NULL},
    {"curve:P-224:", NULL},
    {"compressed:P-256:", NULL},
    {"compressed:P-384:", NULL},
    {"compressed:P-521:", NULL},
    {"compressed:brainpoolP256r1:", NULL},
    {"compressed:brainpoolP384r1:", NULL},
    {"compressed:brainpoolP512r1:", NULL},
    {"compressed:secp256k1:", NULL},
    {"compressed:P-224:", "compressed"},
    {"compressed:sect283k1:", "compressed"},
    {"explicit:", "explicit"},
};

START_TEST(encoding_of_the_key_decides)
{
    struct octets der = encode_certificate(keys[_i].key);
    for (int tls13 = 0; tls13 <= 1; tls13++) {
        const char *problem = problem_of_octets(der.at, der.len, tls13);
        if (keys[_i].problem)
            ck_assert_msg(problem && strstr(problem, keys[_i].problem), "%s: %s", keys[_i].key, problem);
        else
            ck_assert_msg(!problem, "%s: %s", keys[_i].key, problem);
    }
}
END_TEST

/* Its key stands on a curve of its own, over a prime p of 660 bits with 2^600 in p-1; generator and key are compressed
 * points, each of which takes OpenSSL 90,000 multiplications modulo p: 200 ms for 461 octets. */
static struct octets slow_certificate(void)
{
    struct octets out = {0};
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    BIO *bio = BIO_new_file(IA_SOURCE_DIR "/tests/unit/x509/slow-curve.pem", "r");
    ck_assert(bio && PEM_read_bio(bio, &label, &header, &der, &len) == 1);
    memcpy(out.at, der, (size_t)len);
    out.len = (size_t)len;
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    return out;
}

START_TEST(slow_curve_is_refused_wherever_it_stands)
{
    struct octets der = slow_certificate(), honest = encode_certificate("p256:any");
    ck_assert_str_eq(problem_of_octets(der.at, der.len, true), "an EC key with explicit curve parameters");
    begin_message(true);
    for (int i = 0; i < 10; i++)
        put_octets(honest.at, honest.len, true);
    put_octets(der.at, der.len, true);
    ck_assert_str_eq(problem_of_message(true), "an EC key with explicit curve parameters");
}
END_TEST

/* OpenSSL takes the algorithm number of SM2 for an EC key as well. */
START_TEST(slow_curve_under_the_name_of_sm2_is_refused)
{
    static const size_t lengths[] = {3, 7, 62, 66}; /* of certificate, TBSCertificate, key, algorithm: the low octets */
    const size_t oid = 67;
    struct octets der = slow_certificate();
    ck_assert_int_eq(memcmp(der.at + oid, "\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01", 9), 0); /* id-ecPublicKey */
    memmove(der.at + oid + 1, der.at + oid, der.len - oid);
    memcpy(der.at + oid, "\x06\x08\x2A\x81\x1C\xCF\x55\x01\x82\x2D", 10);
    der.len++;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        der.at[lengths[i]]++;
    const uint8_t *parsed = der.at;
    X509 *x509 = d2i_X509(NULL, &parsed, (long)der.len);
    ck_assert_msg(x509 && parsed == der.at + der.len, "the lengths fit");
    X509_free(x509);
    ck_assert_str_eq(problem_of_octets(der.at, der.len, true), "an EC key with explicit curve parameters");
}
END_TEST

/* BER, which OpenSSL takes: a length that is not given (X.690 8.1.3.6). */
START_TEST(certificate_of_indefinite_length_is_refused)
{
    struct octets der = slow_certificate();
    der.at[1] = 0x80;
    memmove(der.at + 2, der.at + 4, der.len - 4);
    der.at[der.len - 2] = der.at[der.len - 1] = 0;
    const uint8_t *parsed = der.at;
    X509 *x509 = d2i_X509(NULL, &parsed, (long)der.len);
    ck_assert_ptr_nonnull(x509); /* it would have been parsed */
    X509_free(x509);
    ck_assert_str_eq(problem_of_octets(der.at, der.len, true), "a certificate that is not DER");
}
END_TEST

START_TEST(number_of_certificates_is_bounded)
{
    struct octets der = encode_certificate("p256:any");
    begin_message(false);
    for (int i = 0; i < IA_SENT_LIST_MAX; i++)
        put_octets(der.at, der.len, false);
    ck_assert_ptr_null(problem_of_message(false));
    put_octets(der.at, der.len, false);
    ck_assert_str_eq(problem_of_message(false), "a list of more than 32 certificates");
}
END_TEST

/* A client without a certificate sends an empty list. */
START_TEST(empty_list_is_fine)
{
    begin_message(true);
    ck_assert_ptr_null(problem_of_message(true));
    begin_message(false);
    ck_assert_ptr_null(problem_of_message(false));
}
END_TEST

START_TEST(message_that_ends_early_is_refused)
{
    struct octets der = encode_certificate("p256:any");
    for (int tls13 = 0; tls13 <= 1; tls13++) {
        ck_assert_ptr_null(problem_of_octets(der.at, der.len, tls13));
        for (size_t len = 0; len < message.len; len++)
            ck_assert_ptr_nonnull(ia_sent_list_problem(message.at, len, tls13));
    }
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, encoding_of_the_key_decides, 0, (int)(sizeof keys / sizeof keys[0]));
    tcase_add_test(c, slow_curve_is_refused_wherever_it_stands);
    tcase_add_test(c, slow_curve_under_the_name_of_sm2_is_refused);
    tcase_add_test(c, certificate_of_indefinite_length_is_refused);
    tcase_add_test(c, number_of_certificates_is_bounded);
    tcase_add_test(c, empty_list_is_fine);
    tcase_add_test(c, message_that_ends_early_is_refused);
}

int main(void)
{
    return run_suite("sent_list", cases);
}
