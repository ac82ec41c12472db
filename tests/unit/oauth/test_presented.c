// SPDX-License-Identifier: ISC
#include "oauth/presented.h"

#include "mint.h"
#include "suite.h"

#include <string.h>

#define H "eyJhbGciOiJSUzI1NiJ9" /* {"alg":"RS256"} */

/* Which passwords are tokens. */
static const struct {
    const char *label, *text;
    bool token;
} passwords[] = {
    {"a token", H ".e30.AA", true},
    {"with an algorithm that is refused", "eyJhbGciOiJub25lIn0.e30.", true},
    {"alg of a wrong type", "eyJhbGciOjF9.e30.AA", true},
    {"no base64url after a JOSE header: a bad token", H ".???.???", true},
    {"empty", "", false},
    {"a password", "hunter2", false},
    {"a password with two dots", "a.b.c", false},
    {"a host name", "device.example.com", false},
    {"one dot", H ".e30", false},
    {"three dots", H ".e30.AA.", false},
    {"an object without alg", "e30.e30.AA", false},
    {"padded header", H "=.e30.AA", false},
};

START_TEST(password_rows_decide_as_listed)
{
    struct ia_presented presented;
    ia_presented_init(&presented, passwords[_i].text, strlen(passwords[_i].text));
    ia_presented_parse(&presented);
    ck_assert_msg((presented.kind == IA_PRESENTED_TOKEN) == passwords[_i].token, "%s", passwords[_i].label);
    ia_presented_clear(&presented);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("presented");
    TCase *c = tcase_create("presented");
    tcase_add_loop_test(c, password_rows_decide_as_listed, 0, ROWS(passwords));
    suite_add_tcase(s, c);
    return run_suite(s);
}
