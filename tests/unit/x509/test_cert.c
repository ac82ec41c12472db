// SPDX-License-Identifier: ISC
#include "common/str.h"
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"
#include "x509/cert.h"
#include "x509/crl.h"

#include <check.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two texts in one; the caller frees it. */
static char *join(const char *a, const char *b)
{
    size_t size = strlen(a) + strlen(b) + 1;
    char *out = malloc(size);
    (void)snprintf(out, size, "%s%s", a, b);
    return out;
}

static void refused(const char *pem, const char *why)
{
    struct ia_cert *cert = NULL;
    struct ia_err err = {0};
    ck_assert_msg(ia_cert_parse_pem(pem, &cert, &err) == IA_FORMAT, "%s: accepted", why);
    ck_assert_msg(!cert && strstr(err.msg, why), "'%s' instead of '%s'", err.msg, why);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}

static struct ia_cert *accepted(const char *pem)
{
    struct ia_cert *cert = NULL;
    struct ia_err err = {0};
    ck_assert_msg(ia_cert_parse_pem(pem, &cert, &err) == IA_OK, "%s", err.msg);
    return cert;
}

START_TEST(cert_pem_with_text_around_is_accepted_before_only)
{
    ia_autofree char *pem = mc_pem(pki_cert("root"));
    ia_autofree char *before = join("Certificate:\n  Subject: CN=Root\n", pem), *spaces = join(pem, " \r\n\t\n");
    ia_autofree char *after = join(pem, "x"), *twice = join(pem, pem);
    ia_cert_free(accepted(pem));
    ia_cert_free(accepted(before));
    ia_cert_free(accepted(spaces));
    refused(after, "there is text after");
    refused(twice, "there is text after");
}
END_TEST

START_TEST(cert_that_is_something_else_is_refused)
{
    ia_autofree char *crl = mc_crl_pem(pki_crl("of_root"));
    refused("", "not PEM");
    refused("hello", "not PEM");
    refused("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "not a certificate");
    refused("-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n", "not PEM");
    refused(crl, "'X509 CRL'");
}
END_TEST

START_TEST(cert_private_key_by_mistake_is_refused)
{
    char *data = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert(PEM_write_bio_PrivateKey(bio, mc_key("p256:root"), NULL, NULL, 0, NULL, NULL) == 1);
    ck_assert(BIO_write(bio, "", 1) == 1);
    ck_assert(BIO_get_mem_data(bio, &data) > 0);
    refused(data, "'PRIVATE KEY'");
    BIO_free(bio);
}
END_TEST

START_TEST(cert_with_octets_after_its_der_is_refused)
{
    unsigned char *der = NULL;
    char *pem = NULL;
    int len = i2d_X509(pki_cert("root"), &der);
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned char *longer = calloc(1, (size_t)len + 4);
    memcpy(longer, der, (size_t)len);
    ck_assert(PEM_write_bio(bio, "CERTIFICATE", "", longer, len + 4) > 0);
    ck_assert(BIO_write(bio, "", 1) == 1);
    ck_assert(BIO_get_mem_data(bio, &pem) > 0);
    refused(pem, "inside its PEM block");
    free(longer);
    OPENSSL_free(der);
    BIO_free(bio);
}
END_TEST

START_TEST(cert_longer_than_the_limit_is_refused)
{
    char *text = malloc(IA_PEM_MAX + 2);
    memset(text, ' ', IA_PEM_MAX + 1);
    text[IA_PEM_MAX + 1] = '\0';
    refused(text, "longer than 65536");
    free(text);
}
END_TEST

START_TEST(cert_info_has_the_parsed_columns)
{
    ia_autofree char *pem = mc_pem(pki_cert("inter"));
    struct ia_cert *cert = accepted(pem);
    const struct ia_cert_info *info = ia_cert_info(cert);
    uint8_t digest[32];
    ck_assert(X509_digest(pki_cert("inter"), EVP_sha256(), digest, NULL) == 1);
    ck_assert_mem_eq(info->fingerprint, digest, 32);
    ck_assert_str_eq(info->serial, "02");
    ck_assert_str_eq(info->subject, "CN=Inter");
    ck_assert_int_eq(info->not_before, MC_NOW - MC_DAY);
    ck_assert_int_eq(info->not_after, MC_NOW + 365 * MC_DAY);
    ia_cert_free(cert);
}
END_TEST

static void set_serial(X509 *x509, const char *hex)
{
    BIGNUM *number = NULL;
    ck_assert(BN_hex2bn(&number, hex) > 0);
    ck_assert(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL);
    BN_free(number);
}

START_TEST(cert_info_of_a_leaf_tells_a_negative_serial_and_refuses_a_long_one)
{
    struct ia_cert_info info = {0};
    struct ia_err err = {0};
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = "/CN=d", .key = "p256:leaf"});
    set_serial(leaf, "-1F");
    ck_assert(ia_cert_info_read(leaf, &info, &err) == IA_OK);
    ck_assert_str_eq(info.serial, "-1f");
    set_serial(leaf, "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF");
    ck_assert(ia_cert_info_read(leaf, &info, &err) == IA_FORMAT);
    ck_assert(strstr(err.msg, "serial"));
    X509_free(leaf);
}
END_TEST

START_TEST(cert_info_escapes_and_cuts_the_subject)
{
    char subject[700] = "/CN=a\nb\xC3\xA9/O=";
    struct ia_cert_info info;
    memset(subject + strlen(subject), 'x', 60);
    for (int i = 0; i < 8; i++)
        (void)snprintf(subject + strlen(subject), sizeof subject - strlen(subject), "/OU=%060d", i);
    X509 *leaf = mc_cert(&(struct mc_cert){.subject = subject, .key = "p256:leaf"});
    ck_assert(ia_cert_info_read(leaf, &info, NULL) == IA_OK);
    ck_assert_uint_eq(strlen(info.subject), IA_SUBJECT_MAX - 1);
    X509_free(leaf);
    leaf = mc_cert(&(struct mc_cert){.subject = "/CN=a\nb\xC3\xA9", .key = "p256:leaf"});
    ck_assert(ia_cert_info_read(leaf, &info, NULL) == IA_OK);
    ck_assert_str_eq(info.subject, "CN=a\\0Ab\\C3\\A9");
    X509_free(leaf);
}
END_TEST

/* What `ca.problem` will say, or NULL for a CA that may act. */
static const struct {
    const char *cert, *problem;
} ca_rows[] = {
    {"root", NULL},
    {"inter", NULL},
    {"rsa_root", NULL},
    {"ed_root", NULL},
    {"pathlen0", NULL},
    {"old_root", "expired at 2027-01-15T07:59:59Z"},
    {"next_root", "not valid before 2027-01-15T08:01:00Z"},
    {"leaf", "not a CA"},
    {"v1_ca", "version 3"},
    {"no_sign_ca", "keyCertSign"},
    {"server_ca", "extended key usage"},
    {"critical_ca", "critical extension"},
    {"sha1_inter", NULL},
    {"sha1_root", NULL},
    {"any_eku_ca", NULL},
    {"rsa1024_ca", "key is too weak"},
};

START_TEST(cert_check_ca_rows_decide_as_listed)
{
    ia_autofree char *pem = mc_pem(pki_cert(ca_rows[_i].cert));
    struct ia_cert *cert = accepted(pem);
    struct ia_err err = {0};
    enum ia_rc rc = ia_cert_check_ca(cert, MC_NOW, &err);
    ck_assert_msg((rc == IA_OK) == !ca_rows[_i].problem, "%s: %s", ca_rows[_i].cert, err.msg);
    if (ca_rows[_i].problem)
        ck_assert_msg(strstr(err.msg, ca_rows[_i].problem) != NULL, "%s: %s", ca_rows[_i].cert, err.msg);
    ia_cert_free(cert);
}
END_TEST

START_TEST(crl_that_is_something_else_is_refused)
{
    ia_autofree char *cert = mc_pem(pki_cert("root")), *crl = mc_crl_pem(pki_crl("of_root")), *twice = join(crl, crl);
    const char *bad[] = {"", "hello", cert, twice, "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ia_crl *out = NULL;
        struct ia_err err = {0};
        ck_assert_msg(ia_crl_parse_pem(bad[i], &out, &err) == IA_FORMAT, "row %zu", i);
        ck_assert(!out && err.msg[0] != '\0');
        ck_assert_uint_eq(ERR_peek_error(), 0);
    }
}
END_TEST

START_TEST(crl_belongs_to_the_ca_that_signed_it)
{
    ia_autofree char *crl_pem = mc_crl_pem(pki_crl("of_root")), *root_pem = mc_pem(pki_cert("root")),
                     *fake_pem = mc_pem(pki_cert("fake_root"));
    struct ia_cert *root = accepted(root_pem), *fake = accepted(fake_pem);
    struct ia_crl_spec spec = {.pem = crl_pem};
    ck_assert(ia_crl_parse_pem(crl_pem, &spec.crl, NULL) == IA_OK);
    ck_assert(!ia_crl_signed_by(&spec, fake));
    ck_assert(ia_crl_signed_by(&spec, root));
    ck_assert(ia_crl_signed_by(&spec, root)); /* remembered */
    ck_assert(!ia_crl_signed_by(&spec, fake));
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ia_crl_free(spec.crl);
    ia_cert_free(root);
    ia_cert_free(fake);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cert");
    TCase *c = tcase_create("cert");
    tcase_add_test(c, cert_pem_with_text_around_is_accepted_before_only);
    tcase_add_test(c, cert_that_is_something_else_is_refused);
    tcase_add_test(c, cert_private_key_by_mistake_is_refused);
    tcase_add_test(c, cert_with_octets_after_its_der_is_refused);
    tcase_add_test(c, cert_longer_than_the_limit_is_refused);
    tcase_add_test(c, cert_info_has_the_parsed_columns);
    tcase_add_test(c, cert_info_of_a_leaf_tells_a_negative_serial_and_refuses_a_long_one);
    tcase_add_test(c, cert_info_escapes_and_cuts_the_subject);
    tcase_add_loop_test(c, cert_check_ca_rows_decide_as_listed, 0, (int)(sizeof ca_rows / sizeof ca_rows[0]));
    tcase_add_test(c, crl_that_is_something_else_is_refused);
    tcase_add_test(c, crl_belongs_to_the_ca_that_signed_it);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
