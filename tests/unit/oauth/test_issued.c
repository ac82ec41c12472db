// SPDX-License-Identifier: ISC
#include "common/str.h"
#include "oauth/issued.h"
#include "tests/unit/suite.h"

#include <string.h>

/* The same value is in tests/integration/test_sql_issuer_devices.py: database and broker must agree. */
#define MAKER_LAMP_1 "a0a7a4ff8028340dba38dcb866d269d8c236a4893bf741a2b75c927f3cb132f8"

START_TEST(fingerprint_is_that_of_the_database)
{
    uint8_t out[IA_ISSUED_FINGERPRINT_LEN];
    char hex[2 * IA_ISSUED_FINGERPRINT_LEN + 1];
    ck_assert(ia_issued_fingerprint("maker", "lamp-1", out));
    ia_hex(out, sizeof out, hex);
    ck_assert_str_eq(hex, MAKER_LAMP_1);
}
END_TEST

START_TEST(names_do_not_run_into_each_other)
{
    uint8_t a[IA_ISSUED_FINGERPRINT_LEN], b[IA_ISSUED_FINGERPRINT_LEN];
    ck_assert(ia_issued_fingerprint("ab", "c", a) && ia_issued_fingerprint("a", "bc", b));
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

START_TEST(names_are_bounded)
{
    char longest[IA_VALUE_MAX + 1], longer[IA_VALUE_MAX + 2];
    uint8_t out[IA_ISSUED_FINGERPRINT_LEN];
    memset(longest, 'x', sizeof longest - 1);
    memset(longer, 'x', sizeof longer - 1);
    longest[sizeof longest - 1] = longer[sizeof longer - 1] = '\0';
    ck_assert(ia_issued_fingerprint(longest, longest, out));
    ck_assert(!ia_issued_fingerprint(longer, "x", out));
    ck_assert(!ia_issued_fingerprint("x", longer, out));
}
END_TEST

static void add_cases(TCase *c)
{
    tcase_add_test(c, fingerprint_is_that_of_the_database);
    tcase_add_test(c, names_do_not_run_into_each_other);
    tcase_add_test(c, names_are_bounded);
}

int main(void)
{
    return run_suite("issued", add_cases);
}
