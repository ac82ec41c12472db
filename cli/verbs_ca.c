// SPDX-License-Identifier: ISC
/* Verbs about certificate authorities. */
#include "cli/verb.h"

#define CA_COLUMNS                                                                                                     \
    "c.name, c.status, c.auto_registration, c.registered_status, c.tenant, p.name AS replaces, "                       \
    "(SELECT count(*) FROM iot_auth.device d WHERE d.ca_id = c.ca_id) AS devices, c.max_devices, "                     \
    "c.max_registrations_per_minute, (SELECT count(*) FROM iot_auth.crl l WHERE l.ca_id = c.ca_id) AS crls, "          \
    "ARRAY(SELECT r.role FROM iot_auth.ca_role r WHERE r.ca_id = c.ca_id ORDER BY r.role)::text[] AS roles, "          \
    "c.not_after, c.problem"
#define CA_TABLES " FROM iot_auth.ca c LEFT JOIN iot_auth.ca p ON p.ca_id = c.replaces "

/* An unknown name is an error, not an empty list. */
#define KNOWN_CA "SELECT (iot_auth.find_ca($1)).name"

static const struct ia_query list_query[] = {{.sql = "SELECT " CA_COLUMNS CA_TABLES "ORDER BY c.name"}};

static const struct ia_query show_query[] = {
    {.sql =
         "SELECT c.ca_id, " CA_COLUMNS ", c.subject, encode(c.fingerprint, 'hex') AS fingerprint, c.not_before, "
         "c.device_id_template, c.client_id_templates::text[] AS client_id_templates, c.registration, c.provisioning, "
         "c.registration_hook, c.created_at" CA_TABLES "WHERE c.name = $1",
     .record = true}};

static const struct ia_query crls_query[] = {
    {.sql = "SELECT l.crl_id, encode(l.fingerprint, 'hex') AS fingerprint, l.created_at FROM iot_auth.crl l "
            "JOIN iot_auth.ca c USING (ca_id) WHERE c.name = $1 ORDER BY l.created_at, l.crl_id"}};

#define NAME_ARGUMENT(sql_name)                                                                                        \
    {                                                                                                                  \
        .name = "NAME", .value = "NAME", .sql = sql_name, .flags = IA_P_ARGUMENT | IA_P_REQUIRED,                      \
        .help = "name of the CA"                                                                                       \
    }

static const struct ia_param name_params[] = {NAME_ARGUMENT("name text")};
static const struct ia_param crl_list_params[] = {NAME_ARGUMENT(NULL)};
static const struct ia_param crl_add_params[] = {
    NAME_ARGUMENT("ca_name text"),
    {.name = "crl",
     .value = "FILE",
     .sql = "crl text",
     .flags = IA_P_REQUIRED | IA_P_FILE,
     .help = "the CRL, PEM; - reads standard input"},
};

static const struct ia_param add_params[] = {
    NAME_ARGUMENT("name text"),
    {.name = "pem",
     .value = "FILE",
     .sql = "pem text",
     .flags = IA_P_REQUIRED | IA_P_FILE,
     .help = "certificate of the CA, PEM; - reads standard input"},
    {.name = "auto-registration",
     .sql = "auto_registration boolean",
     .help = "register unknown devices of the CA when they connect"},
    {.name = "registered-status",
     .value = "ACTIVE|PENDING",
     .sql = "registered_status text",
     .help = "status after registration; default ACTIVE"},
    {.name = "device-id-template",
     .value = "TEMPLATE",
     .sql = "device_id_template text",
     .help = "how the device id is formed from the certificate; default ${cert.cn}"},
    {.name = "client-id-templates",
     .value = "TEMPLATE",
     .sql = "client_id_templates text[]",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "MQTT client ids that its devices may use; default ${device_id}"},
    {.name = "roles",
     .value = "ROLE",
     .sql = "roles text[]",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "roles of all devices of the CA; default device; empty: none"},
    {.name = "tenant", .value = "TENANT", .sql = "tenant text", .help = "tenant of the CA's devices; default none"},
    {.name = "max-devices",
     .value = "N",
     .sql = "max_devices bigint",
     .help = "most devices that register by themselves; default no limit"},
    {.name = "max-registrations-per-minute",
     .value = "N",
     .sql = "max_registrations_per_minute int",
     .help = "default no limit"},
    {.name = "replaces",
     .value = "NAME",
     .sql = "replaces text",
     .help = "predecessor CA, whose devices may use certificates of this CA"},
    {.name = "registration",
     .value = "any|expected",
     .sql = "registration text",
     .help = "expected: only devices of the CA's list (expect_device) register; default any"},
    {.name = "provisioning",
     .value = "FILE",
     .sql = "provisioning jsonb",
     .flags = IA_P_FILE,
     .help = "what a registration gives the device, JSON; - reads standard input"},
};

static const struct ia_param set_params[] = {
    NAME_ARGUMENT(NULL),
    {.name = "auto-registration", .value = "true|false", .help = "register unknown devices when they connect"},
    {.name = "registered-status", .value = "ACTIVE|PENDING", .help = "status after registration"},
    {.name = "device-id-template", .value = "TEMPLATE", .help = "how the device id is formed from the certificate"},
    {.name = "client-id-templates",
     .value = "TEMPLATE",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "MQTT client ids that its devices may use"},
    {.name = "max-devices", .value = "N", .help = "most devices that register by themselves; none: no limit"},
    {.name = "max-registrations-per-minute", .value = "N", .help = "none: no limit"},
    {.name = "registration",
     .value = "any|expected",
     .help = "expected: only devices of the CA's list (expect_device) register"},
    {.name = "provisioning",
     .value = "FILE",
     .flags = IA_P_FILE,
     .help = "what a registration gives the device, JSON; - reads standard input"},
    {.name = "replaces", .value = "NAME", .help = "predecessor CA, whose devices may use certificates of this CA"},
    {.name = "reset",
     .value = "COLUMN",
     .flags = IA_P_LIST | IA_P_SPLIT,
     .help = "columns that go back to their default, such as provisioning"},
};

/* "none" is the limit that is none, which set_ca calls a reset; what is not given stays. */
#define SET_STATEMENT                                                                                                  \
    "SELECT iot_auth.set_ca(name => $1, auto_registration => $2::boolean, registered_status => $3, "                   \
    "device_id_template => $4, client_id_templates => $5::text[], max_devices => nullif($6, 'none')::bigint, "         \
    "max_registrations_per_minute => nullif($7, 'none')::int, registration => $8, provisioning => $9::jsonb, "         \
    "replaces => $10, reset => coalesce($11::text[], '{}') "                                                           \
    "|| CASE WHEN $6 = 'none' THEN ARRAY['max_devices'] ELSE '{}' END "                                                \
    "|| CASE WHEN $7 = 'none' THEN ARRAY['max_registrations_per_minute'] ELSE '{}' END)"

static const struct ia_verb verbs[] = {
    {.words = "ca list", .help = "list the CAs with their devices and problems", IA_QUERIES(list_query)},
    {.words = "ca show",
     .help = "show one CA",
     IA_PARAMS(name_params),
     .sql = KNOWN_CA,
     IA_QUERIES(show_query),
     .flags = IA_V_STATEMENT},
    {.words = "ca add",
     .help = "register a CA: its devices can connect within a second",
     IA_PARAMS(add_params),
     .sql = "register_ca",
     IA_QUERIES(show_query)},
    {.words = "ca set",
     .help = "change settings of a CA; what is not given stays",
     IA_PARAMS(set_params),
     .sql = SET_STATEMENT,
     IA_QUERIES(show_query),
     .flags = IA_V_STATEMENT},
    {.words = "ca disable",
     .help = "make a CA INACTIVE: its devices are disconnected and refused until it is enabled",
     IA_PARAMS(name_params),
     .sql = "set_ca_status",
     .fixed = "status => 'INACTIVE'",
     IA_QUERIES(show_query)},
    {.words = "ca enable",
     .help = "make a CA ACTIVE again",
     IA_PARAMS(name_params),
     .sql = "set_ca_status",
     .fixed = "status => 'ACTIVE'",
     IA_QUERIES(show_query)},
    {.words = "ca revoke",
     .help = "revoke a CA for ever: its devices are disconnected and refused",
     IA_PARAMS(name_params),
     .sql = "set_ca_status",
     .fixed = "status => 'REVOKED'",
     IA_QUERIES(show_query),
     .question = "Revoke CA '%s' and so refuse all its devices for ever?"},
    {.words = "ca crl list",
     .help = "list the CRLs of a CA",
     IA_PARAMS(crl_list_params),
     .sql = KNOWN_CA,
     IA_QUERIES(crls_query),
     .flags = IA_V_STATEMENT},
    {.words = "ca crl add",
     .help = "add a CRL to a CA: devices on it are disconnected at once",
     IA_PARAMS(crl_add_params),
     .sql = "add_crl",
     IA_QUERIES(crls_query)},
};
const struct ia_verb_group ia_verbs_ca = {verbs, IA_COUNT(verbs)};
