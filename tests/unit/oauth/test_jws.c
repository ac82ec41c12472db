// SPDX-License-Identifier: ISC
#include "oauth/jws.h"

#include "mint.h"
#include "suite.h"

#include <string.h>

#define DEEP16 "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]" /* one level too many inside the header object */

/* Headers, the rest of the token being fine. */
static const struct {
    const char *label, *header;
    enum ia_reason reason;
} headers[] = {
    {"plain", "{\"alg\":\"RS256\",\"kid\":\"k\"}", IA_R_NONE},
    {"without kid: for others to judge", "{\"alg\":\"RS256\"}", IA_R_NONE},
    {"white space", " {\"alg\" : \"ES256\"}\n", IA_R_NONE},
    {"keys of its own are ignored, not followed",
     "{\"alg\":\"RS256\",\"jku\":\"http://x\",\"jwk\":{},\"x5u\":\"http://x\",\"x5c\":[\"x\"]}", IA_R_NONE},
    {"none: no signature at all", "{\"alg\":\"none\"}", IA_R_TOKEN_ALGORITHM},
    {"None", "{\"alg\":\"None\"}", IA_R_TOKEN_ALGORITHM},
    {"HMAC: signed with what everybody can read", "{\"alg\":\"HS256\"}", IA_R_TOKEN_ALGORITHM},
    {"case counts", "{\"alg\":\"rs256\"}", IA_R_TOKEN_ALGORITHM},
    {"empty alg", "{\"alg\":\"\"}", IA_R_TOKEN_ALGORITHM},
    {"no alg", "{\"kid\":\"k\"}", IA_R_TOKEN_MALFORMED},
    {"alg is a list", "{\"alg\":[\"RS256\"]}", IA_R_TOKEN_MALFORMED},
    {"alg with a NUL", "{\"alg\":\"RS256\\u0000\"}", IA_R_TOKEN_MALFORMED},
    {"crit: an extension that must be understood", "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", IA_R_TOKEN_MALFORMED},
    {"crit with b64", "{\"alg\":\"RS256\",\"b64\":false,\"crit\":[\"b64\"]}", IA_R_TOKEN_MALFORMED},
    {"empty crit", "{\"alg\":\"RS256\",\"crit\":[]}", IA_R_TOKEN_MALFORMED},
    {"kid is a number", "{\"alg\":\"RS256\",\"kid\":1}", IA_R_TOKEN_MALFORMED},
    {"kid null is absent", "{\"alg\":\"RS256\",\"kid\":null}", IA_R_NONE},
    {"typ is a number", "{\"alg\":\"RS256\",\"typ\":1}", IA_R_TOKEN_MALFORMED},
    {"alg twice: which one?", "{\"alg\":\"RS256\",\"alg\":\"ES256\"}", IA_R_TOKEN_MALFORMED},
    {"alg twice, once escaped", "{\"alg\":\"RS256\",\"\\u0061lg\":\"ES256\"}", IA_R_TOKEN_MALFORMED},
    {"something after it", "{\"alg\":\"RS256\"}x", IA_R_TOKEN_MALFORMED},
    {"two objects", "{\"alg\":\"RS256\"}{}", IA_R_TOKEN_MALFORMED},
    {"a list", "[\"alg\",\"RS256\"]", IA_R_TOKEN_MALFORMED},
    {"a string", "\"RS256\"", IA_R_TOKEN_MALFORMED},
    {"nothing", "", IA_R_TOKEN_MALFORMED},
    {"not UTF-8", "{\"alg\":\"RS256\",\"x\":\"\xFF\"}", IA_R_TOKEN_MALFORMED},
    {"deep", "{\"alg\":\"RS256\",\"x\":" DEEP16 "}", IA_R_TOKEN_MALFORMED},
    {"brackets in a string are not deep", "{\"alg\":\"RS256\",\"x\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[\"}", IA_R_NONE},
};

START_TEST(header_rows_decide_as_listed)
{
    struct ia_jws jws = {0};
    char detail[IA_DETAIL_MAX];
    char *h = mint_base64url(headers[_i].header, strlen(headers[_i].header));
    char *text = mint_text("%s.e30.AA", h);
    enum ia_reason reason = ia_jws_parse(text, strlen(text), &jws, detail);
    ck_assert_msg(reason == headers[_i].reason, "%s: %s (%s)", headers[_i].label, ia_reason_name(reason), detail);
    ck_assert_msg((detail[0] == '\0') == (reason == IA_R_NONE), "%s: detail", headers[_i].label);
    ia_jws_clear(&jws);
    free(h);
    free(text);
}
END_TEST

#define H "eyJhbGciOiJSUzI1NiJ9" /* {"alg":"RS256"} */

/* The compact form itself. */
static const struct {
    const char *label, *text;
    enum ia_reason reason;
} forms[] = {
    {"plain", H ".e30.AA", IA_R_NONE},
    {"empty payload: a JWS all the same", H "..AA", IA_R_NONE},
    {"empty signature: for the key to judge", H ".e30.", IA_R_NONE},
    {"no dot", H, IA_R_TOKEN_MALFORMED},
    {"one dot", H ".e30", IA_R_TOKEN_MALFORMED},
    {"three dots", H ".e30.AA.", IA_R_TOKEN_MALFORMED},
    {"five parts: JWE", H ".a.b.c.d", IA_R_TOKEN_MALFORMED},
    {"empty", "", IA_R_TOKEN_MALFORMED},
    {"dots alone", "..", IA_R_TOKEN_MALFORMED},
    {"padded header", H "=.e30.AA", IA_R_TOKEN_MALFORMED},
    {"padded payload", H ".e30=.AA", IA_R_TOKEN_MALFORMED},
    {"padded signature", H ".e30.AA==", IA_R_TOKEN_MALFORMED},
    {"payload spelled another way", H ".e31.AA", IA_R_TOKEN_MALFORMED},
    {"signature spelled another way", H ".e30.AB", IA_R_TOKEN_MALFORMED},
    {"newline at the end", H ".e30.AA\n", IA_R_TOKEN_MALFORMED},
    {"space at the start", " " H ".e30.AA", IA_R_TOKEN_MALFORMED},
    {"JSON serialization", "{\"payload\":\"e30\",\"protected\":\"" H "\",\"signature\":\"AA\"}", IA_R_TOKEN_MALFORMED},
};

START_TEST(form_rows_decide_as_listed)
{
    struct ia_jws jws = {0};
    char detail[IA_DETAIL_MAX];
    enum ia_reason reason = ia_jws_parse(forms[_i].text, strlen(forms[_i].text), &jws, detail);
    ck_assert_msg(reason == forms[_i].reason, "%s: %s (%s)", forms[_i].label, ia_reason_name(reason), detail);
    ia_jws_clear(&jws);
}
END_TEST

START_TEST(parsed_jws_holds_what_was_signed)
{
    struct ia_jws jws = {0};
    char detail[IA_DETAIL_MAX];
    static const char header[] = "{\"alg\":\"ES384\",\"kid\":\"key-1\",\"typ\":\"at+jwt\"}";
    char *h = mint_base64url(header, strlen(header));
    char *text = mint_text("%s.e30.AQID", h);
    ck_assert_int_eq(ia_jws_parse(text, strlen(text), &jws, detail), IA_R_NONE);
    ck_assert_int_eq(jws.alg, IA_ALG_ES384);
    ck_assert(jws.has_kid);
    ck_assert_str_eq(jws.kid, "key-1");
    ck_assert_str_eq(jws.typ, "at+jwt");
    ck_assert_mem_eq(jws.payload, "{}", 2);
    ck_assert_uint_eq(jws.payload_len, 2);
    ck_assert_mem_eq(jws.signature, "\1\2\3", 3);
    ck_assert_uint_eq(jws.signature_len, 3);
    ck_assert_uint_eq(jws.signed_len, strlen(h) + 4);
    ck_assert_ptr_eq(jws.signed_text, text);
    ia_jws_clear(&jws);
    ck_assert_ptr_null(jws.payload);
    free(h);
    free(text);
}
END_TEST

START_TEST(token_of_16_KiB_is_the_longest)
{
    struct ia_jws jws = {0};
    char detail[IA_DETAIL_MAX];
    char *text = malloc(IA_TOKEN_MAX + 1);
    memset(text, 'A', IA_TOKEN_MAX + 1);
    memcpy(text, H ".", sizeof H);
    text[sizeof H + 1000] = '.'; /* 1000 and 15362 characters: lengths that byte strings have */
    ck_assert_int_eq(ia_jws_parse(text, IA_TOKEN_MAX, &jws, detail), IA_R_NONE);
    ia_jws_clear(&jws);
    ck_assert_int_eq(ia_jws_parse(text, IA_TOKEN_MAX + 1, &jws, detail), IA_R_TOKEN_MALFORMED);
    ck_assert_str_eq(detail, "longer than 16384 bytes");
    free(text);
}
END_TEST

START_TEST(kid_of_256_bytes_is_the_longest)
{
    for (size_t n = 256; n <= 257; n++) {
        struct ia_jws jws = {0};
        char detail[IA_DETAIL_MAX];
        char *header = mint_text("{\"alg\":\"RS256\",\"kid\":\"%0*d\"}", (int)n, 7);
        char *h = mint_base64url(header, strlen(header));
        char *text = mint_text("%s.e30.AA", h);
        ck_assert_int_eq(ia_jws_parse(text, strlen(text), &jws, detail), n == 256 ? IA_R_NONE : IA_R_TOKEN_MALFORMED);
        ia_jws_clear(&jws);
        free(header);
        free(h);
        free(text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jws");
    TCase *c = tcase_create("jws");
    tcase_add_loop_test(c, header_rows_decide_as_listed, 0, ROWS(headers));
    tcase_add_loop_test(c, form_rows_decide_as_listed, 0, ROWS(forms));
    tcase_add_test(c, parsed_jws_holds_what_was_signed);
    tcase_add_test(c, token_of_16_KiB_is_the_longest);
    tcase_add_test(c, kid_of_256_bytes_is_the_longest);
    suite_add_tcase(s, c);
    return run_suite(s);
}
