// SPDX-License-Identifier: ISC
/* Verbs about roles, topic rules, grants and addresses. */
#include "cli/verb.h"

/* ---- queries */

#define ROLE_COLUMNS                                                                                                    \
    "r.role, (SELECT count(*) FROM iot_auth.role_rule u WHERE u.role = r.role) AS rules, "                              \
    "ARRAY(SELECT a.name FROM iot_auth.ca_role g JOIN iot_auth.ca a USING (ca_id) WHERE g.role = r.role "               \
    "ORDER BY a.name)::text[] AS cas, (SELECT count(*) FROM iot_auth.device_role d WHERE d.role = r.role) AS devices, " \
    "ARRAY(SELECT s.issuer_name || ' ' || s.scope FROM iot_auth.scope_role s WHERE s.role = r.role "                    \
    "ORDER BY 1)::text[] AS scopes, r.created_at"

#define RULE_COLUMNS                                                                                                   \
    "u.rule_id, u.role, u.effect, u.actions::text[] AS actions, u.topic_filter, u.max_qos, u.allow_retain, u.problem"

static const struct ia_query roles_query[] = {{.sql = "SELECT " ROLE_COLUMNS " FROM iot_auth.role r ORDER BY r.role"}};
static const struct ia_query role_query[] = {
    {.title = "role",
     .sql = "SELECT " ROLE_COLUMNS " FROM iot_auth.role r "
            "WHERE r.role = $1",
     .record = true},
    {.title = "rules", .sql = "SELECT " RULE_COLUMNS " FROM iot_auth.role_rule u WHERE u.role = $1 ORDER BY u.rule_id"},
};
static const struct ia_query rules_query[] = {{.sql = "SELECT " RULE_COLUMNS
                                                      " FROM iot_auth.role_rule u WHERE $1 IS NULL OR u.role = $1 "
                                                      "ORDER BY u.role, u.topic_filter, u.rule_id"}};
static const struct ia_query new_rule_query[] = {
    {.sql = "SELECT " RULE_COLUMNS " FROM iot_auth.role_rule u WHERE u.rule_id = $7::bigint"}};

static const struct ia_query grants_query[] = {
    {.sql = "SELECT r.role, 'CA' AS holder, a.name FROM iot_auth.ca_role r JOIN iot_auth.ca a USING (ca_id) "
            "WHERE a.name = $2 UNION ALL SELECT r.role, 'device', r.device_id FROM iot_auth.device_role r "
            "WHERE r.device_id = $3 ORDER BY 1"}};

#define IP_COLUMNS "SELECT i.rule_id, i.effect, i.network, i.scope, i.scope_key, i.expires_at FROM iot_auth.ip_rule i "
static const struct ia_query ip_query[] = {
    {.sql =
         IP_COLUMNS "WHERE ($1 IS NULL OR i.scope = 'CA' AND i.scope_key = $1) "
                    "AND ($2 IS NULL OR i.scope = 'DEVICE' AND i.scope_key = $2) "
                    "AND ($3 IS NULL OR i.scope = 'ISSUER' AND i.scope_key = $3) "
                    "AND ($4 IS NULL OR i.network >>= $4::inet) ORDER BY i.scope, i.scope_key, i.network, i.effect"}};
static const struct ia_query new_ip_query[] = {{.sql = IP_COLUMNS "WHERE i.rule_id = $6::bigint"}};

/* ---- parameters */

#define ROLE_ARGUMENT(sql_name)                                                                                        \
    {                                                                                                                  \
        .name = "ROLE", .value = "ROLE", .sql = sql_name, .flags = IA_P_ARGUMENT | IA_P_REQUIRED,                      \
        .help = "name of a role"                                                                                       \
    }

static const struct ia_param role_params[] = {ROLE_ARGUMENT("role text")};
static const struct ia_param role_show_params[] = {ROLE_ARGUMENT(NULL)};
static const struct ia_param rule_list_params[] = {
    {.name = "role", .value = "ROLE", .help = "rules of this role only"}};
static const struct ia_param rule_add_params[] = {
    ROLE_ARGUMENT("role text"),
    {.name = "EFFECT",
     .value = "ALLOW|DENY",
     .sql = "effect text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "a DENY that matches counts before every ALLOW"},
    {.name = "ACTIONS",
     .value = "PUBLISH|SUBSCRIBE|RECEIVE",
     .sql = "actions text[]",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED | IA_P_SPLIT,
     .help = "actions that the rule allows or denies"},
    {.name = "FILTER",
     .value = "FILTER",
     .sql = "topic_filter text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "topic filter; + and # as in MQTT, ${variables} as levels"},
    {.name = "max-qos", .value = "0|1|2", .sql = "max_qos int", .help = "highest QoS of PUBLISH that is allowed"},
    {.name = "allow-retain",
     .value = "true|false",
     .sql = "allow_retain boolean",
     .help = "may retained messages be published? default true"},
};
static const struct ia_param rule_remove_params[] = {{.name = "RULE_ID",
                                                      .value = "RULE_ID",
                                                      .sql = "rule_id bigint",
                                                      .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
                                                      .help = "the rule_id that list shows"}};
static const struct ia_param grant_params[] = {
    ROLE_ARGUMENT(NULL),
    {.name = "ca", .value = "NAME", .flags = IA_P_ONE_OF, .help = "all devices of this CA"},
    {.name = "device", .value = "DEVICE_ID", .flags = IA_P_ONE_OF, .help = "this device"},
};
static const struct ia_param ip_list_params[] = {
    {.name = "ca", .value = "NAME", .help = "rules of this CA only"},
    {.name = "device", .value = "DEVICE_ID", .help = "rules of this device only"},
    {.name = "issuer", .value = "NAME", .help = "rules of this issuer only"},
    {.name = "holding", .value = "ADDRESS", .help = "rules whose network holds this address only"},
};
static const struct ia_param ip_add_params[] = {
    {.name = "NETWORK",
     .value = "NETWORK",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "an address, or a network in CIDR notation"},
    {.name = "ca",
     .value = "NAME",
     .flags = IA_P_EXCLUSIVE,
     .help = "for devices of this CA; default: for all clients"},
    {.name = "device", .value = "DEVICE_ID", .flags = IA_P_EXCLUSIVE, .help = "for this device"},
    {.name = "issuer", .value = "NAME", .flags = IA_P_EXCLUSIVE, .help = "for apps of this issuer"},
    {.name = "expires-at", .value = "TIME", .help = "end of the rule, RFC 3339; default never"},
};

#define GRANT_STATEMENT(verb)                                                                                          \
    "SELECT CASE WHEN $2 IS NOT NULL THEN iot_auth." verb "_ca_role($2, $1) "                                          \
    "ELSE iot_auth." verb "_device_role($3, $1) END::text"
#define IP_STATEMENT(function)                                                                                         \
    "SELECT iot_auth." function "($1::cidr, CASE WHEN $2 IS NOT NULL THEN 'CA' WHEN $3 IS NOT NULL THEN 'DEVICE' "     \
    "WHEN $4 IS NOT NULL THEN 'ISSUER' ELSE 'GLOBAL' END, coalesce($2, $3, $4), $5::timestamptz)"

static const struct ia_verb verbs[] = {
    {.words = "role list", .help = "list the roles and who has them", IA_QUERIES(roles_query)},
    {.words = "role show",
     .help = "show a role and its rules",
     IA_PARAMS(role_show_params),
     .sql = "SELECT iot_auth.require_role($1)",
     IA_QUERIES(role_query),
     .flags = IA_V_STATEMENT},
    {.words = "role create",
     .help = "create a role; without rules it allows nothing",
     IA_PARAMS(role_params),
     .sql = "create_role",
     IA_QUERIES(role_query)},
    {.words = "role drop",
     .help = "delete a role with its rules and grants",
     IA_PARAMS(role_params),
     .sql = "drop_role",
     .question = "Delete role '%s' with its rules and grants?"},
    {.words = "rule list",
     .help = "list topic rules",
     IA_PARAMS(rule_list_params),
     .sql = "SELECT CASE WHEN $1 IS NOT NULL THEN iot_auth.require_role($1) END",
     IA_QUERIES(rules_query),
     .flags = IA_V_STATEMENT},
    {.words = "rule add",
     .help = "add a topic rule to a role; live sessions follow at once",
     IA_PARAMS(rule_add_params),
     .sql = "add_rule",
     IA_QUERIES(new_rule_query)},
    {.words = "rule remove", .help = "remove a topic rule", IA_PARAMS(rule_remove_params), .sql = "remove_rule"},
    {.words = "grant",
     .help = "grant a role to a device or to all devices of a CA",
     IA_PARAMS(grant_params),
     .sql = GRANT_STATEMENT("grant"),
     IA_QUERIES(grants_query),
     .flags = IA_V_STATEMENT},
    {.words = "revoke-grant",
     .help = "take a role from a device or from all devices of a CA",
     IA_PARAMS(grant_params),
     .sql = GRANT_STATEMENT("revoke"),
     IA_QUERIES(grants_query),
     .flags = IA_V_STATEMENT},
    {.words = "ip list", .help = "list address rules", IA_PARAMS(ip_list_params), IA_QUERIES(ip_query)},
    {.words = "ip allow",
     .help = "allow a network; the first ALLOW of a scope denies all other addresses in it",
     IA_PARAMS(ip_add_params),
     .sql = IP_STATEMENT("allow_ip"),
     IA_QUERIES(new_ip_query),
     .flags = IA_V_STATEMENT},
    {.words = "ip deny",
     .help = "deny a network: its connections end at once",
     IA_PARAMS(ip_add_params),
     .sql = IP_STATEMENT("deny_ip"),
     IA_QUERIES(new_ip_query),
     .flags = IA_V_STATEMENT},
    {.words = "ip remove", .help = "remove an address rule", IA_PARAMS(rule_remove_params), .sql = "remove_ip_rule"},
};
const struct ia_verb_group ia_verbs_rights = {verbs, IA_COUNT(verbs)};
