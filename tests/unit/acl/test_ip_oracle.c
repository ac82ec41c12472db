// SPDX-License-Identifier: ISC
/* IP look-ups against a linear scan, over random lists that are crowded on purpose: few different bits, so that
 * prefixes nest, repeat and lie next to one another, and rules that are over or not yet. */
#include "acl/ip.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW       1000
#define RULES_MAX 300
#define ROUNDS    600
#define LOOKUPS   400

struct network {
    uint8_t addr[16];
    unsigned bits; /* of 128 */
    bool v4;
};

static struct ia_ip_rule rules[RULES_MAX];
static struct network networks[RULES_MAX];
static char texts[RULES_MAX][64];

/* --- the oracle --- */

static bool bit(const uint8_t *addr, unsigned i)
{
    return addr[i / 8] >> (7 - i % 8) & 1;
}

static bool holds(const struct network *net, const uint8_t *addr, bool v4)
{
    if (net->v4 != v4)
        return false;
    for (unsigned i = 0; i < net->bits; i++)
        if (bit(net->addr, i) != bit(addr, i))
            return false;
    return true;
}

static bool is_current(const struct ia_ip_rule *rule)
{
    return rule->expires_at == 0 || NOW < rule->expires_at;
}

/* The longest prefix that is not expired, DENY before ALLOW; without one, allowed unless the list has an ALLOW. */
static enum ia_verdict decide(size_t n, const uint8_t *addr, bool v4)
{
    const struct ia_ip_rule *best = NULL;
    unsigned bits = 0;
    bool allows = false;
    for (size_t i = 0; i < n; i++) {
        allows = allows || rules[i].allow;
        if (!is_current(&rules[i]) || !holds(&networks[i], addr, v4))
            continue;
        if (best && (networks[i].bits < bits || (networks[i].bits == bits && rules[i].allow)))
            continue;
        best = &rules[i];
        bits = networks[i].bits;
    }
    if (best)
        return best->allow ? IA_ALLOW : IA_DENY;
    return allows ? IA_DENY : IA_ALLOW;
}

/* --- random lists --- */

/* The addresses of a list. */
enum families { IPV6, IPV4, BOTH, MIDDLE /* IPv6 that differs about bit 64 only, where a step must not cross */ };
static enum families families;

/* An address whose bytes have few values. */
static void random_address(uint8_t *addr, bool v4)
{
    if (families == MIDDLE) {
        memset(addr, 0x20, 16);
        addr[7] = (uint8_t)(0xF0 | (rand() & 7));
        addr[8] = (uint8_t)rand();
        return;
    }
    static const uint8_t bytes[] = {0x00, 0x01, 0x80, 0xFF, 0xFE, 0x7F};
    for (int i = 0; i < 16; i++)
        addr[i] = bytes[(size_t)rand() % (rand() % 4 ? 2 : sizeof bytes)];
    if (v4) {
        memset(addr, 0, 10);
        memset(addr + 10, 0xFF, 2);
    }
}

static void random_rule(size_t i)
{
    struct network *net = &networks[i];
    char text[INET6_ADDRSTRLEN];
    net->v4 = families == IPV4 || (families == BOTH && rand() % 2);
    net->bits = (net->v4 ? 96 : 0) + (unsigned)rand() % (net->v4 ? 33 : 129);
    if (families == MIDDLE)
        net->bits = 58 + (unsigned)rand() % 16;
    random_address(net->addr, net->v4);
    if (i > 0 && rand() % 3 == 0) {
        *net = networks[rand() % (int)i];
        net->bits += net->bits < 128 && rand() % 2;
    }
    for (unsigned b = net->bits; b < 128; b++)
        net->addr[b / 8] &= (uint8_t) ~(0x80 >> b % 8);
    if (net->v4)
        (void)inet_ntop(AF_INET, net->addr + 12, text, sizeof text);
    else
        (void)inet_ntop(AF_INET6, net->addr, text, sizeof text);
    (void)snprintf(texts[i], sizeof texts[i], "%s/%u", text, net->v4 ? net->bits - 96 : net->bits);
    static const int64_t ends[] = {0, 0, NOW + 1, NOW, NOW - 1};
    rules[i] = (struct ia_ip_rule){.rule_id = (int64_t)i + 1,
                                   .allow = rand() % 2,
                                   .network = texts[i],
                                   .scope = IA_IP_DEVICE,
                                   .scope_key = "pump-7",
                                   .expires_at = ends[rand() % 5]};
}

static void no_problem(void *ctx, int64_t rule_id, const char *text)
{
    (void)ctx;
    ck_abort_msg("rule %ld '%s': %s", rule_id, texts[rule_id - 1], text);
}

static void compare(const struct ia_ip_set *set, size_t n)
{
    for (int i = 0; i < LOOKUPS; i++) {
        struct ia_ip ip = {.valid = true};
        size_t near = (size_t)rand() % n;
        bool v4 = families != MIDDLE && rand() % 2;
        random_address(ip.addr, v4);
        if (rand() % 2) { /* in one of the networks, or one bit beside it */
            v4 = networks[near].v4;
            memcpy(ip.addr, networks[near].addr, 16);
            unsigned flip = (v4 ? 96 : 0) + (unsigned)rand() % (v4 ? 32 : 128);
            ip.addr[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
        }
        v4 = memcmp(ip.addr, "\0\0\0\0\0\0\0\0\0\0\xFF\xFF", 12) == 0;
        char text[INET6_ADDRSTRLEN];
        enum ia_verdict got = ia_ip_check(set, IA_IP_DEVICE, "pump-7", &ip, NOW, NULL);
        if (got != decide(n, ip.addr, v4))
            ck_abort_msg("%s among %zu rules: %d", inet_ntop(AF_INET6, ip.addr, text, sizeof text), n, got);
    }
}

static const struct ia_problem_callback problems = {no_problem, NULL};

START_TEST(random_lists_decide_as_a_linear_scan)
{
    families = (enum families)_i;
    srand(11 + (unsigned)_i);
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = 1 + (size_t)rand() % (round % 2 ? RULES_MAX : 12);
        for (size_t i = 0; i < n; i++)
            random_rule(i);
        struct ia_ip_set *set = NULL;
        ck_assert(ia_ip_set_build(rules, n, &problems, &set, NULL) == IA_OK);
        compare(set, n);
        ia_ip_set_free(set);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ip_oracle");
    TCase *c = tcase_create("ip_oracle");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, random_lists_decide_as_a_linear_scan, 0, MIDDLE + 1);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
