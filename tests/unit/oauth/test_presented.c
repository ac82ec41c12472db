// SPDX-License-Identifier: ISC
#include "oauth/presented.h"

#include "mint.h"
#include "suite.h"

#include <string.h>

#define H "eyJhbGciOiJSUzI1NiJ9" /* {"alg":"RS256"} */

#define SIGNED H ".e30.AA"
#define JWE                                                                                                            \
    "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a2V5.aXY.dGV4dA.dGFn" /* {"alg":"RSA-OAEP","enc":"A256GCM"} */
#define OTHER IA_PRESENTED_OTHER
#define LIKE  IA_PRESENTED_UNUSABLE
#define TOKEN IA_PRESENTED_TOKEN

/* What a password is, the token in it, and words of the detail ("": nothing is wrong so far). */
static const struct {
    const char *label, *text;
    enum ia_presented_kind kind;
    const char *token, *detail;
} passwords[] = {
    {"a token", SIGNED, TOKEN, SIGNED, ""},
    {"with an algorithm that is refused", "eyJhbGciOiJub25lIn0.e30.", TOKEN, NULL, "alg is none"},
    {"alg of a wrong type", "eyJhbGciOjF9.e30.AA", TOKEN, NULL, "no alg"},
    {"a critical extension", "eyJhbGciOiJSUzI1NiIsImNyaXQiOlsieCJdfQ.e30.AA", TOKEN, NULL, "crit"},
    {"no base64url after a JOSE header: decoded later", H ".???.???", TOKEN, H ".???.???", ""},
    {"empty", "", OTHER, "", NULL},
    {"a password", "hunter2", OTHER, NULL, NULL},
    {"a password with two dots", "a.b.c", OTHER, NULL, NULL},
    {"words with two dots, the first decodes to a brace", "eyes.open.wide", OTHER, NULL, NULL},
    {"a host name", "device.example.com", OTHER, NULL, NULL},
    {"a long passphrase with blanks", "correct horse battery staple, and more of it", OTHER, NULL, NULL},
    {"21 characters", "2YotnFZFEjr1zCsicMWpA", OTHER, NULL, NULL},
    {"60000 characters", NULL, OTHER, NULL, NULL},
    {"an object without alg", "e30.e30.AA", OTHER, NULL, NULL},
    {"a header alone, short", H, OTHER, NULL, NULL},
    /* An administrator must see that this was meant as a token. */
    {"opaque, of RFC 6749's example", "2YotnFZFEjr1zCsicMWpAA", LIKE, NULL, "opaque"},
    {"opaque, a UUID", "f47ac10b-58cc-4372-a567-0e02b2c3d479", LIKE, NULL, "opaque"},
    {"opaque, in base64", "qWCWz1F0JXvRrU5v/7T9+A0000==", LIKE, NULL, "opaque"},
    {"opaque, with dots", "ya29.a0AfB_byC-1234567890.xyz", LIKE, NULL, "opaque"},
    {"opaque, with a prefix of its own", "ory_at_Q2F0cyBhbmQgZG9ncw.bW9yZQ", LIKE, NULL, "opaque"},
    {"one dot", H ".e30", LIKE, NULL, "2 parts"},
    {"three dots", H ".e30.AA.", LIKE, NULL, "4 parts"},
    {"six parts", H ".a.b.c.d.e", LIKE, NULL, "6 parts"},
    {"padded header", H "=.e30.AA", OTHER, NULL, NULL},
    {"JWE", JWE, TOKEN, JWE, "JWE"},
    {"five parts without a header", "a.b.c.d.e", OTHER, NULL, NULL},
    {"Bearer and a password", "Bearer hunter2", LIKE, "hunter2", "'Bearer'"},
    {"Bearer alone", "Bearer", OTHER, "Bearer", NULL},
    {"Bearer and a blank", "Bearer ", OTHER, "Bearer", NULL},
    {"Bearerless", "Bearerhunter2", OTHER, NULL, NULL},
    /* What people copy along with it. */
    {"Bearer", "Bearer " SIGNED, TOKEN, SIGNED, ""},
    {"bearer in another case, more blanks", "BEARER \t  " SIGNED, TOKEN, SIGNED, ""},
    {"newline behind it", SIGNED "\n", TOKEN, SIGNED, ""},
    {"blanks around it", " \t" SIGNED " \r\n", TOKEN, SIGNED, ""},
    {"quotes", "\"" SIGNED "\"", TOKEN, SIGNED, ""},
    {"single quotes and blanks", " ' " SIGNED " ' ", TOKEN, SIGNED, ""},
    {"quotes around all", "\"Bearer " SIGNED "\"", TOKEN, SIGNED, ""},
    {"quotes behind Bearer", "Bearer \"" SIGNED "\"", TOKEN, SIGNED, ""},
    {"one quote", "\"" SIGNED, OTHER, NULL, NULL},
    {"quotes of two kinds", "\"" SIGNED "'", OTHER, NULL, NULL},
    {"Bearer twice", "Bearer Bearer " SIGNED, LIKE, NULL, "'Bearer'"},
    {"Bearer and a JWE", "Bearer " JWE, TOKEN, JWE, "JWE"},
    {"a quote", "\"", OTHER, "\"", NULL},
    {"two quotes", "\"\"", OTHER, "", NULL},
    {"blanks", "  \t", OTHER, "", NULL},
};

START_TEST(password_rows_decide_as_listed)
{
    struct ia_presented presented;
    char *text = passwords[_i].text ? mint_text("%s", passwords[_i].text) : mint_text("%060000d", 7);
    const char *label = passwords[_i].label, *detail = passwords[_i].detail, *token = passwords[_i].token;
    ia_presented_init(&presented, text, strlen(text));
    ia_presented_parse(&presented);
    ck_assert_msg(presented.kind == passwords[_i].kind, "%s: %d", label, presented.kind);
    ck_assert_msg(!token || (presented.len == strlen(token) && memcmp(presented.text, token, presented.len) == 0),
                  "%s: '%.*s'", label, (int)presented.len, presented.text);
    ck_assert_msg((presented.reason == IA_R_NONE) == (detail && !*detail), "%s: %s", label, presented.detail);
    ck_assert_msg(!detail || strstr(presented.detail, detail), "%s: %s", label, presented.detail);
    ia_presented_clear(&presented);
    free(text);
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
