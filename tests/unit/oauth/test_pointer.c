// SPDX-License-Identifier: ISC
#include "oauth/pointer.h"

#include "mint.h"
#include "suite.h"

#include <string.h>

/* RFC 6901 section 5's document, and claims of real providers. */
#define RFC                                                                                                            \
    "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,"     \
    "\"m~n\":8,\"~1\":9,\"nil\":null,\"-\":10,\"01\":11,\"o\":{\"0\":12,\"\":13}}"
#define KEYCLOAK                                                                                                       \
    "{\"realm_access\":{\"roles\":[\"admin\"]},\"resource_access\":{\"mqtt\":{\"roles\":[\"read\"]}},"                 \
    "\"cognito:groups\":[\"g\"],\"https://plant.example/roles\":[\"r\"]}"

/* What a pointer names, as compact JSON; NULL: nothing. */
static const struct {
    const char *document, *pointer, *value;
} gets[] = {
    {RFC, "/foo", "[\"bar\",\"baz\"]"},
    {RFC, "/foo/0", "\"bar\""},
    {RFC, "/foo/1", "\"baz\""},
    {RFC, "/", "0"},
    {RFC, "/a~1b", "1"},
    {RFC, "/c%d", "2"},
    {RFC, "/e^f", "3"},
    {RFC, "/g|h", "4"},
    {RFC, "/i\\j", "5"},
    {RFC, "/k\"l", "6"},
    {RFC, "/ ", "7"},
    {RFC, "/m~0n", "8"},
    {RFC, "/~01", "9"}, /* ~01 is ~1, not a slash */
    {RFC, "/-", "10"},
    {RFC, "/01", "11"}, /* a member, where the value is an object */
    {RFC, "/o/0", "12"},
    {RFC, "/o/", "13"},
    {RFC, "/foo/2", NULL},
    {RFC, "/foo/-", NULL},
    {RFC, "/foo/01", NULL},
    {RFC, "/foo/-1", NULL},
    {RFC, "/foo/+1", NULL},
    {RFC, "/foo/1e0", NULL},
    {RFC, "/foo/ 1", NULL},
    {RFC, "/foo/", NULL},
    {RFC, "/foo/18446744073709551616", NULL}, /* 0 where it wraps */
    {RFC, "/foo/0/0", NULL},
    {RFC, "/FOO", NULL},
    {RFC, "/nil", NULL}, /* null is absent */
    {RFC, "/nil/x", NULL},
    {RFC, "/absent/x", NULL},
    {RFC, "//", NULL},
    {KEYCLOAK, "/realm_access/roles", "[\"admin\"]"},
    {KEYCLOAK, "/resource_access/mqtt/roles/0", "\"read\""},
    {KEYCLOAK, "/cognito:groups", "[\"g\"]"},
    {KEYCLOAK, "/https:~1~1plant.example~1roles", "[\"r\"]"},
};

START_TEST(pointer_rows_name_as_listed)
{
    struct ia_pointer *pointer = NULL;
    struct ia_err err = {0};
    json_t *document = json_loads(gets[_i].document, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(ia_pointer_parse(gets[_i].pointer, &pointer, &err) == IA_OK, "%s", err.msg);
    const json_t *value = ia_pointer_get(pointer, document);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    ck_assert_msg(gets[_i].value ? text && strcmp(text, gets[_i].value) == 0 : !text, "%s: %s", gets[_i].pointer,
                  text ? text : "nothing");
    free(text);
    ia_pointer_free(pointer);
    json_decref(document);
}
END_TEST

static const struct {
    const char *pointer, *words;
} refused[] = {
    {"", "is empty"},
    {"scope", "no slash at its start"},
    {"#/scope", "no slash at its start"},
    {" /scope", "no slash at its start"},
    {"/a~", "neither ~0 nor ~1"},
    {"/a~2b", "neither ~0 nor ~1"},
    {"/a~/b", "neither ~0 nor ~1"},
    {"/a\nb", "control character"},
    {"/a\x7f", "control character"},
    {"/a\xC3", "UTF-8"},
    {"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "deeper than 16"},
};

START_TEST(pointer_that_is_none_is_refused)
{
    struct ia_pointer *pointer = NULL;
    struct ia_err err = {0};
    ck_assert_int_eq(ia_pointer_parse(refused[_i].pointer, &pointer, &err), IA_FORMAT);
    ck_assert_ptr_null(pointer);
    ck_assert_msg(strstr(err.msg, refused[_i].words), "%s", err.msg);
}
END_TEST

START_TEST(pointer_of_512_bytes_and_16_levels_is_the_largest)
{
    for (int len = IA_POINTER_MAX; len <= IA_POINTER_MAX + 1; len++) {
        struct ia_pointer *pointer = NULL;
        char *text = mint_text("/%0*d", len - 1, 7);
        ck_assert_int_eq(ia_pointer_parse(text, &pointer, NULL), len == IA_POINTER_MAX ? IA_OK : IA_FORMAT);
        ia_pointer_free(pointer);
        free(text);
    }
    struct ia_pointer *deep = NULL;
    ck_assert_int_eq(ia_pointer_parse("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", &deep, NULL), IA_OK);
    json_t *document = json_loads("{\"1\":{\"2\":7}}", 0, NULL);
    ck_assert_ptr_null(ia_pointer_get(deep, document));
    json_decref(document);
    ia_pointer_free(deep);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pointer");
    TCase *c = tcase_create("pointer");
    tcase_add_loop_test(c, pointer_rows_name_as_listed, 0, ROWS(gets));
    tcase_add_loop_test(c, pointer_that_is_none_is_refused, 0, ROWS(refused));
    tcase_add_test(c, pointer_of_512_bytes_and_16_levels_is_the_largest);
    suite_add_tcase(s, c);
    return run_suite(s);
}
