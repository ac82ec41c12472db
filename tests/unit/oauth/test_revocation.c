// SPDX-License-Identifier: ISC
#include "oauth/revocation.h"

#include "common/siphash.h"
#include "fixture.h"
#include "mint.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

/* Appendix A of the SipHash paper: the key 00 01 … 0f, the text 00 01 … 0e. */
START_TEST(siphash_is_that_of_its_paper)
{
    const struct ia_siphash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0F0E0D0C0B0A0908)};
    uint8_t text[15];
    for (uint8_t i = 0; i < sizeof text; i++)
        text[i] = i;
    ck_assert(ia_siphash(&key, text, sizeof text) == UINT64_C(0xA129CA6149BE45E5));
    ck_assert(ia_siphash(&key, text, 0) == UINT64_C(0x726FDB47DD0E0E31));
    ck_assert(ia_siphash(&key, text, 8) == UINT64_C(0x93F5F5799A932462));
}
END_TEST

static struct ia_issuer_set *issuers;

static struct ia_token *token_with(const char *more)
{
    struct ia_token *made = NULL;
    char *payload = mint_text("{" CLAIMS ",\"client_id\":\"dash\"%s}", more), *token = fixture_token(payload);
    ck_assert_int_eq(fixture_verify(issuers, token, &made, NULL), IA_R_NONE);
    free(payload);
    free(token);
    return made;
}

static enum ia_reason check_at(const struct ia_revocation *rows, size_t n, const struct ia_token *token, int64_t now,
                               char detail[IA_DETAIL_MAX])
{
    struct ia_revocation_set *set = NULL;
    struct ia_err err = {0};
    ck_assert_int_eq(ia_revocations_build(rows, n, &set, &err), IA_OK);
    enum ia_reason reason = ia_revocations_check(set, token, now, detail);
    ia_revocations_free(set);
    return reason;
}

static const struct {
    const char *label, *claim, *value, *claims;
    bool revoked;
} rows[] = {
    {"by jti", "/jti", "t-1", ",\"jti\":\"t-1\"", true},
    {"another jti", "/jti", "t-2", ",\"jti\":\"t-1\"", false},
    {"the value in another claim", "/jti", "t-1", ",\"sub\":\"t-1\"", false},
    {"case counts", "/jti", "T-1", ",\"jti\":\"t-1\"", false},
    {"a prefix", "/jti", "t", ",\"jti\":\"t-1\"", false},
    {"a value is no pattern", "/jti", "*", ",\"jti\":\"t-1\"", false},
    {"nor is %", "/jti", "%", ",\"jti\":\"t-1\"", false},
    {"a text with what no topic level may hold", "/sub", "auth0|a/b+c", ",\"sub\":\"auth0|a/b+c\"", true},
    {"nested", "/act/sub", "admin", ",\"act\":{\"sub\":\"admin\"}", true},
    {"any element of an array", "/amr", "otp", ",\"amr\":[\"pwd\",\"otp\"]", true},
    {"one element of an array", "/amr/1", "otp", ",\"amr\":[\"pwd\",\"otp\"]", true},
    {"another element", "/amr/0", "otp", ",\"amr\":[\"pwd\",\"otp\"]", false},
    {"an array in an array is no element", "/amr", "otp", ",\"amr\":[[\"otp\"]]", false},
    {"an object's member in an array", "/x/0/id", "7", ",\"x\":[{\"id\":7}]", true},
    {"a whole number", "/uid", "42", ",\"uid\":42", true},
    {"a whole number as a text", "/uid", "42", ",\"uid\":\"42\"", true},
    {"a truth value", "/bot", "true", ",\"bot\":true", true},
    {"a real number is no value", "/uid", "42.5", ",\"uid\":42.5", false},
    {"null is no value", "/uid", "null", ",\"uid\":null", false},
    {"an object is no value", "/x", "{}", ",\"x\":{}", false},
    {"a name with slashes", "/https:~1~1p~1t", "acme", ",\"https://p/t\":\"acme\"", true},
    {"audience", "/aud", "mqtt", "", true},
};

START_TEST(revocation_rows_decide_as_listed)
{
    const struct ia_revocation row = {
        .id = 7, .issuer = "idp", .claim = rows[_i].claim, .value = rows[_i].value, .issued_before = NOW};
    char detail[IA_DETAIL_MAX] = "";
    struct ia_token *token = token_with(rows[_i].claims);
    enum ia_reason reason = check_at(&row, 1, token, NOW, detail);
    ck_assert_msg(reason == (rows[_i].revoked ? IA_R_TOKEN_REVOKED : IA_R_NONE), "%s", rows[_i].label);
    ck_assert_str_eq(detail, rows[_i].revoked ? "token_revocation 7" : "");
    ia_token_free(token);
}
END_TEST

START_TEST(issue_and_end_decide)
{
    struct ia_revocation row = {.id = 1, .issuer = "idp", .claim = "/jti", .value = "x", .issued_before = NOW - 10};
    char detail[IA_DETAIL_MAX];
    struct ia_token *before = token_with(",\"jti\":\"x\",\"iat\":1699999990"),
                    *after = token_with(",\"jti\":\"x\",\"iat\":1699999991"), *without = token_with(",\"jti\":\"x\"");
    ck_assert_int_eq(check_at(&row, 1, before, NOW, detail), IA_R_TOKEN_REVOKED);
    ck_assert_int_eq(check_at(&row, 1, after, NOW, detail), IA_R_NONE);
    ck_assert_int_eq(check_at(&row, 1, without, NOW, detail), IA_R_TOKEN_REVOKED);
    row.until = NOW + 5;
    ck_assert_int_eq(check_at(&row, 1, before, NOW + 4, detail), IA_R_TOKEN_REVOKED);
    ck_assert_int_eq(check_at(&row, 1, before, NOW + 5, detail), IA_R_NONE);
    ia_token_free(before);
    ia_token_free(after);
    ia_token_free(without);
}
END_TEST

START_TEST(issuer_of_the_row_decides)
{
    struct ia_revocation row = {.id = 1, .issuer = "other", .claim = "/jti", .value = "x", .issued_before = NOW};
    char detail[IA_DETAIL_MAX];
    struct ia_token *token = token_with(",\"jti\":\"x\"");
    ck_assert_int_eq(check_at(&row, 1, token, NOW, detail), IA_R_NONE);
    row = (struct ia_revocation){.id = 1, .issuer = "other", .claim = "", .value = "", .unreadable = true};
    ck_assert_int_eq(check_at(&row, 1, token, NOW, detail), IA_R_NONE);
    row.issuer = "idp"; /* which token it meant is not known: all of them */
    ck_assert_int_eq(check_at(&row, 1, token, NOW, detail), IA_R_TOKEN_REVOKED);
    ck_assert_int_eq(check_at(NULL, 0, token, NOW, detail), IA_R_NONE);
    ck_assert_int_eq(ia_revocations_check(NULL, token, NOW, detail), IA_R_NONE);
    ia_token_free(token);
}
END_TEST

START_TEST(each_of_many_rows_is_found)
{
    enum { MANY = 100000 };
    struct ia_revocation *many = calloc(MANY, sizeof *many);
    char(*names)[12] = calloc(MANY, sizeof *names);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "j%d", i);
        many[i] = (struct ia_revocation){
            .id = i + 1, .issuer = "idp", .claim = "/jti", .value = names[i], .issued_before = NOW};
    }
    struct ia_revocation_set *set = NULL;
    ck_assert_int_eq(ia_revocations_build(many, MANY, &set, NULL), IA_OK);
    for (int i = 0; i < MANY + 2000; i += 1000) {
        char detail[IA_DETAIL_MAX] = "", claims[48], wanted[48] = "";
        snprintf(claims, sizeof claims, ",\"jti\":\"j%d\"", i);
        if (i < MANY)
            snprintf(wanted, sizeof wanted, "token_revocation %d", i + 1);
        struct ia_token *token = token_with(claims);
        ck_assert_int_eq(ia_revocations_check(set, token, NOW, detail), i < MANY ? IA_R_TOKEN_REVOKED : IA_R_NONE);
        ck_assert_str_eq(detail, wanted);
        ia_token_free(token);
    }
    ia_revocations_free(ia_revocations_ref(set));
    ia_revocations_free(set);
    free(names);
    free(many);
}
END_TEST

/* No number of claims hides one: a token with more than IA_CLAIMS_MAX is revoked by its last. */
START_TEST(late_claim_of_a_full_token_is_found)
{
    const struct ia_revocation row = {.id = 1, .issuer = "idp", .claim = "/jti", .value = "x", .issued_before = NOW};
    char many[4096] = ",\"groups\":[\"g\"", detail[IA_DETAIL_MAX];
    for (int i = 0; i < 500; i++)
        strcat(many, ",\"g\"");
    strcat(many, "],\"a\":{\"b\":1},\"jti\":\"x\"");
    struct ia_token *token = token_with(many);
    ck_assert_int_eq(check_at(&row, 1, token, NOW, detail), IA_R_TOKEN_REVOKED);
    ia_token_free(token);
}
END_TEST

static void set_up(void)
{
    issuers = fixture_one(fixture_spec());
}

static void tear_down(void)
{
    ia_issuer_set_free(issuers);
}

int main(void)
{
    Suite *s = suite_create("revocation");
    TCase *c = tcase_create("revocation");
    tcase_set_timeout(c, 20);
    tcase_add_unchecked_fixture(c, set_up, tear_down);
    tcase_add_test(c, siphash_is_that_of_its_paper);
    tcase_add_loop_test(c, revocation_rows_decide_as_listed, 0, ROWS(rows));
    tcase_add_test(c, issue_and_end_decide);
    tcase_add_test(c, issuer_of_the_row_decides);
    tcase_add_test(c, each_of_many_rows_is_found);
    tcase_add_test(c, late_claim_of_a_full_token_is_found);
    suite_add_tcase(s, c);
    return run_suite(s);
}
