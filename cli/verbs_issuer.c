// SPDX-License-Identifier: ISC
/* Verbs about identity providers. */
#include "cli/verb.h"

#define ISSUER_COLUMNS                                                                                                 \
    "i.name, i.issuer, i.status, i.audience::text[] AS audience, i.algorithms::text[] AS algorithms, "                 \
    "coalesce(i.jwks_url, jsonb_array_length(i.jwks -> 'keys') || ' in the registry', 'by discovery') AS keys, "       \
    "i.tenant, i.problem, i.note"

static const struct ia_query list_query[] = {
    {.sql = "SELECT " ISSUER_COLUMNS " FROM iot_auth.oauth_issuer i ORDER BY i.name"}};
static const struct ia_query show_query[] = {
    {.title = "issuer",
     .sql =
         "SELECT " ISSUER_COLUMNS ", i.client_id_templates::text[] AS client_id_templates, i.app_id_claim, "
         "i.token_types::text[] AS token_types, i.leeway_s, i.scope_claims::text[] AS scope_claims, "
         "i.audience_claims::text[] AS audience_claims, i.required_claims, i.max_lifetime_s, i.principals, i.device_id_claim, "
         "i.auto_registration, i.registered_status, i.max_devices, i.max_registrations_per_minute, "
         "ARRAY(SELECT r.role FROM iot_auth.issuer_role r WHERE r.issuer_name = i.name ORDER BY r.role)::text[] AS roles, "
         "i.created_at FROM iot_auth.oauth_issuer i "
         "WHERE i.name = $1",
     .record = true},
    {.title = "scopes",
     .sql = "SELECT s.scope, s.role FROM iot_auth.scope_role s WHERE s.issuer_name = $1 ORDER BY s.scope, s.role"},
};
static const struct ia_query scopes_query[] = {
    {.sql = "SELECT s.issuer_name, s.scope, s.role FROM iot_auth.scope_role s WHERE s.issuer_name = $1 "
            "ORDER BY s.scope, s.role"}};

#define NAME_ARGUMENT(sql_name)                                                                                        \
    {                                                                                                                  \
        .name = "NAME", .value = "NAME", .sql = sql_name, .flags = IA_P_ARGUMENT | IA_P_REQUIRED,                      \
        .help = "name of the issuer; its apps have the principal app:NAME:APP_ID"                                      \
    }

static const struct ia_param name_params[] = {NAME_ARGUMENT("name text")};
static const struct ia_param show_params[] = {NAME_ARGUMENT(NULL)};
/* What add and set both take. */
#define SETTINGS                                                                                                       \
    {.name = "algorithms",                                                                                             \
     .value = "ALG",                                                                                                   \
     .sql = "algorithms text[]",                                                                                       \
     .flags = IA_P_LIST | IA_P_SPLIT,                                                                                  \
     .help = "accepted signature algorithms; default RS256,ES256"},                                                    \
        {.name = "jwks",                                                                                               \
         .value = "FILE",                                                                                              \
         .sql = "jwks jsonb",                                                                                          \
         .flags = IA_P_FILE,                                                                                           \
         .help = "the issuer's keys, a JWK set (RFC 7517); - reads standard input"},                                   \
        {.name = "jwks-url",                                                                                           \
         .value = "URL",                                                                                               \
         .sql = "jwks_url text",                                                                                       \
         .help = "where the keys are; default: found by discovery at the issuer"},                                     \
        {.name = "client-id-templates",                                                                                \
         .value = "TEMPLATE",                                                                                          \
         .sql = "client_id_templates text[]",                                                                          \
         .flags = IA_P_LIST | IA_P_SPLIT,                                                                              \
         .help = "MQTT client ids that its apps may use; default app:${issuer}:${app_id} and the same with /*"},       \
        {.name = "app-id-claim",                                                                                       \
         .value = "CLAIM",                                                                                             \
         .sql = "app_id_claim text",                                                                                   \
         .help = "claim that holds the app id; default client_id, else azp, else sub"},                                \
        {.name = "token-types",                                                                                        \
         .value = "TYPE",                                                                                              \
         .sql = "token_types text[]",                                                                                  \
         .flags = IA_P_LIST | IA_P_SPLIT,                                                                              \
         .help = "accepted values of typ; default at+jwt,JWT"},                                                        \
        {.name = "leeway-s", .value = "SECONDS", .sql = "leeway_s int", .help = "for exp and nbf; default 30"},        \
        {.name = "tenant",                                                                                             \
         .value = "TENANT",                                                                                            \
         .sql = "tenant text",                                                                                         \
         .help = "tenant of the issuer's apps; default none"},                                                         \
        {.name = "scope-claims",                                                                                       \
         .value = "POINTER",                                                                                           \
         .sql = "scope_claims text[]",                                                                                 \
         .flags = IA_P_LIST | IA_P_SPLIT,                                                                              \
         .help = "where scopes are in the token, JSON pointers (RFC 6901); default /scope,/scp"},                      \
        {.name = "audience-claims",                                                                                    \
         .value = "POINTER",                                                                                           \
         .sql = "audience_claims text[]",                                                                              \
         .flags = IA_P_LIST | IA_P_SPLIT,                                                                              \
         .help = "where the audience is in the token; default /aud"},                                                  \
        {.name = "required-claims",                                                                                    \
         .value = "JSON",                                                                                              \
         .sql = "required_claims jsonb",                                                                               \
         .help = "claims that a token must have, pointers with their values; default {}"},                             \
        {.name = "max-lifetime-s",                                                                                     \
         .value = "SECONDS",                                                                                           \
         .sql = "max_lifetime_s int",                                                                                  \
         .help = "longest time from iat to exp; default no limit"},                                                    \
        {.name = "principals",                                                                                         \
         .value = "app|device",                                                                                        \
         .sql = "principals text",                                                                                     \
         .help = "what its tokens make; default app"},                                                                 \
        {.name = "device-id-claim",                                                                                    \
         .value = "POINTER",                                                                                           \
         .sql = "device_id_claim text",                                                                                \
         .help = "with principals device: where the device id is in the token; default /sub"},                         \
        {.name = "registered-status",                                                                                  \
         .value = "ACTIVE|PENDING",                                                                                    \
         .sql = "registered_status text",                                                                              \
         .help = "status of a device after registration; default ACTIVE"},                                             \
        {.name = "max-devices",                                                                                        \
         .value = "N",                                                                                                 \
         .sql = "max_devices bigint",                                                                                  \
         .help = "most devices that register by themselves; default no limit"},                                        \
    {                                                                                                                  \
        .name = "max-registrations-per-minute", .value = "N", .sql = "max_registrations_per_minute int",               \
        .help = "default no limit"                                                                                     \
    }

static const struct ia_param add_params[] = {
    NAME_ARGUMENT("name text"),
    {.name = "issuer", .value = "URL", .sql = "issuer text", .help = "exact value of the iss claim (RFC 7519 4.1.1)"},
    {.name = "audience",
     .value = "AUDIENCE",
     .sql = "audience text[]",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "accepted values of the aud claim"},
    {.name = "try-out",
     .value = "DIR",
     .help = "instead of a provider: make a key pair in DIR, whose tokens token make prints"},
    {.name = "scope", .value = "SCOPE", .help = "with --try-out: the scope that is mapped; default telemetry:read"},
    {.name = "role",
     .value = "ROLE",
     .help = "with --try-out: the role of that scope; default try-out, which may read devices/#"},
    SETTINGS,
    {.name = "auto-registration",
     .sql = "auto_registration boolean",
     .help = "register unknown devices of the issuer when they connect"},
    {.name = "roles",
     .value = "ROLE",
     .sql = "roles text[]",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "roles of all its devices; default none"},
};
static const struct ia_param set_params[] = {
    NAME_ARGUMENT("name text"),
    {.name = "audience",
     .value = "AUDIENCE",
     .sql = "audience text[]",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "accepted values of the aud claim"},
    SETTINGS,
    {.name = "auto-registration",
     .value = "true|false",
     .sql = "auto_registration boolean",
     .help = "register unknown devices of the issuer when they connect"},
    {.name = "reset",
     .value = "COLUMN",
     .sql = "reset text[]",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "columns that go back to their default, such as tenant"},
};
static const struct ia_param map_params[] = {
    NAME_ARGUMENT("issuer_name text"),
    {.name = "SCOPE",
     .value = "SCOPE",
     .sql = "scope text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "a scope of its access tokens (RFC 6749 3.3)"},
    {.name = "ROLE",
     .value = "ROLE",
     .sql = "role text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "the role that the scope gives"},
};

/* ---- revoked tokens */

#define REVOCATION_COLUMNS                                                                                             \
    "r.id, r.issuer_name, r.claim, r.value, r.issued_before, r.until, r.created_at, r.who FROM iot_auth.token_revocation r "

static const struct ia_query revocations_query[] = {{.sql = "SELECT " REVOCATION_COLUMNS
                                                            "WHERE $1 IS NULL OR r.issuer_name = $1 ORDER BY r.id DESC "
                                                            "LIMIT coalesce($2::bigint, 100)"}};
static const struct ia_query new_revocation_query[] = {{.sql = "SELECT " REVOCATION_COLUMNS "WHERE r.id = $6::bigint"}};

static const struct ia_param revocations_params[] = {
    {.name = "issuer", .value = "NAME", .help = "revocations of this issuer's tokens only"},
    {.name = "max", .value = "N", .help = "most rows that are shown; default 100"},
};
static const struct ia_param revoke_params[] = {
    NAME_ARGUMENT("issuer_name text"),
    {.name = "CLAIM",
     .value = "CLAIM",
     .sql = "claim text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "claim that says which tokens, a JSON pointer (RFC 6901): /sub, /jti, /client_id, /sid"},
    {.name = "VALUE",
     .value = "VALUE",
     .sql = "value text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "its value"},
    {.name = "issued-before",
     .value = "TIME",
     .sql = "issued_before timestamptz",
     .help = "tokens issued until then, RFC 3339; default now"},
    {.name = "until",
     .value = "TIME",
     .sql = "until timestamptz",
     .help = "end of the revocation; default: when the last such token has expired, where the issuer says when"},
};
static const struct ia_param unrevoke_params[] = {{.name = "ID",
                                                   .value = "ID",
                                                   .sql = "id bigint",
                                                   .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
                                                   .help = "the id that token revocations shows"}};

static const struct ia_param token_params[] = {
    {.name = "issuer", .value = "NAME", .flags = IA_P_REQUIRED, .help = "the issuer that issuer add --try-out made"},
    {.name = "dir", .value = "DIR", .flags = IA_P_REQUIRED, .help = "its folder"},
    {.name = "app", .value = "APP_ID", .flags = IA_P_REQUIRED, .help = "sub and client_id"},
    {.name = "scope", .value = "SCOPE", .flags = IA_P_LIST | IA_P_SPLIT, .help = "scopes of the token; default none"},
    {.name = "expires-in", .value = "TIME", .help = "lifetime, such as 90s, 10m, 2h or 1d; default 10m"},
    {.name = "claim",
     .value = "NAME=JSON",
     .flags = IA_P_LIST,
     .help = "a further claim, or another value of one; a text has quotes: name='\"x\"'"},
};

static const struct ia_verb verbs[] = {
    {.words = "issuer list", .help = "list the identity providers and their problems", IA_QUERIES(list_query)},
    {.words = "issuer show",
     .help = "show an identity provider and its mapped scopes",
     IA_PARAMS(show_params),
     .sql = "SELECT iot_auth.require_issuer($1)",
     IA_QUERIES(show_query),
     .flags = IA_V_STATEMENT},
    {.words = "issuer add",
     .help = "register an identity provider, so that apps can connect with its access tokens",
     .more = "Needs --issuer and --audience; or --try-out, for an app without a provider: whoever can read DIR is then "
             "every app of the issuer, and status warns of it.",
     IA_PARAMS(add_params),
     .sql = "register_issuer",
     IA_QUERIES(show_query)},
    {.words = "issuer set",
     .help = "change settings of an identity provider; what is not given stays",
     IA_PARAMS(set_params),
     .sql = "set_issuer",
     IA_QUERIES(show_query)},
    {.words = "issuer disable",
     .help = "make an issuer INACTIVE: its apps are disconnected and refused until it is enabled",
     IA_PARAMS(name_params),
     .sql = "set_issuer_status",
     .fixed = "status => 'INACTIVE'",
     IA_QUERIES(show_query)},
    {.words = "issuer enable",
     .help = "make an issuer ACTIVE again",
     IA_PARAMS(name_params),
     .sql = "set_issuer_status",
     .fixed = "status => 'ACTIVE'",
     IA_QUERIES(show_query)},
    {.words = "issuer map",
     .help = "give a role to apps whose token has a scope",
     IA_PARAMS(map_params),
     .sql = "map_scope",
     IA_QUERIES(scopes_query)},
    {.words = "issuer unmap",
     .help = "remove such a mapping",
     IA_PARAMS(map_params),
     .sql = "unmap_scope",
     IA_QUERIES(scopes_query)},
    {.words = "token revocations",
     .help = "list revoked tokens, the latest first",
     IA_PARAMS(revocations_params),
     .sql = "SELECT CASE WHEN $1 IS NOT NULL THEN iot_auth.require_issuer($1)::text END",
     IA_QUERIES(revocations_query),
     .flags = IA_V_STATEMENT},
    {.words = "token revoke",
     .help = "revoke the access tokens of an issuer in which a claim has a value; their connections end at once",
     IA_PARAMS(revoke_params),
     .sql = "revoke_tokens",
     IA_QUERIES(new_revocation_query)},
    {.words = "token unrevoke",
     .help = "remove such a revocation",
     IA_PARAMS(unrevoke_params),
     .sql = "unrevoke_tokens"},
    {.words = "token make",
     .help = "print an access token (claims of RFC 9068) of an issuer for trying out",
     IA_PARAMS(token_params),
     .more = "Needs no registry. Example: mosquitto_sub -u app -P \"$(iot-auth token make ...)\"."},
};
const struct ia_verb_group ia_verbs_issuer = {verbs, IA_COUNT(verbs)};
