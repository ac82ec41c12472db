// SPDX-License-Identifier: ISC
/* The cost of one address look-up, with ten prefixes in the list and with 100,000.
 *
 * 'one address' repeats the same address; 'many' uses 4096 addresses in turn, so that cache misses count as well. */
#include "acl/ip.h"
#include "bench.h"

#include <string.h>

#define CALLS     32768
#define ROUNDS    300
#define ADDRESSES 4096 /* a power of two */

struct list {
    size_t n;
    struct ia_ip_rule *rules;
    char (*texts)[64];
    struct ia_ip_set *set;
    double build_ms;
};

struct run {
    const struct ia_ip_set *set;
    struct ia_ip addresses[ADDRESSES];
    size_t different; /* a power of two */
    size_t allowed;
};

static unsigned byte(void)
{
    return (unsigned)random() & 0xFF;
}

/* Networks of /16 to /28, IPv6 /32 to /56, as in a list of providers and offices. */
static void random_network(char *out, size_t size, bool v4)
{
    unsigned bits = v4 ? 16 + (unsigned)random() % 13 : 32 + (unsigned)random() % 25;
    uint32_t low = (uint32_t)byte() << 24 | byte() << 16 | byte() << 8 | byte();
    low &= ~UINT32_C(0) << (v4 ? 32 - bits : 64 - (bits < 33 ? 33 : bits));
    if (bits == 32)
        low = 0;
    if (v4)
        (void)snprintf(out, size, "%u.%u.%u.%u/%u", low >> 24, low >> 16 & 0xFF, low >> 8 & 0xFF, low & 0xFF, bits);
    else
        (void)snprintf(out, size, "2001:%x:%x:%x::/%u", byte(), low >> 16, low & 0xFFFF, bits);
}

static void build_list(void *ctx, size_t calls)
{
    struct list *l = ctx;
    (void)calls;
    ia_ip_set_free(l->set);
    bench_need(ia_ip_set_build(l->rules, l->n, NULL, &l->set, NULL) == IA_OK, "build");
}

static struct list make_list(size_t n, bool v4)
{
    struct list l = {.n = n, .rules = calloc(n, sizeof *l.rules), .texts = calloc(n, sizeof *l.texts)};
    bench_need(l.rules && l.texts, "memory");
    for (size_t i = 0; i < n; i++) {
        random_network(l.texts[i], sizeof l.texts[i], v4);
        l.rules[i] = (struct ia_ip_rule){.rule_id = (int64_t)i + 1, .allow = i % 2, .network = l.texts[i]};
    }
    l.build_ms = bench_ns(build_list, &l, 1, 5) / 1e6;
    return l;
}

static void check_all(void *ctx, size_t calls)
{
    struct run *run = ctx;
    int64_t rule;
    for (size_t i = 0; i < calls; i++)
        run->allowed += ia_ip_check(run->set, IA_IP_GLOBAL, NULL, &run->addresses[i & (run->different - 1)], 1000,
                                    &rule) == IA_ALLOW;
}

/* Look up addresses that are in the networks of the list. */
static double measure_lookups(const struct list *list, size_t different)
{
    static struct run run;
    run.set = list->set;
    run.different = different;
    for (size_t i = 0; i < different; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s", list->texts[(size_t)random() % list->n]);
        text[strcspn(text, "/")] = '\0';
        run.addresses[i] = ia_ip_parse(text);
        bench_need(run.addresses[i].valid, "address");
    }
    return bench_ns(check_all, &run, CALLS, ROUNDS);
}

static void compare_lists(const char *family, bool v4)
{
    struct list few = make_list(10, v4);
    struct list many = make_list(100000, v4);
    for (size_t different = 1; different <= ADDRESSES; different *= ADDRESSES) {
        double small = measure_lookups(&few, different);
        double large = measure_lookups(&many, different);
        (void)printf("%s, %-18s %12.1f %12.1f %8.2f\n", family, different == 1 ? "one address" : "many", small, large,
                     large / small);
    }
    (void)printf("%s, %-18s %12.2f %12.2f\n", family, "ms to build", few.build_ms, many.build_ms);
}

int main(void)
{
    (void)printf("%-24s %12s %12s %8s\n", "ns per look-up", "10", "100000", "ratio");
    compare_lists("IPv4", true);
    compare_lists("IPv6", false);
    return EXIT_SUCCESS;
}
