// SPDX-License-Identifier: ISC
#include "oauth/bearer.h"

#include "suite.h"

#include <string.h>

/* RFC 7628 section 3.1; `token` NULL: refused. */
static const struct {
    const char *label, *data;
    size_t len;
    const char *token;
} rows[] = {
#define ROW(label, data, token)                                                                                        \
    {                                                                                                                  \
        label, data, sizeof data - 1, token                                                                            \
    }
    ROW("bare token", "aa.bb.cc", "aa.bb.cc"),
    ROW("client response", "n,,\1auth=Bearer aa.bb.cc\1\1", "aa.bb.cc"),
    ROW("as in the RFC", "n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer a.b.c\1\1", "a.b.c"),
    ROW("channel binding possible but not used", "y,,\1auth=Bearer a.b.c\1\1", "a.b.c"),
    ROW("scheme in lower case", "n,,\1auth=bearer a.b.c\1\1", "a.b.c"),
    ROW("spaces before the token", "n,,\1auth=Bearer   a.b.c\1\1", "a.b.c"),
    ROW("nothing", "", NULL),
    ROW("channel binding demanded", "p=tls-unique,,\1auth=Bearer a.b.c\1\1", NULL),
    ROW("no auth", "n,,\1host=x\1\1", NULL),
    ROW("two auth: which one?", "n,,\1auth=Bearer a.b.c\1auth=Bearer d.e.f\1\1", NULL),
    ROW("another scheme", "n,,\1auth=Basic abc\1\1", NULL),
    ROW("no token", "n,,\1auth=Bearer \1\1", NULL),
    ROW("not ended", "n,,\1auth=Bearer a.b.c\1", NULL),
    ROW("something after the end", "n,,\1auth=Bearer a.b.c\1\1x", NULL),
    ROW("one comma", "n,\1auth=Bearer a.b.c\1\1", NULL),
    ROW("a space in the token", "n,,\1auth=Bearer a.b c\1\1", NULL),
    ROW("NUL after the token", "aa.bb.cc\0", NULL),
    ROW("password", "correct horse", NULL),
#undef ROW
};

START_TEST(bearer_rows_decide_as_listed)
{
    const char *token = NULL;
    size_t len = 0;
    /* a copy of its own, so that reading past its end is seen */
    char *data = malloc(rows[_i].len + !rows[_i].len);
    memcpy(data, rows[_i].data, rows[_i].len);
    bool found = ia_bearer_token(data, rows[_i].len, &token, &len);
    ck_assert_msg(found == (rows[_i].token != NULL), "%s", rows[_i].label);
    if (found)
        ck_assert_msg(len == strlen(rows[_i].token) && memcmp(token, rows[_i].token, len) == 0, "%s: token",
                      rows[_i].label);
    free(data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bearer");
    TCase *c = tcase_create("bearer");
    tcase_add_loop_test(c, bearer_rows_decide_as_listed, 0, ROWS(rows));
    suite_add_tcase(s, c);
    return run_suite(s);
}
