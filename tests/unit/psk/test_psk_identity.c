// SPDX-License-Identifier: ISC
#include "psk/identity.h"

#include "tests/unit/suite.h"

#include <string.h>

static const struct {
    const char *identity;
    size_t len;
    bool valid;
} identities[] = {
    {"a", 1, true},
    {"Meter 4711 +#/", 14, true}, /* topic characters mean nothing in an identity */
    {"z\xC3\xA4hler", 7, true},
    {"", 0, false},
    {"a\0b", 3, false},
    {"a\nb", 3, false},
    {"a\x7F", 2, false},
    {"a\xC2\x85", 3, false}, /* NEL, a C1 control character */
    {"\xFF\xFE", 2, false},
    {"a\xC3", 2, false},           /* a sequence that ends too early */
    {"\xC0\x80", 2, false},        /* an overlong NUL */
    {"\xED\xA0\x80", 3, false},    /* a surrogate */
    {"\xF0\x9F\x94\x91", 4, true}, /* U+1F511 */
};

START_TEST(an_identity_is_printable_utf8)
{
    ck_assert_int_eq(ia_psk_identity_valid(identities[_i].identity, identities[_i].len), identities[_i].valid);
}
END_TEST

START_TEST(an_identity_has_at_most_128_bytes)
{
    char text[IA_PSK_IDENTITY_MAX + 2];
    memset(text, 'x', sizeof text);
    ck_assert(ia_psk_identity_valid(text, IA_PSK_IDENTITY_MAX));
    ck_assert(!ia_psk_identity_valid(text, IA_PSK_IDENTITY_MAX + 1));
}
END_TEST

START_TEST(each_identity_has_a_digest_of_its_own)
{
    uint8_t a[IA_PSK_DIGEST_LEN], b[IA_PSK_DIGEST_LEN], again[IA_PSK_DIGEST_LEN];
    ck_assert(ia_psk_identity_digest("meter-1", a) && ia_psk_identity_digest("meter-2", b));
    ck_assert(ia_psk_identity_digest("meter-1", again));
    ck_assert_mem_eq(a, again, sizeof a);
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

START_TEST(an_identity_that_is_too_long_has_no_digest)
{
    char text[IA_PSK_IDENTITY_MAX + 2];
    uint8_t digest[IA_PSK_DIGEST_LEN];
    memset(text, 'x', sizeof text);
    text[IA_PSK_IDENTITY_MAX + 1] = '\0';
    ck_assert(!ia_psk_identity_digest(text, digest));
    text[IA_PSK_IDENTITY_MAX] = '\0';
    ck_assert(ia_psk_identity_digest(text, digest));
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, an_identity_is_printable_utf8, 0, (int)(sizeof identities / sizeof identities[0]));
    tcase_add_test(c, an_identity_has_at_most_128_bytes);
    tcase_add_test(c, each_identity_has_a_digest_of_its_own);
    tcase_add_test(c, an_identity_that_is_too_long_has_no_digest);
}

int main(void)
{
    return run_suite("psk identity", cases);
}
