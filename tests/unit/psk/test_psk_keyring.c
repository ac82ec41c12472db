// SPDX-License-Identifier: ISC
#include "psk/keyring.h"

#include "tests/unit/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZEROS  "0000000000000000000000000000000000000000000000000000000000000000"
#define ONES   "1111111111111111111111111111111111111111111111111111111111111111"
#define LETTER "abcdefABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123"

static struct ia_keyring *parse(const char *text)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    ck_assert_msg(ia_keyring_parse(text, strlen(text), &keyring, &err) == IA_OK, "%s", err.msg);
    return keyring;
}

START_TEST(the_first_key_seals_and_all_are_found)
{
    struct ia_keyring *k = parse("# made on 2026-11-28\n\n7 " ONES "\r\n  32767\t" ZEROS "  \n0 " LETTER);
    ck_assert_uint_eq(ia_keyring_count(k), 3);
    ck_assert_int_eq(ia_keyring_sealing_id(k), 7);
    ck_assert_int_eq(ia_keyring_find(k, 7)[31], 0x11);
    ck_assert_int_eq(ia_keyring_find(k, 32767)[0], 0);
    ck_assert_int_eq(ia_keyring_find(k, 0)[3], 0xAB);
    ck_assert_ptr_null(ia_keyring_find(k, 1));
    ck_assert_ptr_null(ia_keyring_find(k, -1));
    ck_assert_ptr_null(ia_keyring_find(k, 32768));
    ia_keyring_free(k);
}
END_TEST

static const struct {
    const char *text, *says;
} refused[] = {
    {"", "no key"},
    {"# only a comment\n", "no key"},
    {"x " ZEROS, "line 1 must start with a key id"},
    {"-1 " ZEROS, "line 1 must start with a key id"},
    {"32768 " ZEROS, "line 1 must start with a key id"},
    {"99999999999999999999 " ZEROS, "line 1 must start with a key id"},
    {"1" ZEROS, "line 1"}, /* no blank in between */
    {"1 " ZEROS "0", "line 1 does not have 64"},
    {"1 00", "line 1 does not have 64"},
    {"1", "line 1 does not have 64"},
    {"1 " ZEROS " # why", "line 1 does not have 64"},
    {"1 g000000000000000000000000000000000000000000000000000000000000000", "line 1 does not have 64"},
    {"1 " ZEROS "\n\n1 " ONES, "line 3 has the key id 1"},
};

START_TEST(a_line_that_is_no_key_is_refused_with_its_number)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    const char *text = refused[_i].text;
    ck_assert_int_eq(ia_keyring_parse(text, strlen(text), &keyring, &err), IA_USAGE);
    ck_assert_msg(strstr(err.msg, refused[_i].says), "%s", err.msg);
    ck_assert_ptr_null(keyring);
}
END_TEST

START_TEST(an_error_holds_nothing_of_a_key)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    static const char text[] = "5 c0ffee";
    ck_assert_int_eq(ia_keyring_parse(text, strlen(text), &keyring, &err), IA_USAGE);
    ck_assert_ptr_null(strstr(err.msg, "c0ffee"));
}
END_TEST

START_TEST(a_nul_does_not_end_the_text)
{
    static const char text[] = "1 " ZEROS "\0\n2 " ONES;
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    ck_assert_int_eq(ia_keyring_parse(text, sizeof text - 1, &keyring, &err), IA_USAGE);
}
END_TEST

/* --- files */

static char path[] = "/tmp/test_psk_keyring.XXXXXX";

static void write_file(mode_t mode)
{
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    static const char text[] = "3 " ONES "\n";
    ck_assert(fd >= 0 && write(fd, text, sizeof text - 1) == sizeof text - 1);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

START_TEST(a_file_of_its_owner_alone_is_read)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    write_file(0600);
    ck_assert_msg(ia_keyring_read(path, &keyring, &err) == IA_OK, "%s", err.msg);
    ck_assert_int_eq(ia_keyring_sealing_id(keyring), 3);
    ia_keyring_free(keyring);
    unlink(path);
}
END_TEST

static const mode_t open_modes[] = {0640, 0604, 0620, 0601, 0666};

START_TEST(a_file_that_others_can_use_is_refused_with_the_remedy)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    write_file(open_modes[_i]);
    ck_assert_int_eq(ia_keyring_read(path, &keyring, &err), IA_USAGE);
    ck_assert_msg(strstr(err.msg, "chmod 600"), "%s", err.msg);
    unlink(path);
}
END_TEST

START_TEST(a_file_of_another_user_is_refused)
{
    if (geteuid() != 0)
        return; /* only root can give a file away */
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    write_file(0600);
    ck_assert_int_eq(chown(path, 65534, 65534), 0);
    ck_assert_int_eq(ia_keyring_read(path, &keyring, &err), IA_USAGE);
    ck_assert_msg(strstr(err.msg, "chown"), "%s", err.msg);
    unlink(path);
}
END_TEST

START_TEST(what_is_no_file_is_refused_and_never_waited_for)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {.rc = IA_OK};
    ck_assert_int_eq(ia_keyring_read("/tmp", &keyring, &err), IA_USAGE);
    ck_assert_int_eq(ia_keyring_read("/nowhere/keys", &keyring, &err), IA_IO);
    write_file(0600);
    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(ia_keyring_read(path, &keyring, &err), IA_USAGE);
    unlink(path);
}
END_TEST

START_TEST(a_copy_has_the_same_keys_and_other_keys_are_noticed)
{
    static const struct {
        const char *text;
        bool same;
    } others[] = {
        {"1 " ZEROS "\n2 " ONES "\n", true},
        {"2 " ONES "\n1 " ZEROS "\n", true},
        {"1 " ZEROS "\n", false},
        {"1 " ZEROS "\n2 " ZEROS "\n", false},
        {"1 " ZEROS "\n3 " ONES "\n", false},
        {"1 " ZEROS "\n2 " ONES "\n3 " ONES "\n", false},
    };
    struct ia_keyring *one = NULL, *other = NULL;
    ck_assert_int_eq(ia_keyring_parse(others[0].text, strlen(others[0].text), &one, NULL), IA_OK);
    struct ia_keyring *copy = ia_keyring_copy(one);
    ck_assert(ia_keyring_same(copy, one));
    ia_keyring_free(one);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        ck_assert_int_eq(ia_keyring_parse(others[i].text, strlen(others[i].text), &other, NULL), IA_OK);
        ck_assert_msg(ia_keyring_same(copy, other) == others[i].same, "row %zu", i);
        ck_assert_msg(ia_keyring_same(other, copy) == others[i].same, "row %zu", i);
        ia_keyring_free(other);
    }
    ia_keyring_free(copy);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, the_first_key_seals_and_all_are_found);
    tcase_add_loop_test(c, a_line_that_is_no_key_is_refused_with_its_number, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    tcase_add_test(c, an_error_holds_nothing_of_a_key);
    tcase_add_test(c, a_nul_does_not_end_the_text);
    tcase_add_test(c, a_file_of_its_owner_alone_is_read);
    tcase_add_loop_test(c, a_file_that_others_can_use_is_refused_with_the_remedy, 0,
                        (int)(sizeof open_modes / sizeof open_modes[0]));
    tcase_add_test(c, a_file_of_another_user_is_refused);
    tcase_add_test(c, what_is_no_file_is_refused_and_never_waited_for);
    tcase_add_test(c, a_copy_has_the_same_keys_and_other_keys_are_noticed);
}

int main(void)
{
    return run_suite("psk keyring", cases);
}
