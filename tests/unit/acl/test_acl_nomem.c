// SPDX-License-Identifier: ISC
/* Fail the n-th allocation of a build until one succeeds: no leak (under ASan), no half-built result, and the same
 * decisions once there is memory. */
#include "acl/ip.h"
#include "acl/policy.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static long countdown = -1; /* allocations until one fails; -1: none does */

static int fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

enum { RULES = 400 };

/* Rules that use every kind of memory: nodes, leaves, long texts, several rules at one place. */
static void name_filter(char *out, size_t size, int i)
{
    if (i % 4 == 0)
        (void)snprintf(out, size, "a/%d/b", i);
    else if (i % 4 == 1)
        (void)snprintf(out, size, "a/level-longer-than-twenty-four-bytes-%d/#", i);
    else if (i % 4 == 2)
        (void)snprintf(out, size, "+/%d/${device_id}", i);
    else
        (void)snprintf(out, size, "same/+");
}

static enum ia_rc build_policy(struct ia_policy **out)
{
    static char filters[RULES][80];
    static struct ia_rule rules[RULES];
    static const char *const roles[] = {"r"};
    for (int i = 0; i < RULES; i++) {
        name_filter(filters[i], sizeof filters[i], i);
        rules[i] = (struct ia_rule){.rule_id = i,
                                    .role = "r",
                                    .allow = i % 8 < 4,
                                    .actions = 1U << (i / 8 % 3),
                                    .topic_filter = filters[i],
                                    .max_qos = 2,
                                    .allow_retain = true};
    }
    const struct ia_policy_spec spec = {.roles = roles, .n_roles = 1, .rules = rules, .n_rules = RULES};
    return ia_policy_build(&spec, NULL, out, NULL);
}

START_TEST(policy_build_without_memory_leaves_nothing)
{
    struct ia_policy *policy = NULL;
    long n = 0;
    for (;; n++) {
        countdown = n;
        enum ia_rc rc = build_policy(&policy);
        bool ran_out = countdown < 0;
        countdown = -1;
        if (!ran_out) {
            ck_assert(rc == IA_OK);
            break;
        }
        ck_assert_msg(rc == IA_NOMEM && policy == NULL, "allocation %ld", n);
    }
    ck_assert_msg(n > 10, "only %ld allocations", n);
    ia_policy_free(policy);
}
END_TEST

static enum ia_rc build_ip(struct ia_ip_set **out)
{
    static char networks[RULES][32];
    static char keys[RULES][16];
    static struct ia_ip_rule rules[RULES];
    for (int i = 0; i < RULES; i++) {
        if (i % 3)
            (void)snprintf(networks[i], sizeof networks[i], "10.%d.%d.0/24", i % 7, i % 250);
        else
            (void)snprintf(networks[i], sizeof networks[i], "2001:db8:%d:%d::/64", i % 7, i % 250);
        (void)snprintf(keys[i], sizeof keys[i], "key-%d", i % 20);
        rules[i] = (struct ia_ip_rule){
            .rule_id = i, .allow = i % 2, .network = networks[i], .scope = IA_IP_CA, .scope_key = keys[i]};
    }
    return ia_ip_set_build(rules, RULES, NULL, out, NULL);
}

START_TEST(ip_set_build_without_memory_leaves_nothing)
{
    struct ia_ip_set *set = NULL;
    long n = 0;
    for (;; n++) {
        countdown = n;
        enum ia_rc rc = build_ip(&set);
        bool ran_out = countdown < 0;
        countdown = -1;
        if (!ran_out) {
            ck_assert(rc == IA_OK);
            break;
        }
        ck_assert_msg(rc == IA_NOMEM && set == NULL, "allocation %ld", n);
    }
    ck_assert_msg(n > 5, "only %ld allocations", n);
    ia_ip_set_free(set);
}
END_TEST

/* Nothing allocates on the per-message path. */
START_TEST(checks_do_not_allocate)
{
    struct ia_policy *policy = NULL;
    struct ia_ip_set *set = NULL;
    ck_assert(build_policy(&policy) == IA_OK && build_ip(&set) == IA_OK);
    const struct ia_role *roles[] = {ia_policy_role(policy, "r")};
    const char *values[] = {"d"};
    struct ia_subject who = {.roles = roles, .n_roles = 1, .values = values};
    struct ia_ip ip = ia_ip_parse("10.1.1.7");
    struct ia_access access = {.action = IA_SUBSCRIBE, .topic = "$share/g/a/8/b"};
    countdown = 0;
    enum ia_verdict topic = ia_policy_check(policy, &who, &access, NULL);
    enum ia_verdict address = ia_ip_check(set, IA_IP_CA, "key-1", &ip, 0, NULL);
    bool allocated = countdown < 0;
    countdown = -1;
    ck_assert(!allocated);
    ck_assert(topic == IA_ALLOW && address == IA_ALLOW);
    ia_policy_free(policy);
    ia_ip_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("acl_nomem");
    TCase *c = tcase_create("acl_nomem");
    tcase_add_test(c, policy_build_without_memory_leaves_nothing);
    tcase_add_test(c, ip_set_build_without_memory_leaves_nothing);
    tcase_add_test(c, checks_do_not_allocate);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
