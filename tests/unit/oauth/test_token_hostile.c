// SPDX-License-Identifier: ISC
/* Big and deep payloads: a stated outcome each (docs/apps.md, "Hostile tokens"), none opens anything. */
#include "fixture.h"
#include "mint.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ia_scope_role map = {"admin", "admin"};

static char *token_with(const char *more)
{
    char *payload = mint_text("{" CLAIMS ",\"client_id\":\"a\"%s}", more), *token = fixture_token(payload);
    free(payload);
    return token;
}

/* A token with that text `n` times in a claim. */
static char *token_of_many(const char *begin, const char *text, int n, const char *end)
{
    size_t len = strlen(text);
    char *claims = malloc(strlen(begin) + len * (size_t)n + strlen(end) + 1), *at = claims;
    at += sprintf(at, "%s", begin);
    for (int i = 0; i < n; i++, at += len)
        memcpy(at, text, len);
    strcpy(at, end);
    char *token = token_with(claims);
    free(claims);
    return token;
}

#define KIB_11 (11 * 1024)

static const struct {
    const char *label, *begin, *text;
    int n;
    const char *end;
    enum ia_reason reason;
    const char *roles; /* of an admitted token */
} big_rows[] = {
    {"5,000 roles in a text", ",\"roles\":\"", "x ", 5000, "admin\"", IA_R_NONE, "admin"},
    {"5,000 roles in an array: longer than a token may be", ",\"roles\":[", "\"a\",", 5000, "\"admin\"]",
     IA_R_TOKEN_MALFORMED, NULL},
    {"as many as fit", ",\"roles\":[", "\"x\",", 2900, "\"admin\"]", IA_R_NONE, "admin"},
    {"as many numbers as fit", ",\"roles\":[", "1,", 5000, "\"admin\"]", IA_R_NONE, "admin"},
    {"as many empty objects as fit", ",\"roles\":[", "{},", 3500, "\"admin\"]", IA_R_NONE, "admin"},
    {"5,000 roles under two pointers", ",\"roles\":\"admin\",\"twice\":\"", "x ", 5000, "\"", IA_R_TOKEN_CLAIMS, NULL},
    {"a role of 11 KiB", ",\"roles\":[\"", "x", KIB_11, "\",\"admin\"]", IA_R_NONE, "admin"},
    {"a role of 11 KiB that begins like another", ",\"roles\":[\"admin", "x", KIB_11, "\"]", IA_R_NONE, ""},
    {"an app id of 11 KiB", ",\"app\":\"", "x", KIB_11, "\"", IA_R_TOKEN_CLAIMS, NULL},
    {"a required claim of 11 KiB", ",\"must\":\"be", "e", KIB_11, "\"", IA_R_TOKEN_CLAIMS, NULL},
    {"a claim of 11 KiB that nothing reads", ",\"roles\":\"admin\",\"x\":\"", "x", KIB_11, "\"", IA_R_NONE, "admin"},
    {"a name of 11 KiB", ",\"roles\":\"admin\",\"", "x", KIB_11, "\":1", IA_R_NONE, "admin"},
    {"arrays in arrays, a level too deep", ",\"roles\":[\"admin\",", "[", 15, "]]]]]]]]]]]]]]]]", IA_R_TOKEN_MALFORMED,
     NULL},
    {"as deep as may be", ",\"roles\":[\"admin\",", "[", 14, "]]]]]]]]]]]]]]]", IA_R_NONE, "admin"},
    {"5,000 levels", ",\"x\":", "[", 5000, "", IA_R_TOKEN_MALFORMED, NULL},
};

START_TEST(big_and_deep_payloads_open_nothing)
{
    static const char *const pointers[] = {"/roles", "/twice", "/twice"};
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    struct ia_token *made = NULL;
    const char *roles[4];
    spec.scopes = &map;
    spec.n_scopes = 1;
    spec.scope_claims = pointers;
    spec.n_scope_claims = 3;
    if (strstr(big_rows[_i].begin, "\"app\""))
        spec.app_id_claim = "/app";
    if (strstr(big_rows[_i].begin, "\"must\""))
        spec.required_claims = "{\"/must\":\"be\"}";
    struct ia_issuer_set *set = fixture_one(spec);
    char *token = token_of_many(big_rows[_i].begin, big_rows[_i].text, big_rows[_i].n, big_rows[_i].end);
    enum ia_reason reason = fixture_verify(set, token, &made, &refusal);
    ck_assert_msg(reason == big_rows[_i].reason, "%s: %s %s", big_rows[_i].label, ia_reason_name(reason),
                  refusal.detail);
    if (reason == IA_R_NONE) {
        size_t n = ia_token_roles(set, made, roles, 4);
        ck_assert_msg(n == (*big_rows[_i].roles ? 1 : 0), "%s: %zu roles", big_rows[_i].label, n);
        ck_assert_ptr_null(ia_token_variable(set, made, "claim:/roles/0/0"));
        ia_token_free(made);
    }
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* The largest of the usual shapes: an access token of Keycloak with client roles and groups. */
#define KEYCLOAK                                                                                                            \
    ",\"jti\":\"onrtcc:9c3f1b0a\",\"sub\":\"5b1c\",\"typ\":\"Bearer\",\"azp\":\"dashboard\",\"sid\":\"s-1\",\"acr\":\"1\"," \
    "\"allowed-origins\":[\"https://plant.example\",\"https://other.example\"],\"realm_access\":{\"roles\":["               \
    "\"offline_access\",\"uma_authorization\",\"default-roles-plant\",\"operator\",\"shift-1\",\"shift-2\"]},"              \
    "\"resource_access\":{\"mqtt\":{\"roles\":[\"read\",\"write\"]},\"account\":{\"roles\":[\"manage-account\","            \
    "\"manage-account-links\",\"view-profile\"]}},\"scope\":\"openid mqtt email profile\",\"email_verified\":true,"         \
    "\"name\":\"A B\",\"groups\":[\"/plant/a\",\"/plant/b\",\"/plant/c\"],\"preferred_username\":\"ab\","                   \
    "\"given_name\":\"A\",\"family_name\":\"B\",\"email\":\"ab@plant.example\""

/* What a session keeps for revoke_tokens is 8 bytes for each value, and 16 for an element of an array. */
START_TEST(session_keeps_less_than_a_kibibyte_for_revocations)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made = NULL;
    char *token = token_with(KEYCLOAK);
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    ck_assert_uint_gt(made->n_marks, 40);
    ck_assert_uint_le(made->n_marks * sizeof made->marks[0], 1024);
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token_hostile");
    TCase *c = tcase_create("token_hostile");
    tcase_add_loop_test(c, big_and_deep_payloads_open_nothing, 0, ROWS(big_rows));
    tcase_add_test(c, session_keeps_less_than_a_kibibyte_for_revocations);
    suite_add_tcase(s, c);
    return run_suite(s);
}
