// SPDX-License-Identifier: ISC
/* Verbs that show what happens: refusals, events, nodes, changes. */
#include "cli/verb.h"

static const struct ia_query refusals_query[] = {
    {.sql = "SELECT r.reason, r.who, r.address, r.ca, r.count, r.first, r.last, r.node FROM iot_auth.list_refusals("
            "coalesce($1::interval, interval '24 hours'), $2, $3, $4::cidr, coalesce($5::bigint, 100)) r"}};

static const struct ia_query why_query[] = {
    {.title = "registered", .sql = "SELECT * FROM iot_auth.registered_as($1)"},
    {.title = "refusals",
     .sql = "SELECT w.at, w.node, w.kind, w.reason, w.principal, w.ca, w.address, w.count, w.remedy, "
            "w.detail - ARRAY['device_id', 'app', 'ca', 'address', 'reason', 'node', 'at'] AS detail "
            "FROM iot_auth.why_refused($1, coalesce($2::interval, interval '24 hours'), coalesce($3::bigint, 20)) w"},
};

static const struct ia_query nodes_query[] = {
    {.sql = "SELECT n.node_name, n.alive, n.started_at, n.last_seen, n.stopped_at, n.database_tls, n.versions "
            "FROM iot_auth.monitor_node n ORDER BY n.node_name"}};

static const struct ia_query audit_query[] = {
    {.sql = "SELECT a.at, a.who, a.application, a.address, a.table_name, a.key, a.operation, a.before, a.after "
            "FROM iot_auth.audit a WHERE a.at > now() - coalesce($1::interval, interval '24 hours') "
            "AND ($2 IS NULL OR a.table_name = $2) AND ($3 IS NULL OR a.key = $3) AND ($4 IS NULL OR a.who = $4) "
            "ORDER BY a.at DESC, a.audit_id DESC LIMIT coalesce($5::bigint, 100)"}};

#define SINCE_OPTION                                                                                                   \
    {                                                                                                                  \
        .name = "since", .value = "INTERVAL", .help = "how far to look back, as in '2 hours'; default 24 hours"        \
    }
#define MAX_OPTION(n)                                                                                                  \
    {                                                                                                                  \
        .name = "max", .value = "N", .help = "most rows that are shown; default " n                                    \
    }

static const struct ia_param refusals_params[] = {
    SINCE_OPTION,
    {.name = "reason", .value = "REASON", .help = "refusals for this reason only"},
    {.name = "ca", .value = "NAME", .help = "refusals of chains that end in this CA only"},
    {.name = "network", .value = "NETWORK", .help = "refusals of addresses in this network only"},
    MAX_OPTION("100"),
};
static const struct ia_param why_params[] = {
    {.name = "WHO",
     .value = "WHO",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "device id, app id, client id, common name, fingerprint, serial number or address"},
    SINCE_OPTION,
    MAX_OPTION("20"),
};
static const struct ia_param events_params[] = {
    {.name = "follow", .help = "go on showing events as they are written, until interrupted"},
    SINCE_OPTION,
    {.name = "kind", .value = "KIND", .help = "events of this kind only, such as device/registered"},
    MAX_OPTION("50"),
};
static const struct ia_param audit_params[] = {
    SINCE_OPTION,
    {.name = "table", .value = "TABLE", .help = "changes of this table only"},
    {.name = "key", .value = "KEY", .help = "changes of this row only: device id, CA name …"},
    {.name = "who", .value = "ROLE", .help = "changes by this database role only"},
    MAX_OPTION("100"),
};

static const struct ia_verb verbs[] = {
    {.words = "status", .help = "show the state of the registry, what is wrong, and the next step"},
    {.words = "nodes", .help = "list the brokers, with their versions and database link", IA_QUERIES(nodes_query)},
    {.words = "refusals",
     .help = "list who was refused, grouped, the latest first",
     IA_PARAMS(refusals_params),
     .sql = "SELECT CASE WHEN $3 IS NOT NULL THEN (iot_auth.find_ca($3)).name END",
     IA_QUERIES(refusals_query),
     .flags = IA_V_STATEMENT},
    {.words = "why",
     .help = "show why somebody was refused: the registry's rows, then the refusals",
     IA_PARAMS(why_params),
     IA_QUERIES(why_query)},
    {.words = "events", .help = "list events, the latest last", IA_PARAMS(events_params)},
    {.words = "audit",
     .help = "list changes of the configuration: who, when, before and after",
     IA_PARAMS(audit_params),
     IA_QUERIES(audit_query)},
};
const struct ia_verb_group ia_verbs_observe = {verbs, IA_COUNT(verbs)};
