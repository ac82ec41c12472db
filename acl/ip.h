// SPDX-License-Identifier: ISC
/* IP allow/deny lists of one snapshot: path-compressed prefix tries.  Built once, then read-only: any thread. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ia_ip_scope { IA_IP_GLOBAL, IA_IP_CA, IA_IP_DEVICE, IA_IP_ISSUER, IA_IP_SCOPES };

/* An address or network; IPv4 and IPv4-mapped IPv6 are the same thing. */
struct ia_ip {
    bool valid; /* false: not an IP address at all (a UNIX socket, say) */
    uint8_t addr[16];
};

/* Parse what the broker calls a client's address, zone index (`%eth0`) included.  Sets valid = false on anything
 * else. */
struct ia_ip ia_ip_parse(const char *text);

/* One row of ip_rule (borrowed texts). */
struct ia_ip_rule {
    int64_t rule_id;
    bool allow;
    const char *network; /* CIDR text: "10.0.0.0/8", "2001:db8::/32" */
    enum ia_ip_scope scope;
    const char *scope_key; /* CA name, device id, issuer name; NULL for GLOBAL */
    int64_t expires_at;    /* seconds since 1970, 0: never */
};

struct ia_ip_set;

/* A network that does not parse is told to problem() and makes its whole scope (and key) deny: a lost DENY opens
 * access.  A rule without the key that its scope needs does so for all of the scope. */
typedef void ia_ip_problem(void *ctx, int64_t rule_id, const char *text);
IA_MUST_USE enum ia_rc ia_ip_set_build(const struct ia_ip_rule *rules, size_t n, ia_ip_problem *problem, void *ctx,
                                       struct ia_ip_set **out, struct ia_err *err);
struct ia_ip_set *ia_ip_set_ref(struct ia_ip_set *set);
void ia_ip_set_free(struct ia_ip_set *set);

/* May `addr` pass this scope (and key)?  IA_ALLOW when there is no rule for it; longest prefix wins, at equal length
 * DENY; with any ALLOW rule (expired ones count) only what is allowed passes; an address that is not an IP is IA_DENY
 * once a rule exists.  Never allocates.  *rule_id (may be NULL) gets the deciding rule, 0 if none. */
enum ia_verdict ia_ip_check(const struct ia_ip_set *set, enum ia_ip_scope scope, const char *key,
                            const struct ia_ip *addr, int64_t now, int64_t *rule_id);

/* When the next rule expires after `now`: what ia_ip_check says may then change.  INT64_MAX: none does.  Looks at all
 * of them. */
int64_t ia_ip_next_expiry(const struct ia_ip_set *set, int64_t now);
