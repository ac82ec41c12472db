// SPDX-License-Identifier: ISC
/* Claims by JSON Pointer: which values become roles and variables, what an issuer requires, and which of several rows of
 * one issuer a token belongs to. */
#include "fixture.h"
#include "mint.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

#define ID ",\"client_id\":\"a\""

static char *token_with(const char *more)
{
    char *payload = mint_text("{" CLAIMS ID "%s}", more), *token = fixture_token(payload);
    free(payload);
    return token;
}

/* ---- roles */

static const struct ia_scope_role role_map[] = {
    {"admin", "admin"}, {"read", "read"}, {"authentik Admins", "sso"}, {"1", "one"},
    {"true", "truth"},  {"deep", "deep"}, {"w\xC3\xB6rld", "utf8"},    {"a/b", "slash"},
    {"{}", "braces"},
};

/* `wanted`: the roles, separated by blanks and sorted; NULL: refused as `reason`. */
static const struct {
    const char *label, *pointer, *claims, *wanted;
} role_rows[] = {
    {"Keycloak's realm roles", "/realm_access/roles", ",\"realm_access\":{\"roles\":[\"admin\",\"offline_access\"]}",
     "admin"},
    {"Cognito's groups", "/cognito:groups", ",\"cognito:groups\":[\"read\"]", "read"},
    {"Auth0's namespaced claim", "/https:~1~1plant.example~1roles",
     ",\"https://plant.example/roles\":[\"admin\",\"read\"]", "admin read"},
    {"Zitadel's object: the names of its members", "/roles", ",\"roles\":{\"admin\":{\"1\":\"deep\"},\"read\":null}",
     "admin read"},
    {"a string is split at blanks", "/roles", ",\"roles\":\"  admin  read \"", "admin read"},
    {"a string is not split at tabs", "/roles", ",\"roles\":\"admin\\tread\"", ""},
    {"an array's strings are whole", "/roles", ",\"roles\":[\"authentik Admins\",\"admin read\"]", "sso"},
    {"an element of an array", "/groups/0", ",\"groups\":[\"admin\",\"read\"]", "admin"},
    {"an index with a leading zero names nothing", "/groups/00", ",\"groups\":[\"admin\"]", ""},
    {"an index beyond the array", "/groups/1", ",\"groups\":[\"admin\"]", ""},
    {"the element behind the last", "/groups/-", ",\"groups\":[\"admin\"]", ""},
    {"an index into an object is a name", "/groups/0", ",\"groups\":{\"0\":\"admin\"}", "admin"},
    {"numbers and booleans give nothing", "/roles", ",\"roles\":[1,true,\"read\"]", "read"},
    {"a number gives nothing", "/roles", ",\"roles\":1", ""},
    {"a boolean gives nothing", "/roles", ",\"roles\":true", ""},
    {"null gives nothing", "/roles", ",\"roles\":null", ""},
    {"what is deeper gives nothing", "/roles", ",\"roles\":[[\"admin\"],{\"admin\":1},\"read\"]", "read"},
    {"an empty object", "/roles", ",\"roles\":{}", ""},
    {"a pointer that matches nothing", "/nothing/here", ",\"roles\":[\"admin\"]", ""},
    {"a pointer through an array into a member", "/realm_access/roles", ",\"realm_access\":[\"roles\",\"admin\"]", ""},
    {"a pointer through an object in an array", "/details/0/access/roles",
     ",\"details\":[{\"access\":{\"roles\":[\"admin\"]}}]", "admin"},
    {"a name that looks like the pointer", "/realm_access/roles", ",\"realm_access/roles\":[\"admin\"]", ""},
    {"a name that looks like the escaped pointer", "/a~1b", ",\"a~1b\":[\"admin\"]", ""},
    {"a negative index", "/groups/-1", ",\"groups\":[\"admin\"]", ""},
    {"an index that no number holds", "/groups/18446744073709551616", ",\"groups\":[\"admin\"]", ""},
    {"a real number and a number beyond 64 bits elsewhere", "/roles", ",\"roles\":[1.5,\"read\"],\"x\":1e400", "read"},
    {"a role twice", "/roles", ",\"roles\":[\"read\",\"read\"]", "read"},
    {"an empty role and an empty name", "/roles", ",\"roles\":{\"\":1,\"read\":\"\"}", "read"},
    {"a role written with escapes", "/roles", ",\"roles\":[\"\\u0061dmin\"]", "admin"},
    {"a name twice after decoding", "/realm/roles", ",\"realm\":{\"roles\":[\"read\"],\"\\u0072oles\":[\"admin\"]}",
     NULL},
    {"a name twice in an object in an array", "/roles", ",\"roles\":[\"read\",{\"a\":1,\"\\u0061\":2}]", NULL},
    {"a pointer through a string", "/roles/0/x", ",\"roles\":\"admin\"", ""},
    {"UTF-8, and a slash in a value", "/roles", ",\"roles\":[\"w\xC3\xB6rld\",\"a/b\"]", "slash utf8"},
    {"scope is not read unless it is listed", "/roles", ",\"scope\":\"admin\"", ""},
    {"an unknown value beside a lone surrogate elsewhere", "/roles", ",\"roles\":[\"read\"],\"x\":\"\\ud800\"", "read"},
    {"a lone surrogate where it counts", "/roles", ",\"roles\":[\"read\",\"\\ud800\"]", NULL},
    {"a NUL in a member's name", "/roles", ",\"roles\":{\"a\\u0000\":1}", NULL},
};

START_TEST(role_rows_decide_as_listed)
{
    struct ia_issuer_spec spec = fixture_spec();
    const char *const pointers[] = {role_rows[_i].pointer}, *roles[16];
    struct ia_token_refusal refusal;
    struct ia_token *made = NULL;
    char found[128] = "";
    spec.scopes = role_map;
    spec.n_scopes = ROWS(role_map);
    spec.scope_claims = pointers;
    spec.n_scope_claims = 1;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_str_eq(fixture_problem(), "");
    char *token = token_with(role_rows[_i].claims);
    enum ia_reason reason = fixture_verify(set, token, &made, &refusal);
    if (role_rows[_i].wanted) {
        ck_assert_msg(reason == IA_R_NONE, "%s: %s", role_rows[_i].label, refusal.detail);
        size_t n = ia_token_roles(set, made, roles, 16);
        for (size_t i = 0; i < n; i++)
            snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", i ? " " : "", roles[i]);
        ck_assert_msg(strcmp(found, role_rows[_i].wanted) == 0, "%s: '%s'", role_rows[_i].label, found);
    } else {
        ck_assert_msg(reason == IA_R_TOKEN_MALFORMED, "%s: %s", role_rows[_i].label, ia_reason_name(reason));
    }
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(values_under_all_pointers_count_together)
{
    static const char *const pointers[] = {"/scope", "/resource_access/mqtt/roles", "/missing"};
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token *made = NULL;
    const char *roles[4];
    spec.scopes = role_map;
    spec.n_scopes = ROWS(role_map);
    spec.scope_claims = pointers;
    spec.n_scope_claims = 3;
    struct ia_issuer_set *set = fixture_one(spec);
    char *token =
        token_with(",\"scope\":\"read openid\",\"resource_access\":{\"mqtt\":{\"roles\":[\"admin\",\"read\"]}}");
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    ck_assert_uint_eq(ia_token_roles(set, made, roles, 4), 2);
    ck_assert_str_eq(roles[0], "admin");
    ck_assert_str_eq(roles[1], "read");
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* ---- required claims */

static const struct {
    const char *label, *required, *claims;
    const char *detail; /* NULL: admitted */
} required_rows[] = {
    {"the value is there", "{\"/token_use\":\"access\"}", ",\"token_use\":\"access\"", NULL},
    {"another value", "{\"/token_use\":\"access\"}", ",\"token_use\":\"id\"",
     "/token_use must be \"access\", and the token has \"id\""},
    {"missing", "{\"/token_use\":\"access\"}", "", "/token_use must be \"access\", and the token has nothing"},
    {"null is missing", "{\"/x\":\"a\"}", ",\"x\":null", "/x must be \"a\", and the token has nothing"},
    {"one of a list", "{\"/tid\":[\"t1\",\"t2\"]}", ",\"tid\":\"t2\"", NULL},
    {"none of a list", "{\"/tid\":[\"t1\",\"t2\"]}", ",\"tid\":\"t3\"",
     "/tid must be [\"t1\",\"t2\"], and the token has \"t3\""},
    {"any element of an array", "{\"/groups\":\"b\"}", ",\"groups\":[\"a\",\"b\"]", NULL},
    {"no element of an array", "{\"/groups\":\"c\"}", ",\"groups\":[\"a\",\"b\"]",
     "/groups must be \"c\", and the token has [\"a\",\"b\"]"},
    {"an array in an array is no element of it", "{\"/groups\":\"a\"}", ",\"groups\":[[\"a\"]]",
     "/groups must be \"a\", and the token has [[\"a\"]]"},
    {"nested", "{\"/a/b\":true}", ",\"a\":{\"b\":true}", NULL},
    {"a boolean is not its text", "{\"/a\":true}", ",\"a\":\"true\"", "/a must be true, and the token has \"true\""},
    {"a number is not its text", "{\"/a\":1}", ",\"a\":\"1\"", "/a must be 1, and the token has \"1\""},
    {"1 is not true", "{\"/a\":1}", ",\"a\":true", "/a must be 1, and the token has true"},
    {"numbers are one type", "{\"/a\":1}", ",\"a\":1.0", NULL},
    {"a member's name is no value", "{\"/a\":\"b\"}", ",\"a\":{\"b\":1}",
     "/a must be \"b\", and the token has {\"b\":1}"},
    {"no pattern", "{\"/a\":\"*\"}", ",\"a\":\"b\"", "/a must be \"*\", and the token has \"b\""},
    {"both must be there", "{\"/a\":1,\"/b\":2}", ",\"a\":1,\"b\":3", "/b must be 2, and the token has 3"},
    {"a control character is not shown", "{\"/a\":\"x\"}", ",\"a\":\"\\u0007\\n\"",
     "/a must be \"x\", and the token has \"\\u0007\\n\""},
    {"no requirement", "{}", "", NULL},
};

START_TEST(required_rows_decide_as_listed)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    spec.required_claims = required_rows[_i].required;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_msg(!*fixture_problem(), "%s: %s", required_rows[_i].label, fixture_problem());
    char *token = token_with(required_rows[_i].claims);
    enum ia_reason reason = fixture_verify(set, token, NULL, &refusal);
    const char *detail = required_rows[_i].detail;
    ck_assert_msg(reason == (detail ? IA_R_TOKEN_CLAIMS : IA_R_NONE), "%s: %s", required_rows[_i].label,
                  refusal.detail);
    ck_assert_msg(strcmp(refusal.detail, detail ? detail : "") == 0, "%s: %s", required_rows[_i].label, refusal.detail);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* A setting that cannot be read admits no token: a requirement that is lost would open what it closes. */
static const char *const bad_required[] = {
    "{\"tid\":\"a\"}",
    "{\"\":\"a\"}",
    "{\"/a\":{}}",
    "{\"/a\":[]}",
    "{\"/a\":null}",
    "{\"/a\":[[\"b\"]]}",
    "[]",
    "7",
    "{\"/a~2\":\"b\"}",
    "{\"/a\":",
    "{\"/a\":1e400}",
    "",
};

START_TEST(bad_required_claims_admit_no_token)
{
    struct ia_issuer_spec spec = fixture_spec();
    spec.required_claims = bad_required[_i];
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_msg(strstr(fixture_problem(), "required_claims: ") != NULL, "%s: %s", bad_required[_i],
                  fixture_problem());
    char *token = token_with(",\"tid\":\"a\",\"a\":\"b\"");
    ck_assert_int_eq(fixture_verify(set, token, NULL, NULL), IA_R_ISSUER_INACTIVE);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(bad_pointers_admit_no_token)
{
    static const char *const bad[] = {"", "scope", "/a~", "/a\nb"};
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < 4; i++) {
            struct ia_issuer_spec spec = fixture_spec();
            *(which ? &spec.scope_claims : &spec.audience_claims) = &bad[i];
            *(which ? &spec.n_scope_claims : &spec.n_audience_claims) = 1;
            struct ia_issuer_set *set = fixture_one(spec);
            ck_assert_ptr_nonnull(
                strstr(fixture_problem(), which ? "scope_claims: pointer" : "audience_claims: pointer"));
            char *token = token_with("");
            ck_assert_int_eq(fixture_verify(set, token, NULL, NULL), IA_R_ISSUER_INACTIVE);
            free(token);
            ia_issuer_set_free(set);
        }
    }
}
END_TEST

/* ---- audience */

static const struct {
    const char *label, *payload;
    enum ia_reason reason;
} audience_rows[] = {
    {"Cognito's client_id", "\"client_id\":\"mqtt\"", IA_R_NONE},
    {"an array", "\"client_id\":\"x\",\"ext\":{\"aud\":[\"y\",\"mqtt\"]}", IA_R_NONE},
    {"none of both", "\"client_id\":\"x\",\"ext\":{\"aud\":\"y\"}", IA_R_TOKEN_AUDIENCE},
    {"aud is not read", "\"client_id\":\"x\",\"aud\":\"mqtt\"", IA_R_TOKEN_AUDIENCE},
    {"a number", "\"client_id\":\"x\",\"ext\":{\"aud\":7}", IA_R_TOKEN_CLAIMS},
};

START_TEST(audience_rows_decide_as_listed)
{
    static const char *const pointers[] = {"/client_id", "/ext/aud"};
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    spec.audience_claims = pointers;
    spec.n_audience_claims = 2;
    struct ia_issuer_set *set = fixture_one(spec);
    char *payload = mint_text("{\"iss\":\"" ISS "\",\"exp\":1700000300,%s}", audience_rows[_i].payload);
    char *token = fixture_token(payload);
    enum ia_reason reason = fixture_verify(set, token, NULL, &refusal);
    ck_assert_msg(reason == audience_rows[_i].reason, "%s: %s (%s)", audience_rows[_i].label, ia_reason_name(reason),
                  refusal.detail);
    free(payload);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* Rows `one` (audience mqtt, https://mqtt.example/) and `two` (audience billing) of one `iss`. */
static const struct {
    const char *label, *aud, *issuer;
} shared_rows[] = {
    {"the first", "\"mqtt\"", "one"},
    {"the second", "\"billing\"", "two"},
    {"both", "[\"mqtt\",\"billing\"]", NULL},
    {"neither", "\"x\"", NULL},
    {"the second of many", "[\"x\",\"billing\"]", "two"},
    {"no string", "7", NULL},
};

START_TEST(row_is_chosen_by_issuer_and_audience)
{
    static const char *const billing[] = {"billing"};
    struct ia_issuer_spec specs[2] = {fixture_spec(), fixture_spec()};
    struct ia_token_refusal refusal;
    struct ia_token *made = NULL;
    specs[0].name = "one";
    specs[1].name = "two";
    specs[1].audience = billing;
    specs[1].n_audience = 1;
    struct ia_issuer_set *set = fixture_set(specs, 2);
    ck_assert_str_eq(fixture_problem(), "");
    char *payload = mint_text("{\"iss\":\"" ISS "\",\"exp\":1700000300" ID ",\"aud\":%s}", shared_rows[_i].aud);
    char *token = fixture_token(payload);
    enum ia_reason reason = fixture_verify(set, token, &made, &refusal);
    if (shared_rows[_i].issuer) {
        ck_assert_msg(reason == IA_R_NONE, "%s: %s", shared_rows[_i].label, refusal.detail);
        ck_assert_str_eq(made->issuer, shared_rows[_i].issuer);
    } else {
        ck_assert_msg(reason == IA_R_TOKEN_AUDIENCE, "%s: %s", shared_rows[_i].label, ia_reason_name(reason));
    }
    ia_token_free(made);
    free(payload);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* A row that comes beside the one that a live session's token fits, or changes. */
static const struct {
    const char *label, *audience, *pointer;
    enum ia_reason reason;
} second_rows[] = {
    {"another audience", "billing", NULL, IA_R_NONE},
    {"the token's other audience", "files", NULL, IA_R_TOKEN_AUDIENCE},
    {"another claim: to be verified again", "billing", "/resource", IA_R_RIGHTS_CHANGED},
};

START_TEST(token_of_a_live_session_that_fits_a_second_row_is_refused)
{
    struct ia_issuer_spec specs[2] = {fixture_spec(), fixture_spec()};
    struct ia_token_refusal refusal;
    struct ia_token *made = NULL, *again = NULL;
    int64_t expires_at;
    specs[0].name = "one";
    struct ia_issuer_set *before = fixture_set(specs, 1);
    specs[1].name = "two";
    specs[1].audience = &second_rows[_i].audience;
    specs[1].n_audience = 1;
    specs[1].audience_claims = &second_rows[_i].pointer;
    specs[1].n_audience_claims = second_rows[_i].pointer ? 1 : 0;
    struct ia_issuer_set *set = fixture_set(specs, 2);
    char *token = fixture_token("{\"iss\":\"" ISS "\",\"exp\":1700000300" ID ",\"aud\":[\"mqtt\",\"files\"]}");
    ck_assert_int_eq(fixture_verify(before, token, &made, NULL), IA_R_NONE);
    enum ia_reason reason = ia_token_revalidate(set, made, NOW, &expires_at, &refusal);
    ck_assert_msg(reason == second_rows[_i].reason, "%s: %s", second_rows[_i].label, refusal.detail);
    ck_assert_int_eq(ia_token_revalidate(before, made, NOW, &expires_at, &refusal), IA_R_NONE);
    if (reason != IA_R_TOKEN_AUDIENCE) { /* verified beside that row, it stays */
        ck_assert_int_eq(fixture_verify(set, token, &again, NULL), IA_R_NONE);
        ck_assert_int_eq(ia_token_revalidate(set, again, NOW, &expires_at, &refusal), IA_R_NONE);
    }
    ia_token_free(again);
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
    ia_issuer_set_free(before);
}
END_TEST

/* ---- lifetime */

static const struct {
    const char *label, *claims;
    enum ia_reason reason;
} lifetime_rows[] = {
    {"as long as allowed", ",\"iat\":1699999700", IA_R_NONE},
    {"a second longer", ",\"iat\":1699999699", IA_R_TOKEN_CLAIMS},
    {"no iat exceeds every limit", "", IA_R_TOKEN_CLAIMS},
};

START_TEST(lifetime_rows_decide_as_listed)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_issuer_set *unlimited = fixture_one(spec);
    struct ia_token_refusal refusal;
    struct ia_token *made = NULL;
    int64_t expires_at;
    spec.max_lifetime_s = 600;
    struct ia_issuer_set *set = fixture_one(spec);
    char *token = token_with(lifetime_rows[_i].claims);
    ck_assert_msg(fixture_verify(set, token, NULL, NULL) == lifetime_rows[_i].reason, "%s", lifetime_rows[_i].label);
    /* A live session is judged as a new one when the limit is set later. */
    ck_assert_int_eq(fixture_verify(unlimited, token, &made, NULL), IA_R_NONE);
    ck_assert_int_eq(ia_token_revalidate(set, made, NOW, &expires_at, &refusal), lifetime_rows[_i].reason);
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
    ia_issuer_set_free(unlimited);
}
END_TEST

/* ---- variables */

static const struct {
    const char *variable, *value;
} variable_rows[] = {
    {"claim.dept", "ops"},
    {"claim:/dept", "ops"},
    {"claim:/https:~1~1plant.example~1tenant", "acme"},
    {"claim.https://plant.example/tenant", "acme"},
    {"claim:/a~0b", "tilde"},
    {"claim.a~b", "tilde"},
    {"claim:/ext/site/id", "7"},
    {"claim:/ext/live", "true"},
    {"claim:/groups/1", "read"},
    {"claim:/groups/01", NULL},
    {"claim:/groups", NULL},
    {"claim:/ext", NULL},
    {"claim:/ext/ratio", NULL},
    {"claim:/ext/path", NULL}, /* no value of one topic level */
    {"claim:/none", NULL},
    {"claim.none", NULL},
    {"claim.ext", NULL},
    {"claim:", NULL},
    {"claim.", NULL},
};

START_TEST(variable_rows_decide_as_listed)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made = NULL;
    char *token = token_with(",\"dept\":\"ops\",\"https://plant.example/tenant\":\"acme\",\"a~b\":\"tilde\","
                             "\"ext\":{\"site\":{\"id\":7},\"live\":true,\"ratio\":0.5,\"path\":\"a/b\"},"
                             "\"groups\":[\"admin\",\"read\"]");
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    const char *value = ia_token_variable(set, made, variable_rows[_i].variable), *wanted = variable_rows[_i].value;
    ck_assert_msg(wanted ? value && strcmp(value, wanted) == 0 : !value, "%s: %s", variable_rows[_i].variable,
                  value ? value : "NULL");
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

/* The token's own members come first, whatever a container before them holds. */
START_TEST(full_container_does_not_displace_plain_claims)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    struct ia_token *made = NULL;
    char many[2048] = ",\"groups\":[\"g\"";
    for (int i = 0; i < 200; i++)
        strcat(many, ",\"g\"");
    strcat(many, "],\"dept\":\"ops\"");
    char *token = token_with(many);
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    ck_assert_uint_eq(made->n_claims, IA_CLAIMS_MAX);
    ck_assert_str_eq(ia_token_variable(set, made, "claim.dept"), "ops");
    ck_assert_ptr_null(ia_token_variable(set, made, "claim:/groups/199"));
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(changed_claim_settings_verify_again)
{
    static const char *const roles[] = {"/roles"};
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_issuer_set *set = fixture_one(spec);
    struct ia_token_refusal refusal;
    struct ia_token *made = NULL;
    int64_t expires_at;
    char *token = token_with("");
    ck_assert_int_eq(fixture_verify(set, token, &made, NULL), IA_R_NONE);
    for (int which = 0; which < 3; which++) {
        struct ia_issuer_spec changed = spec;
        if (which == 0)
            changed.required_claims = "{\"/tid\":\"a\"}";
        else
            *(which == 1 ? &changed.scope_claims : &changed.audience_claims) = roles;
        changed.n_scope_claims = which == 1;
        changed.n_audience_claims = which == 2;
        struct ia_issuer_set *newer = fixture_one(changed);
        ck_assert_int_eq(ia_token_revalidate(newer, made, NOW, &expires_at, &refusal), IA_R_RIGHTS_CHANGED);
        ia_issuer_set_free(newer);
    }
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token_claims");
    TCase *c = tcase_create("token_claims");
    tcase_add_loop_test(c, role_rows_decide_as_listed, 0, ROWS(role_rows));
    tcase_add_test(c, values_under_all_pointers_count_together);
    tcase_add_loop_test(c, required_rows_decide_as_listed, 0, ROWS(required_rows));
    tcase_add_loop_test(c, bad_required_claims_admit_no_token, 0, ROWS(bad_required));
    tcase_add_test(c, bad_pointers_admit_no_token);
    tcase_add_loop_test(c, audience_rows_decide_as_listed, 0, ROWS(audience_rows));
    tcase_add_loop_test(c, token_of_a_live_session_that_fits_a_second_row_is_refused, 0,
                        (int)(sizeof second_rows / sizeof second_rows[0]));
    tcase_add_loop_test(c, row_is_chosen_by_issuer_and_audience, 0, ROWS(shared_rows));
    tcase_add_loop_test(c, lifetime_rows_decide_as_listed, 0, ROWS(lifetime_rows));
    tcase_add_loop_test(c, variable_rows_decide_as_listed, 0, ROWS(variable_rows));
    tcase_add_test(c, full_container_does_not_displace_plain_claims);
    tcase_add_test(c, changed_claim_settings_verify_again);
    suite_add_tcase(s, c);
    return run_suite(s);
}
