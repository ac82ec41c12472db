// SPDX-License-Identifier: ISC
#include "oauth/issuer.h"

#include "fixture.h"
#include "mint.h"
#include "suite.h"

#include <string.h>

#define GOOD "{" CLAIMS ",\"client_id\":\"a\"}"

static enum ia_reason verify_good(struct ia_issuer_set *set, struct ia_token_refusal *why)
{
    char *token = fixture_token(GOOD);
    enum ia_reason reason = fixture_verify(set, token, NULL, why);
    free(token);
    return reason;
}

START_TEST(good_row_has_no_problem)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    ck_assert_str_eq(fixture_problem(), "");
    ck_assert_int_eq(verify_good(set, NULL), IA_R_NONE);
    ia_issuer_set_free(set);
}
END_TEST

/* An invalid row admits no token, and its problem says why. */
static const char *const none[] = {NULL}, *const hmac[] = {"EdDSA", "HS256"}, *const wrong_template[] = {"a+b"},
                         *const unknown_variable[] = {"${device_id}"}, *const empty_text[] = {""},
                         *const padded[] = {"mqtt", "mqtt "};

static void negative_leeway(struct ia_issuer_spec *s)
{
    s->leeway_s = -1;
}
#define BEND(function, statement)                                                                                      \
    static void function(struct ia_issuer_spec *s)                                                                     \
    {                                                                                                                  \
        statement;                                                                                                     \
    }
BEND(long_leeway, s->leeway_s = 3601)
BEND(slash_name, s->name = "a/b")
BEND(colon_name, s->name = "a:b")
BEND(empty_name, s->name = "")
BEND(empty_issuer, s->issuer = "")
BEND(blank_before, s->issuer = " " ISS)
BEND(blank_behind, s->issuer = ISS " ")
BEND(blank_inside, s->issuer = "https://idp.example/my realm")
BEND(newline_behind, s->issuer = ISS "\n")
BEND(tab_inside, s->issuer = "https://idp.example/\trealm")
BEND(no_break_space, s->issuer = ISS "\xC2\xA0")
BEND(zero_width_space, s->issuer = "https://idp\xE2\x80\x8B.example")
BEND(ideographic_space, s->issuer = "https://idp.example\xE3\x80\x80")
BEND(byte_order_mark, s->issuer = "\xEF\xBB\xBF" ISS)
BEND(padded_audience, (s->audience = padded, s->n_audience = 2))
BEND(no_audience, s->n_audience = 0)
BEND(empty_audience, (s->audience = empty_text, s->n_audience = 1))
BEND(no_algorithms, s->n_algorithms = 0)
BEND(with_hmac, s->algorithms = hmac)
BEND(null_algorithm, (s->algorithms = none, s->n_algorithms = 1))
BEND(no_types, s->n_token_types = 0)
BEND(no_templates, s->n_client_id_templates = 0)
BEND(bad_template, (s->client_id_templates = wrong_template, s->n_client_id_templates = 1))
BEND(unknown_template, (s->client_id_templates = unknown_variable, s->n_client_id_templates = 1))
BEND(empty_claim, s->app_id_claim = "")
BEND(bad_pointer, s->app_id_claim = "/ext~2/app")
BEND(bad_tenant, s->tenant = "a/b")

static const struct {
    const char *label;
    void (*bend)(struct ia_issuer_spec *s);
    const char *problem;
} rows[] = {
    {"negative leeway", negative_leeway, "leeway_s"},
    {"leeway above an hour", long_leeway, "leeway_s"},
    {"slash in the name: two topic levels", slash_name, "name"},
    {"colon in the name: app:a:b:c would be two principals", colon_name, "name"},
    {"empty name", empty_name, "name"},
    {"empty issuer", empty_issuer, "issuer"},
    {"blank before the issuer", blank_before, "issuer: holds a blank"},
    {"blank behind the issuer", blank_behind, "issuer: holds a blank"},
    {"blank in the issuer", blank_inside, "issuer: holds a blank"},
    {"newline behind the issuer", newline_behind, "issuer: holds a blank"},
    {"tab in the issuer", tab_inside, "issuer: holds a blank"},
    {"no-break space behind the issuer", no_break_space, "issuer: holds a blank"},
    {"zero-width space in the issuer", zero_width_space, "issuer: holds a blank"},
    {"ideographic space behind the issuer", ideographic_space, "issuer: holds a blank"},
    {"byte order mark before the issuer", byte_order_mark, "issuer: holds a blank"},
    {"blank behind an audience", padded_audience, "audience: an entry begins or ends"},
    {"no audience: any token of that provider", no_audience, "audience"},
    {"empty audience", empty_audience, "audience"},
    {"no algorithms", no_algorithms, "algorithms"},
    {"HMAC among the algorithms", with_hmac, "algorithms"},
    {"NULL among the algorithms", null_algorithm, "algorithms"},
    {"no token types", no_types, "token_types"},
    {"no client id templates", no_templates, "client_id_templates"},
    {"template that does not parse", bad_template, "template 'a+b'"},
    {"template with a variable of devices", unknown_template, "does not exist"},
    {"empty app_id_claim", empty_claim, "app_id_claim"},
    {"app_id_claim that is no pointer", bad_pointer, "app_id_claim: pointer"},
    {"tenant that is no value", bad_tenant, "tenant"},
};

START_TEST(invalid_row_admits_no_token_and_says_why)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    rows[_i].bend(&spec);
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_msg(strstr(fixture_problem(), rows[_i].problem), "%s: '%s'", rows[_i].label, fixture_problem());
    enum ia_reason reason = verify_good(set, &refusal);
    if (strcmp(spec.issuer, ISS) == 0)
        ck_assert_msg(reason == IA_R_ISSUER_INACTIVE, "%s", rows[_i].label);
    else
        ck_assert_msg(reason == IA_R_TOKEN_ISSUER, "%s", rows[_i].label);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(wrong_row_does_not_hold_up_the_others)
{
    struct ia_issuer_spec specs[3] = {fixture_spec(), fixture_spec(), fixture_spec()};
    specs[0].name = "bad";
    specs[0].issuer = "https://bad.example";
    specs[0].n_audience = 0;
    specs[2].name = "other";
    specs[2].issuer = "https://other.example";
    struct ia_issuer_set *set = fixture_set(specs, 3);
    ck_assert_int_eq(verify_good(set, NULL), IA_R_NONE);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(inactive_issuer_admits_no_token)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    spec.active = false;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_str_eq(fixture_problem(), "");
    ck_assert_int_eq(verify_good(set, &refusal), IA_R_ISSUER_INACTIVE);
    ck_assert_str_eq(refusal.issuer, "idp");
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(second_row_of_an_issuer_admits_no_token)
{
    struct ia_issuer_spec specs[2] = {fixture_spec(), fixture_spec()};
    struct ia_token_refusal refusal;
    specs[1].name = "again";
    struct ia_issuer_set *set = fixture_set(specs, 2);
    ck_assert_str_eq(fixture_problem(), "again: issuer: already registered as 'idp' with the same audience");
    char *token = fixture_token(GOOD);
    struct ia_token *made;
    ck_assert_int_eq(fixture_verify(set, token, &made, &refusal), IA_R_NONE);
    ck_assert_str_eq(made->issuer, "idp");
    ia_token_free(made);
    free(token);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(bad_keys_are_reported_and_good_keys_used)
{
    struct ia_issuer_spec spec = fixture_spec();
    char *jwk = mint_jwk(mint_key(IA_KEY_ED25519, 0), "k1", NULL);
    char *jwks = mint_text("{\"keys\":[{\"kid\":\"a\",\"kty\":\"oct\"},%s,{\"kid\":\"b\",\"kty\":\"X\"}]}", jwk);
    spec.jwks = jwks;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_str_eq(fixture_problem(), "idp: key 'a': is symmetric: whoever can verify with it could sign with it");
    ck_assert_str_eq(fixture_note(), "idp: key 'b': kty 'X' is not used here");
    ck_assert_int_eq(verify_good(set, NULL), IA_R_NONE);
    ia_issuer_set_free(set);
    free(jwk);
    free(jwks);
}
END_TEST

START_TEST(keys_that_do_not_parse_are_reported)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    spec.jwks = "<html>";
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_ptr_nonnull(strstr(fixture_problem(), "JWK set: the text is not JSON"));
    ck_assert_int_eq(verify_good(set, &refusal), IA_R_TOKEN_KEY_UNKNOWN);
    ck_assert(refusal.refresh_keys);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(issuer_without_keys_yet_asks_for_them)
{
    struct ia_issuer_spec spec = fixture_spec();
    struct ia_token_refusal refusal;
    spec.jwks = NULL;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_str_eq(fixture_problem(), "");
    ck_assert_int_eq(verify_good(set, &refusal), IA_R_TOKEN_KEY_UNKNOWN);
    ck_assert(refusal.refresh_keys);
    ck_assert_str_eq(refusal.issuer, "idp");
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(many_problems_are_cut_not_overrun)
{
    struct ia_issuer_spec spec = fixture_spec();
    char *text = mint_text("{\"keys\":[0");
    for (int i = 0; i < 99; i++) {
        char *longer = mint_text("%s,%d", text, i);
        free(text);
        text = longer;
    }
    spec.jwks = mint_text("%s]}", text);
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert_uint_eq(strlen(fixture_problem()), strlen("idp: ") + IA_ISSUER_TEXT_MAX - 1);
    ia_issuer_set_free(set);
    free(text);
    free((char *)spec.jwks);
}
END_TEST

static const struct {
    const char *principal;
    bool admitted;
} principals[] = {
    {"app:idp:board", true},    {"app:idp:a:b", true}, {"app:idp:", true},
    {"app:other:board", false}, {"app:idp", false},    {"app:", false},
    {"app::x", false},          {"idp:x", false},      {"", false},
    {"app:id:px", false},
};

START_TEST(principal_is_known_by_its_issuer)
{
    struct ia_issuer_set *set = fixture_one(fixture_spec());
    ck_assert_msg(ia_issuer_set_admits(set, principals[_i].principal) == principals[_i].admitted, "%s",
                  principals[_i].principal);
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(principal_of_an_inactive_issuer_is_not_admitted)
{
    struct ia_issuer_spec spec = fixture_spec();
    spec.active = false;
    struct ia_issuer_set *set = fixture_one(spec);
    ck_assert(!ia_issuer_set_admits(set, "app:idp:board"));
    ia_issuer_set_free(set);
}
END_TEST

START_TEST(empty_set_knows_no_issuer)
{
    struct ia_issuer_set *set = fixture_set(NULL, 0);
    ck_assert_int_eq(verify_good(set, NULL), IA_R_TOKEN_ISSUER);
    ia_issuer_set_free(set);
    ia_issuer_set_free(NULL);
}
END_TEST

int main(void)
{
    fixture_spec();
    Suite *s = suite_create("issuer");
    TCase *c = tcase_create("issuer");
    tcase_add_test(c, good_row_has_no_problem);
    tcase_add_loop_test(c, principal_is_known_by_its_issuer, 0, ROWS(principals));
    tcase_add_test(c, principal_of_an_inactive_issuer_is_not_admitted);
    tcase_add_loop_test(c, invalid_row_admits_no_token_and_says_why, 0, ROWS(rows));
    tcase_add_test(c, wrong_row_does_not_hold_up_the_others);
    tcase_add_test(c, inactive_issuer_admits_no_token);
    tcase_add_test(c, second_row_of_an_issuer_admits_no_token);
    tcase_add_test(c, bad_keys_are_reported_and_good_keys_used);
    tcase_add_test(c, keys_that_do_not_parse_are_reported);
    tcase_add_test(c, issuer_without_keys_yet_asks_for_them);
    tcase_add_test(c, many_problems_are_cut_not_overrun);
    tcase_add_test(c, empty_set_knows_no_issuer);
    suite_add_tcase(s, c);
    return run_suite(s);
}
