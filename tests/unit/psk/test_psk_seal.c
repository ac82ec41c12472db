// SPDX-License-Identifier: ISC
#include "psk/seal.h"

#include "tests/unit/suite.h"

#include <string.h>

#define KEY_1 "0101010101010101010101010101010101010101010101010101010101010101"
#define KEY_2 "0202020202020202020202020202020202020202020202020202020202020202"

static struct ia_keyring *keyring;
static const struct ia_psk_label label = {.key_id = 1, .identity = "meter-1", .device_id = "device-1"};
static uint8_t secret[IA_PSK_KEY_MAX], sealed[IA_PSK_SEALED_MAX];
static size_t sealed_len;

static void read_keyring(const char *text)
{
    struct ia_err err = {.rc = IA_OK};
    ck_assert_msg(ia_keyring_parse(text, strlen(text), &keyring, &err) == IA_OK, "%s", err.msg);
}

static void seal_secret(size_t key_len)
{
    struct ia_err err = {.rc = IA_OK};
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(i * 7 + 1);
    ck_assert_msg(ia_psk_seal(keyring, &label, secret, key_len, sealed, &sealed_len, &err) == IA_OK, "%s", err.msg);
    ck_assert_uint_eq(sealed_len, key_len + 28);
}

static void setup(void)
{
    read_keyring("1 " KEY_1 "\n2 " KEY_2 "\n");
    seal_secret(32);
}

static void teardown(void)
{
    ia_keyring_free(keyring);
}

static enum ia_rc open_as(const struct ia_psk_label *as, const uint8_t *octets, size_t len)
{
    uint8_t key[IA_PSK_KEY_MAX] = {0};
    static const uint8_t nothing[IA_PSK_KEY_MAX];
    size_t key_len = 0;
    enum ia_rc rc = ia_psk_open(keyring, as, octets, len, key, &key_len, NULL);
    if (rc != IA_OK)
        ck_assert_mem_eq(key, nothing, sizeof key);
    return rc;
}

static const size_t lengths[] = {16, 17, 32, 48, 64};

START_TEST(a_sealed_key_opens_to_itself)
{
    uint8_t key[IA_PSK_KEY_MAX];
    size_t key_len = 0;
    seal_secret(lengths[_i]);
    ck_assert_int_eq(ia_psk_open(keyring, &label, sealed, sealed_len, key, &key_len, NULL), IA_OK);
    ck_assert_uint_eq(key_len, lengths[_i]);
    ck_assert_mem_eq(key, secret, key_len);
}
END_TEST

START_TEST(the_sealed_key_holds_nothing_of_the_key)
{
    ck_assert_ptr_null(memmem(sealed, sealed_len, secret, 8));
}
END_TEST

START_TEST(two_seals_of_one_key_differ)
{
    uint8_t first[IA_PSK_SEALED_MAX];
    memcpy(first, sealed, sealed_len);
    seal_secret(32);
    ck_assert_mem_ne(first, sealed, sealed_len);
}
END_TEST

static const struct ia_psk_label others[] = {
    {.key_id = 1, .identity = "meter-2", .device_id = "device-1"},
    {.key_id = 1, .identity = "meter-1", .device_id = "device-2"},
    {.key_id = 1, .identity = "meter-1d", .device_id = "evice-1"}, /* the same text, divided otherwise */
    {.key_id = 1, .identity = "device-1", .device_id = "meter-1"},
    {.key_id = 2, .identity = "meter-1", .device_id = "device-1"},
};

START_TEST(a_row_that_was_moved_does_not_open)
{
    ck_assert_int_eq(open_as(&others[_i], sealed, sealed_len), IA_FORMAT);
}
END_TEST

START_TEST(a_damaged_row_does_not_open)
{
    for (size_t i = 0; i < sealed_len; i++) {
        sealed[i] ^= 0x10;
        ck_assert_int_eq(open_as(&label, sealed, sealed_len), IA_FORMAT);
        sealed[i] ^= 0x10;
    }
    ck_assert_int_eq(open_as(&label, sealed, sealed_len), IA_OK);
}
END_TEST

START_TEST(a_row_of_another_length_does_not_open)
{
    uint8_t longer[2 * IA_PSK_SEALED_MAX] = {0};
    memcpy(longer, sealed, sealed_len);
    for (size_t len = 0; len < sizeof longer; len++)
        if (len != sealed_len)
            ck_assert_int_eq(open_as(&label, longer, len), IA_FORMAT);
}
END_TEST

/* One row after the other, under two keys: what failed, and which key was used, counts for nothing afterwards. */
START_TEST(an_opener_opens_each_row_as_if_it_were_the_first)
{
    const struct ia_psk_label second = {.key_id = 2, .identity = "meter-2", .device_id = "device-2"};
    const struct ia_psk_label unknown = {.key_id = 3, .identity = "meter-1", .device_id = "device-1"};
    uint8_t other[IA_PSK_SEALED_MAX], damaged[IA_PSK_SEALED_MAX], key[IA_PSK_KEY_MAX];
    size_t other_len = 0, len = 0;
    ck_assert_int_eq(ia_psk_seal(keyring, &second, secret, 48, other, &other_len, NULL), IA_OK);
    memcpy(damaged, sealed, sealed_len);
    damaged[20] ^= 1;
    const struct {
        const struct ia_psk_label *label;
        const uint8_t *octets;
        size_t len, key_len;
        enum ia_rc rc;
    } rows[] = {{&label, sealed, sealed_len, 32, IA_OK},        {&label, damaged, sealed_len, 0, IA_FORMAT},
                {&label, sealed, sealed_len, 32, IA_OK},        {&second, other, other_len, 48, IA_OK},
                {&second, sealed, sealed_len, 0, IA_FORMAT},    {&label, sealed, 7, 0, IA_FORMAT},
                {&unknown, sealed, sealed_len, 0, IA_USAGE},    {&label, sealed, sealed_len, 32, IA_OK},
                {&others[0], sealed, sealed_len, 0, IA_FORMAT}, {&second, other, other_len, 48, IA_OK}};
    struct ia_psk_opener *opener = ia_psk_opener_new(keyring);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(key, 0, sizeof key);
        enum ia_rc rc = ia_psk_opener_open(opener, rows[i].label, rows[i].octets, rows[i].len, key, &len, NULL);
        ck_assert_msg(rc == rows[i].rc, "row %zu", i);
        ck_assert(rc != IA_OK || (len == rows[i].key_len && memcmp(key, secret, len) == 0));
    }
    ia_psk_opener_free(opener);
    ia_psk_opener_free(NULL);
}
END_TEST

START_TEST(an_unknown_key_id_is_named)
{
    const struct ia_psk_label unknown = {.key_id = 3, .identity = "meter-1", .device_id = "device-1"};
    struct ia_err err = {.rc = IA_OK};
    uint8_t key[IA_PSK_KEY_MAX];
    size_t len;
    ck_assert_int_eq(ia_psk_open(keyring, &unknown, sealed, sealed_len, key, &len, &err), IA_USAGE);
    ck_assert_msg(strstr(err.msg, "no key 3"), "%s", err.msg);
    ck_assert_int_eq(ia_psk_seal(keyring, &unknown, secret, 32, sealed, &len, &err), IA_USAGE);
}
END_TEST

START_TEST(a_key_that_is_too_short_or_too_long_is_not_sealed)
{
    size_t len = 0;
    ck_assert_int_eq(ia_psk_seal(keyring, &label, secret, IA_PSK_KEY_MIN - 1, sealed, &len, NULL), IA_USAGE);
    ck_assert_int_eq(ia_psk_seal(keyring, &label, secret, IA_PSK_KEY_MAX + 1, sealed, &len, NULL), IA_USAGE);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, a_sealed_key_opens_to_itself, 0, (int)(sizeof lengths / sizeof lengths[0]));
    tcase_add_test(c, the_sealed_key_holds_nothing_of_the_key);
    tcase_add_test(c, two_seals_of_one_key_differ);
    tcase_add_loop_test(c, a_row_that_was_moved_does_not_open, 0, (int)(sizeof others / sizeof others[0]));
    tcase_add_test(c, a_damaged_row_does_not_open);
    tcase_add_test(c, a_row_of_another_length_does_not_open);
    tcase_add_test(c, an_opener_opens_each_row_as_if_it_were_the_first);
    tcase_add_test(c, an_unknown_key_id_is_named);
    tcase_add_test(c, a_key_that_is_too_short_or_too_long_is_not_sealed);
}

int main(void)
{
    return run_suite("psk seal", cases);
}
