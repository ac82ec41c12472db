// SPDX-License-Identifier: ISC
/* A hostile address and a hostile list of networks: lines of text, the first is the address.  An invalid network must
 * make its list deny; a valid address, as a network, must contain itself. */
#include "acl/ip.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RULES_MAX 64
#define NOW       1000

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void note_problem(void *ctx, int64_t rule_id, const char *text)
{
    must(rule_id > 0 && text[0]);
    *(bool *)ctx = true;
}

static void check_list(const struct ia_ip_rule *rules, size_t n, const struct ia_ip *ip)
{
    struct ia_ip_set *set = NULL;
    bool bad = false;
    const struct ia_problem_callback problems = {note_problem, &bad};
    int64_t rule = -1;
    must(ia_ip_set_build(rules, n, &problems, &set, NULL) == IA_OK);
    enum ia_verdict verdict = ia_ip_check(set, IA_IP_GLOBAL, NULL, ip, NOW, &rule);
    must(verdict != IA_NO_MATCH && rule >= 0 && rule <= (int64_t)n);
    must(!bad || verdict == IA_DENY);
    must(n > 0 || verdict == IA_ALLOW);
    if (verdict == IA_ALLOW && rule)
        must(rules[rule - 1].allow && ip->valid);
    ia_ip_set_free(set);
}

/* An address without a prefix length, as a network, contains itself. */
static void check_host(const char *text, const struct ia_ip *ip)
{
    struct ia_ip_rule host = {.rule_id = 1, .network = text};
    struct ia_ip_set *set = NULL;
    int64_t rule = 0;
    must(ia_ip_set_build(&host, 1, NULL, &set, NULL) == IA_OK);
    must(ia_ip_check(set, IA_IP_GLOBAL, NULL, ip, NOW, &rule) == IA_DENY && rule == 1);
    ia_ip_set_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    must(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    struct ia_ip_rule rules[RULES_MAX];
    size_t n = 0;
    char *rest = text;
    const char *address = strsep(&rest, "\n");
    for (char *line; n < RULES_MAX && (line = strsep(&rest, "\n")) != NULL; n++)
        rules[n] = (struct ia_ip_rule){.rule_id = (int64_t)n + 1,
                                       .allow = line[0] == '!',
                                       .network = line[0] == '!' ? line + 1 : line,
                                       .expires_at = n % 3 == 2 ? NOW : 0};
    struct ia_ip ip = ia_ip_parse(address);
    check_list(rules, n, &ip);
    if (ip.valid && !strchr(address, '%'))
        check_host(address, &ip);
    free(text);
    return 0;
}
