// SPDX-License-Identifier: ISC
/* IP allow/deny lists of one snapshot: path-compressed prefix tries.  Built once, then read-only: any thread. */
#pragma once

#include "common/error.h"
#include "common/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ia_ip_scope { IA_IP_GLOBAL, IA_IP_CA, IA_IP_DEVICE, IA_IP_ISSUER, IA_IP_SCOPES };

/* An address; an IPv4 address and its IPv4-mapped IPv6 address are the same. */
struct ia_ip {
    bool valid; /* false: not an IP address, for example a UNIX socket */
    uint8_t addr[16];
};

/* Parse a client's address as the broker writes it, with or without a zone index (`%eth0`).  `valid` is false for any
 * other text. */
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

/* Build the lists of all rules[0..n).  `problems` (may be NULL) gets each rule that cannot be used, by its rule_id.  A
 * network that does not parse makes the list of its scope and key deny everything, because a lost DENY opens access; a
 * rule without the key that its scope needs makes all lists of the scope deny.  IA_NOMEM is the only failure: *out
 * stays NULL.  Reference-counted: the caller owns one reference of *out. */
IA_MUST_USE enum ia_rc ia_ip_set_build(const struct ia_ip_rule *rules, size_t n,
                                       const struct ia_problem_callback *problems, struct ia_ip_set **out,
                                       struct ia_err *err);
struct ia_ip_set *ia_ip_set_ref(struct ia_ip_set *set);
void ia_ip_set_free(struct ia_ip_set *set);

/* May `addr` pass the list of this scope and key?  IA_ALLOW when there is no such list.  The longest prefix wins; of
 * ALLOW and DENY for the same network DENY wins.  In a list with any ALLOW rule, even an expired one, only allowed
 * addresses pass.  A client without an IP address is denied by any ALLOW rule and by any DENY rule that has not
 * expired: it could be any address.  Never allocates.  *rule_id (may be NULL) gets the rule that decided, 0 if none. */
enum ia_verdict ia_ip_check(const struct ia_ip_set *set, enum ia_ip_scope scope, const char *key,
                            const struct ia_ip *addr, int64_t now, int64_t *rule_id);

/* The time after `now` at which the next rule expires, so that decisions may change.  INT64_MAX when none does. */
int64_t ia_ip_next_expiry(const struct ia_ip_set *set, int64_t now);
