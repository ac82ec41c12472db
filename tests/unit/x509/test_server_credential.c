// SPDX-License-Identifier: ISC
/* The broker's own certificate, as `iot-auth setup` makes and checks it. */
#include "tests/unit/suite.h"
#include "x509/cert.h"
#include "x509/server_credential.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400

static char *certificate, *key, *other_certificate, *other_key;

static void make_both(void)
{
    struct ia_err err = {0};
    ck_assert_int_eq(ia_server_credential_make("broker.example.com", &certificate, &key, &err), IA_OK);
    ck_assert_int_eq(ia_server_credential_make("localhost", &other_certificate, &other_key, &err), IA_OK);
}

static void free_both(void)
{
    free(certificate);
    free(key);
    free(other_certificate);
    free(other_key);
}

START_TEST(made_pair_passes_the_check_until_it_expires)
{
    struct ia_err err = {0};
    int64_t now = time(NULL), end = now + (int64_t)IA_SELF_SIGNED_DAYS * DAY_S;
    ck_assert_int_eq(ia_server_credential_check(certificate, key, now, &err), IA_OK);
    ck_assert_int_eq(ia_server_credential_check(certificate, key, end - 60, &err), IA_OK);
    ck_assert_int_eq(ia_server_credential_check(certificate, key, end + 60, &err), IA_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "expired"));
    ck_assert_int_eq(ia_server_credential_check(certificate, key, now - DAY_S, &err), IA_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "not valid yet"));
}
END_TEST

START_TEST(made_certificate_is_read_by_the_parser_of_the_registry)
{
    struct ia_err err = {0};
    struct ia_cert *cert = NULL;
    ck_assert_int_eq(ia_cert_parse_pem(certificate, &cert, &err), IA_OK);
    ck_assert_str_eq(ia_cert_info(cert)->subject, "CN=broker.example.com,O=iot-auth setup");
    ia_cert_free(cert);
}
END_TEST

START_TEST(another_key_and_what_is_no_pem_are_refused)
{
    struct ia_err err = {0};
    int64_t now = time(NULL);
    ck_assert_int_eq(ia_server_credential_check(certificate, other_key, now, &err), IA_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "not the key of"));
    ck_assert_int_eq(ia_server_credential_check(key, key, now, &err), IA_FORMAT);
    ck_assert_int_eq(ia_server_credential_check(certificate, certificate, now, &err), IA_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "private key"));
    ck_assert_int_eq(ia_server_credential_check("", "", now, &err), IA_FORMAT);
}
END_TEST

START_TEST(names_that_would_change_the_extension_are_refused)
{
    static const char *const names[] = {"", "a,IP:10.0.0.1", "a b", "*", "a\nb", "ä"};
    struct ia_err err = {0};
    char *cert_pem = NULL, *key_pem = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ck_assert_int_eq(ia_server_credential_make(names[i], &cert_pem, &key_pem, &err), IA_USAGE);
    ck_assert_ptr_null(cert_pem);
    ck_assert_ptr_null(key_pem);
}
END_TEST

static void add_cases(TCase *c)
{
    tcase_add_checked_fixture(c, make_both, free_both);
    tcase_add_test(c, made_pair_passes_the_check_until_it_expires);
    tcase_add_test(c, made_certificate_is_read_by_the_parser_of_the_registry);
    tcase_add_test(c, another_key_and_what_is_no_pem_are_refused);
    tcase_add_test(c, names_that_would_change_the_extension_are_refused);
}

int main(void)
{
    return run_suite("server_credential", add_cases);
}
