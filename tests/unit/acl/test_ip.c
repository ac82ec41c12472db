// SPDX-License-Identifier: ISC
#include "acl/ip.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1000000

/* Build the rules of a test's table, which ends with a row without a network. */
static struct ia_ip_set *built(const struct ia_ip_rule *rules)
{
    struct ia_ip_set *set = NULL;
    size_t n = 0;
    while (rules[n].network)
        n++;
    ck_assert(ia_ip_set_build(rules, n, NULL, &set, NULL) == IA_OK);
    return set;
}

/* One look-up: allowed or denied, and by which rule (0: none). */
struct expectation {
    const char *label;
    const char *address;
    bool allow;
    int64_t rule;
};

static void expect_all(const struct ia_ip_set *set, enum ia_ip_scope scope, const char *key,
                       const struct expectation *rows)
{
    for (; rows->label; rows++) {
        int64_t rule = -1;
        struct ia_ip ip = ia_ip_parse(rows->address);
        enum ia_verdict verdict = ia_ip_check(set, scope, key, &ip, NOW, &rule);
        ck_assert_msg((verdict == IA_ALLOW) == rows->allow && verdict != IA_NO_MATCH, "%s: %s", rows->label,
                      rows->address);
        ck_assert_msg(rule == rows->rule, "%s: %s by rule %ld", rows->label, rows->address, rule);
    }
}

static const struct {
    const char *text;
    bool valid;
    const char *same_as;
} addresses[] = {
    {"10.1.2.3", true, "::ffff:10.1.2.3"},
    {"::ffff:a01:203", true, "10.1.2.3"},
    {"2001:db8::1", true, "2001:DB8:0:0::1"},
    {"fe80::1%eth0", true, "fe80::1"},
    {"", false, NULL},
    {"local socket", false, NULL},
    {"10.1.2", false, NULL},
    {"010.1.2.3", false, NULL},
    {"10.1.2.3/32", false, NULL},
    {"10.1.2.3%eth0", false, NULL},
    {"fe80::1%", false, NULL},
    {"10.1.2.3 ", false, NULL},
    {"1:2:3:4:5:6:7:8:9", false, NULL},
    {"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", false, NULL},
    {NULL, false, NULL},
};

START_TEST(address_is_read_or_refused_as_listed)
{
    struct ia_ip ip = ia_ip_parse(addresses[_i].text);
    ck_assert_msg(ip.valid == addresses[_i].valid, "%s", addresses[_i].text);
    if (!ip.valid)
        return;
    struct ia_ip same = ia_ip_parse(addresses[_i].same_as);
    ck_assert_msg(memcmp(ip.addr, same.addr, sizeof ip.addr) == 0, "%s", addresses[_i].text);
}
END_TEST

START_TEST(list_without_rules_allows_every_address)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){{.network = NULL}});
    expect_all(set, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"any", "10.1.2.3", true, 0}, {"no address", "", true, 0}, {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(longest_prefix_wins_and_at_equal_length_deny)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){{1, false, "10.0.0.0/8", IA_IP_GLOBAL, NULL, 0},
                                                        {2, true, "10.1.0.0/16", IA_IP_GLOBAL, NULL, 0},
                                                        {3, false, "10.1.2.0/24", IA_IP_GLOBAL, NULL, 0},
                                                        {4, true, "10.1.2.0/24", IA_IP_GLOBAL, NULL, 0},
                                                        {5, true, "10.1.2.3/32", IA_IP_GLOBAL, NULL, 0},
                                                        {6, true, "2001:db8::/32", IA_IP_GLOBAL, NULL, 0},
                                                        {7, false, "2001:db8:bad::/48", IA_IP_GLOBAL, NULL, 0},
                                                        {0}});
    expect_all(set, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"the /8", "10.2.0.1", false, 1},
                                      {"the /16 in it", "10.1.3.4", true, 2},
                                      {"ALLOW and DENY for one /24", "10.1.2.4", false, 3},
                                      {"the host in it", "10.1.2.3", true, 5},
                                      {"mapped, as IPv4", "::ffff:10.1.2.3", true, 5},
                                      {"IPv6", "2001:db8::1", true, 6},
                                      {"IPv6, denied part", "2001:db8:bad::1", false, 7},
                                      {"not listed, but there is an ALLOW", "192.0.2.1", false, 0},
                                      {"not listed, IPv6", "2001:db9::1", false, 0},
                                      {"no address", "", false, 1},
                                      {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(deny_list_allows_addresses_outside_its_networks)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){
        {1, false, "10.0.0.0/8", IA_IP_GLOBAL, NULL, 0}, {2, false, "192.0.2.7", IA_IP_GLOBAL, NULL, 0}, {0}});
    expect_all(set, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"named", "10.2.0.1", false, 1},
                                      {"host without length", "192.0.2.7", false, 2},
                                      {"its neighbour", "192.0.2.6", true, 0},
                                      {"IPv6", "2001:db8::1", true, 0},
                                      {"no address: could be any of them", "", false, 1},
                                      {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(each_family_has_its_own_default_route)
{
    struct ia_ip_set *six = built((struct ia_ip_rule[]){{1, false, "::/0", IA_IP_GLOBAL, NULL, 0}, {0}});
    expect_all(six, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"IPv6", "2001:db8::1", false, 1},
                                      {"IPv4", "10.0.0.1", true, 0},
                                      {"mapped", "::ffff:10.0.0.1", true, 0},
                                      {0}});
    ia_ip_set_free(six);
    struct ia_ip_set *four = built((struct ia_ip_rule[]){{1, false, "0.0.0.0/0", IA_IP_GLOBAL, NULL, 0}, {0}});
    expect_all(four, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"IPv6", "2001:db8::1", true, 0},
                                      {"IPv4", "255.255.255.255", false, 1},
                                      {"mapped", "::ffff:10.0.0.1", false, 1},
                                      {0}});
    ia_ip_set_free(four);
    struct ia_ip_set *mapped =
        built((struct ia_ip_rule[]){{1, false, "::ffff:10.0.0.0/104", IA_IP_GLOBAL, NULL, 0}, {0}});
    expect_all(mapped, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"as 10/8", "10.9.9.9", false, 1}, {"beside", "11.0.0.1", true, 0}, {0}});
    ia_ip_set_free(mapped);
}
END_TEST

START_TEST(expired_rule_falls_back_to_the_next_shorter)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){{1, false, "10.0.0.0/8", IA_IP_GLOBAL, NULL, 0},
                                                        {2, true, "10.1.0.0/16", IA_IP_GLOBAL, NULL, NOW + 1},
                                                        {3, false, "10.1.1.0/24", IA_IP_GLOBAL, NULL, NOW},
                                                        {4, true, "10.2.0.0/16", IA_IP_GLOBAL, NULL, NOW - 1},
                                                        {5, false, "10.3.0.0/16", IA_IP_GLOBAL, NULL, NOW - 1},
                                                        {6, true, "10.3.0.0/16", IA_IP_GLOBAL, NULL, NOW + 9},
                                                        {0}});
    expect_all(set, IA_IP_GLOBAL, NULL,
               (struct expectation[]){{"not expired", "10.1.2.1", true, 2},
                                      {"expires now: expired", "10.1.1.1", true, 2},
                                      {"ALLOW is expired", "10.2.1.1", false, 1},
                                      {"DENY is expired, ALLOW for the same network is not", "10.3.1.1", true, 6},
                                      {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(expired_allow_does_not_open_the_list)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){
        {1, true, "10.0.0.0/8", IA_IP_CA, "acme", NOW - 5}, {2, false, "10.0.0.0/8", IA_IP_CA, "other", NOW - 5}, {0}});
    expect_all(set, IA_IP_CA, "acme",
               (struct expectation[]){{"what it allowed", "10.0.0.1", false, 0},
                                      {"anything else", "11.0.0.1", false, 0},
                                      {"no address", "", false, 0},
                                      {0}});
    expect_all(set, IA_IP_CA, "other",
               (struct expectation[]){
                   {"an expired DENY has no effect", "10.0.0.1", true, 0}, {"also for no address", "", true, 0}, {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(next_expiry_is_of_the_rule_that_expires_first)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){{1, false, "10.0.0.0/8", IA_IP_GLOBAL, NULL, 0},
                                                        {2, true, "10.1.0.0/16", IA_IP_CA, "acme", NOW + 9},
                                                        {3, true, "10.1.0.0/16", IA_IP_CA, "acme", NOW + 2},
                                                        {4, false, "::/0", IA_IP_DEVICE, "dev", NOW + 5},
                                                        {5, false, "10.3.0.0/16", IA_IP_ISSUER, "corp", NOW},
                                                        {0}});
    ck_assert_int_eq(ia_ip_next_expiry(set, NOW - 1), NOW);
    ck_assert_int_eq(ia_ip_next_expiry(set, NOW), NOW + 5); /* not rule 3: rule 2 for the same network expires later */
    ck_assert_int_eq(ia_ip_next_expiry(set, NOW + 5), NOW + 9);
    ck_assert_int_eq(ia_ip_next_expiry(set, NOW + 9), INT64_MAX);
    ia_ip_set_free(set);
}
END_TEST

START_TEST(scopes_and_keys_are_independent)
{
    struct ia_ip_set *set = built((struct ia_ip_rule[]){{1, false, "10.0.0.0/8", IA_IP_CA, "acme", 0},
                                                        {2, true, "10.0.0.0/8", IA_IP_DEVICE, "acme", 0},
                                                        {3, false, "11.0.0.0/8", IA_IP_ISSUER, "acme", 0},
                                                        {0}});
    expect_all(set, IA_IP_CA, "acme", (struct expectation[]){{"CA", "10.0.0.1", false, 1}, {0}});
    expect_all(set, IA_IP_CA, "acme2", (struct expectation[]){{"another CA", "10.0.0.1", true, 0}, {0}});
    expect_all(set, IA_IP_DEVICE, "acme",
               (struct expectation[]){{"device", "10.0.0.1", true, 2}, {"elsewhere", "11.0.0.1", false, 0}, {0}});
    expect_all(set, IA_IP_ISSUER, "acme",
               (struct expectation[]){{"issuer", "11.0.0.1", false, 3}, {"elsewhere", "10.0.0.1", true, 0}, {0}});
    expect_all(set, IA_IP_GLOBAL, NULL, (struct expectation[]){{"global", "10.0.0.1", true, 0}, {0}});
    expect_all(set, IA_IP_GLOBAL, "acme", (struct expectation[]){{"global ignores a key", "10.0.0.1", true, 0}, {0}});
    expect_all(set, IA_IP_CA, NULL, (struct expectation[]){{"no key to ask for", "12.0.0.1", false, 0}, {0}});
    ck_assert(ia_ip_check(set, IA_IP_CA, "acme", NULL, NOW, NULL) == IA_DENY);
    ck_assert(ia_ip_check(set, IA_IP_SCOPES, "acme", NULL, NOW, NULL) == IA_DENY);
    ia_ip_set_free(set);
}
END_TEST

/* Networks that do not parse: a lost DENY opens access, so their list denies everything. */
static const char *const invalid_networks[] = {
    "",
    "x",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/",
    "10.0.0.0/8x",
    "10.0.0/8",
    "10.0.0.1/8",
    "::1/64",
    "2001:db8::/129",
    "::/00",
    "10.0.0.0/08",
    "fe80::%eth0/64",
    "10.0.0.0 /8",
    "00000000000000000000000000000000000000000000000::/0",
};

static void note_problem(void *ctx, int64_t rule_id, const char *text)
{
    ck_assert(text[0] != '\0');
    *(int64_t *)ctx = rule_id;
}

START_TEST(invalid_network_closes_its_list_only)
{
    int64_t reported = 0;
    const struct ia_problem_callback problems = {note_problem, &reported};
    struct ia_ip_set *set = NULL;
    struct ia_ip_rule rules[] = {{4, true, "10.0.0.0/8", IA_IP_CA, "acme", 0},
                                 {5, false, invalid_networks[_i], IA_IP_CA, "acme", NOW - 1},
                                 {6, false, "11.0.0.0/8", IA_IP_CA, "other", 0}};
    ck_assert(ia_ip_set_build(rules, 3, &problems, &set, NULL) == IA_OK);
    ck_assert_msg(reported == 5, "%s", invalid_networks[_i]);
    expect_all(set, IA_IP_CA, "acme", (struct expectation[]){{"closed", "10.0.0.1", false, 5}, {0}});
    expect_all(set, IA_IP_CA, "other", (struct expectation[]){{"not affected", "10.0.0.1", true, 0}, {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(rule_without_its_key_closes_its_scope)
{
    int64_t reported = 0;
    const struct ia_problem_callback problems = {note_problem, &reported};
    struct ia_ip_set *set = NULL;
    struct ia_ip_rule rules[] = {{4, false, "10.0.0.0/8", IA_IP_DEVICE, NULL, 0}};
    ck_assert(ia_ip_set_build(rules, 1, &problems, &set, NULL) == IA_OK);
    ck_assert_int_eq(reported, 4);
    expect_all(set, IA_IP_DEVICE, "any", (struct expectation[]){{"closed", "192.0.2.1", false, 4}, {0}});
    expect_all(set, IA_IP_CA, "any", (struct expectation[]){{"not affected", "192.0.2.1", true, 0}, {0}});
    ia_ip_set_free(set);
}
END_TEST

START_TEST(set_outlives_its_rules_and_lives_until_the_last_reference)
{
    char network[] = "10.0.0.0/8";
    char key[] = "acme";
    struct ia_ip_rule rule = {1, false, network, IA_IP_CA, key, 0};
    struct ia_ip_set *set = NULL;
    ck_assert(ia_ip_set_build(&rule, 1, NULL, &set, NULL) == IA_OK);
    memset(network, 'x', sizeof network - 1);
    memset(key, 'x', sizeof key - 1);
    ck_assert(ia_ip_set_ref(set) == set);
    ia_ip_set_free(set);
    expect_all(set, IA_IP_CA, "acme", (struct expectation[]){{"still there", "10.0.0.1", false, 1}, {0}});
    ia_ip_set_free(set);
    ia_ip_set_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ip");
    TCase *c = tcase_create("ip");
    tcase_add_loop_test(c, address_is_read_or_refused_as_listed, 0, (int)(sizeof addresses / sizeof addresses[0]));
    tcase_add_test(c, list_without_rules_allows_every_address);
    tcase_add_test(c, longest_prefix_wins_and_at_equal_length_deny);
    tcase_add_test(c, deny_list_allows_addresses_outside_its_networks);
    tcase_add_test(c, each_family_has_its_own_default_route);
    tcase_add_test(c, expired_rule_falls_back_to_the_next_shorter);
    tcase_add_test(c, expired_allow_does_not_open_the_list);
    tcase_add_test(c, next_expiry_is_of_the_rule_that_expires_first);
    tcase_add_test(c, scopes_and_keys_are_independent);
    tcase_add_loop_test(c, invalid_network_closes_its_list_only, 0,
                        (int)(sizeof invalid_networks / sizeof invalid_networks[0]));
    tcase_add_test(c, rule_without_its_key_closes_its_scope);
    tcase_add_test(c, set_outlives_its_rules_and_lives_until_the_last_reference);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
