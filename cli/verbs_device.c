// SPDX-License-Identifier: ISC
/* Verbs about devices and their certificates. */
#include "cli/verb.h"

#define DEVICE_COLUMNS                                                                                                 \
    "d.device_id, a.name AS ca, coalesce(d.tenant, a.tenant) AS tenant, d.status, d.registered_by, d.created_at, "     \
    "d.last_connected_at, (SELECT count(*) FROM iot_auth.device_certificate c WHERE c.device_id = d.device_id "        \
    "AND c.status = 'ACTIVE') AS certificates, "                                                                       \
    "ARRAY(SELECT r.role FROM iot_auth.device_role r WHERE r.device_id = d.device_id ORDER BY r.role)::text[] "        \
    "AS roles, d.problem"
#define DEVICE_TABLES " FROM iot_auth.device d LEFT JOIN iot_auth.ca a USING (ca_id) "

#define CERT_COLUMNS                                                                                                   \
    "encode(c.fingerprint, 'hex') AS fingerprint, c.device_id, a.name AS ca, c.status, c.serial, c.subject, "          \
    "c.not_before, c.not_after, c.registered_by, c.problem"
#define CERT_TABLES " FROM iot_auth.device_certificate c LEFT JOIN iot_auth.ca a USING (ca_id) "

/* ---- queries */

static const struct ia_query list_query[] = {
    {.sql =
         "SELECT " DEVICE_COLUMNS DEVICE_TABLES
         "WHERE ($1 IS NULL OR d.ca_id = (SELECT n.ca_id FROM iot_auth.ca n WHERE n.name = $1)) AND ($2 IS NULL OR d.status = $2) "
         "AND ($3 IS NULL OR coalesce(d.tenant, a.tenant) = $3) AND ($4 IS NULL OR d.device_id LIKE $4) "
         "ORDER BY d.created_at DESC, d.device_id LIMIT coalesce($5::bigint, 100)"}};

static const struct ia_query show_query[] = {
    {.title = "device",
     .sql = "SELECT " DEVICE_COLUMNS ", d.attributes, d.updated_at" DEVICE_TABLES "WHERE d.device_id = $1",
     .record = true},
    {.title = "certificates", .sql = "SELECT " CERT_COLUMNS CERT_TABLES "WHERE c.device_id = $1 ORDER BY c.created_at"},
};

static const struct ia_query row_query[] = {{.sql = "SELECT " DEVICE_COLUMNS DEVICE_TABLES "WHERE d.device_id = $1"}};

static const struct ia_query roles_query[] = {
    {.sql =
         "SELECT r.role, 'CA ' || a.name AS granted_to FROM iot_auth.ca_role r JOIN iot_auth.ca a USING (ca_id) "
         "WHERE a.ca_id = (SELECT n.ca_id FROM iot_auth.device n WHERE n.device_id = $1) UNION ALL SELECT r.role, 'device' "
         "FROM iot_auth.device_role r WHERE r.device_id = $1 ORDER BY 1, 2"}};

static const struct ia_query approved_query[] = {
    {.sql = "SELECT device_id FROM unnest($4::text[]) device_id ORDER BY device_id"}};

static const struct ia_query cert_list_query[] = {
    {.sql =
         "SELECT " CERT_COLUMNS CERT_TABLES
         "WHERE ($1 IS NULL OR c.device_id = $1) AND ($2 IS NULL OR c.ca_id = (SELECT n.ca_id FROM iot_auth.ca n WHERE n.name = $2)) "
         "AND ($3 IS NULL OR c.status = $3) ORDER BY c.created_at DESC, c.fingerprint LIMIT coalesce($4::bigint, 100)"}};

static const struct ia_query cert_row_query[] = {
    {.sql = "SELECT " CERT_COLUMNS CERT_TABLES "WHERE c.fingerprint = decode(replace($1, ':', ''), 'hex')"}};

static const struct ia_query expiring_query[] = {
    {.sql =
         "SELECT e.* FROM (SELECT 'CA' AS what, a.name, a.not_after, a.not_after <= now() AS expired, "
         "encode(a.fingerprint, 'hex') AS fingerprint, NULL::timestamptz AS last_connected_at FROM iot_auth.ca a "
         "WHERE a.status <> 'REVOKED' AND a.not_after < now() + coalesce($1::float8, 30) * interval '1 day' UNION ALL "
         "SELECT 'device', d.device_id, c.not_after, c.not_after <= now(), encode(c.fingerprint, 'hex'), "
         "d.last_connected_at FROM iot_auth.device_certificate c JOIN iot_auth.device d USING (device_id) "
         "WHERE c.status <> 'REVOKED' AND d.status <> 'REVOKED' "
         "AND c.not_after < now() + coalesce($1::float8, 30) * interval '1 day' AND NOT EXISTS (SELECT "
         "FROM iot_auth.device_certificate newer WHERE newer.device_id = c.device_id AND newer.status = 'ACTIVE' "
         "AND newer.not_after >= now() + coalesce($1::float8, 30) * interval '1 day')) e "
         "ORDER BY e.what, e.not_after, e.name"}};

/* ---- parameters */

#define DEVICE_ARGUMENT(sql_name)                                                                                      \
    {                                                                                                                  \
        .name = "DEVICE_ID", .value = "DEVICE_ID", .sql = sql_name, .flags = IA_P_ARGUMENT | IA_P_REQUIRED,            \
        .help = "id of the device"                                                                                     \
    }
#define DEVICES_ARGUMENT(more)                                                                                         \
    {                                                                                                                  \
        .name = "DEVICE_ID", .value = "DEVICE_ID", .flags = IA_P_ARGUMENT | IA_P_LIST | (more),                        \
        .help = "ids of devices"                                                                                       \
    }
#define MAX_OPTION                                                                                                     \
    {                                                                                                                  \
        .name = "max", .value = "N", .help = "most rows that are shown; default 100"                                   \
    }

static const struct ia_param list_params[] = {
    {.name = "ca", .value = "NAME", .help = "devices of this CA only"},
    {.name = "status", .value = "PENDING|ACTIVE|INACTIVE|REVOKED", .help = "devices of this status only"},
    {.name = "tenant", .value = "TENANT", .help = "devices of this tenant only"},
    {.name = "like", .value = "PATTERN", .help = "device ids that match this LIKE pattern of SQL only"},
    MAX_OPTION,
};
static const struct ia_param one_params[] = {DEVICE_ARGUMENT(NULL)};
static const struct ia_param add_params[] = {
    DEVICE_ARGUMENT("device_id text"),
    {.name = "pem",
     .value = "FILE",
     .sql = "pem text",
     .flags = IA_P_TOGETHER | IA_P_FILE,
     .help = "certificate of the device, PEM; - reads standard input"},
    {.name = "ca", .value = "NAME", .sql = "ca_name text", .flags = IA_P_TOGETHER, .help = "the CA that signed it"},
    {.name = "status",
     .value = "PENDING|ACTIVE|INACTIVE|REVOKED",
     .sql = "status text",
     .help = "default ACTIVE; a device that exists keeps its status"},
    {.name = "attributes",
     .value = "JSON",
     .sql = "attributes jsonb",
     .help = "an object, whose scalar members are the variables ${attr.NAME}; default {}"},
    {.name = "tenant",
     .value = "TENANT",
     .sql = "tenant text",
     .flags = IA_P_ALONE,
     .help = "without a certificate: tenant of the device; default none"},
    {.name = "roles",
     .value = "ROLE",
     .sql = "roles text[]",
     .flags = IA_P_LIST | IA_P_SPLIT | IA_P_ALONE,
     .help = "without a certificate: roles of the device; default device; empty: none"},
};
static const struct ia_param status_params[] = {
    DEVICE_ARGUMENT("device_id text"),
    {.name = "STATUS",
     .value = "PENDING|ACTIVE|INACTIVE|REVOKED",
     .sql = "status text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "the new status; REVOKED is final"},
};
static const struct ia_param approve_params[] = {
    DEVICES_ARGUMENT(IA_P_ONE_OF),
    {.name = "all-pending", .flags = IA_P_ONE_OF, .help = "all devices with status PENDING"},
    {.name = "ca", .value = "NAME", .help = "devices of this CA only; the id of another CA's device is refused"},
};
static const struct ia_param delete_params[] = {DEVICES_ARGUMENT(IA_P_REQUIRED)};
static const struct ia_param import_params[] = {
    {.name = "FILE.csv",
     .value = "FILE.csv",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help =
         "RFC 4180, UTF-8, with a header of device_id,ca_name[,status,tenant,attributes,roles,fingerprint]; - reads "
         "standard input"},
    {.name = "skip-bad", .help = "write the good lines although others are bad"},
    {.name = "dry-run", .help = "check only"},
};
static const struct ia_param cert_list_params[] = {
    {.name = "device", .value = "DEVICE_ID", .help = "certificates of this device only"},
    {.name = "ca", .value = "NAME", .help = "certificates of this CA only"},
    {.name = "status", .value = "ACTIVE|INACTIVE|REVOKED", .help = "certificates of this status only"},
    MAX_OPTION,
};
static const struct ia_param cert_import_params[] = {
    {.name = "DIR",
     .value = "DIR",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "folder whose files are certificates of devices, PEM or DER, one each"},
    {.name = "ca", .value = "NAME", .help = "the CA that must have signed them; default: any registered CA"},
    {.name = "status", .value = "PENDING|ACTIVE|INACTIVE|REVOKED", .help = "status of the devices; default ACTIVE"},
    {.name = "skip-bad", .help = "write the good ones although others are bad"},
    {.name = "dry-run", .help = "check only"},
};
static const struct ia_param fingerprint_params[] = {
    {.name = "FINGERPRINT",
     .value = "FINGERPRINT",
     .sql = "fingerprint_hex text",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "SHA-256 of the certificate, hexadecimal, with or without colons"},
};
static const struct ia_param days_params[] = {
    {.name = "days", .value = "N", .help = "number of days to look ahead; default 30"}};

/* An unknown name is an error, not an empty list. */
#define KNOWN_DEVICE "SELECT (iot_auth.find_device($1)).device_id"
#define KNOWN_CA(n)  "SELECT CASE WHEN " n " IS NOT NULL THEN (iot_auth.find_ca(" n ")).name END"

/* Those of $1 must exist, so that a misspelt id is an error; set_device_status says what is wrong. */
#define APPROVE_STATEMENT                                                                                                \
    "SELECT array_agg(t.device_id) FROM (SELECT i.device_id, CASE WHEN $3 IS NOT NULL AND d.ca_id IS DISTINCT FROM "     \
    "(iot_auth.find_ca($3)).ca_id THEN iot_auth.fail(format('device ''%s'' is not one of CA ''%s''', i.device_id, $3), " \
    "'Without --ca the CA does not matter.') WHEN d.status IN ('PENDING', 'ACTIVE') THEN "                               \
    "iot_auth.set_device_status(i.device_id, 'ACTIVE') ELSE iot_auth.fail(format('device ''%s'' is %s, not PENDING', "   \
    "i.device_id, d.status), 'iot-auth device set-status changes any status.') END FROM unnest($1::text[]) "             \
    "i(device_id) CROSS JOIN LATERAL iot_auth.find_device(i.device_id) d UNION ALL "                                     \
    "SELECT d.device_id, iot_auth.set_device_status(d.device_id, 'ACTIVE') FROM iot_auth.device d "                      \
    "WHERE $2 IS NOT NULL AND d.status = 'PENDING' "                                                                     \
    "AND ($3 IS NULL OR d.ca_id = (SELECT (iot_auth.find_ca($3)).ca_id))) t"
#define DELETE_STATEMENT                                                                                                 \
    "DELETE FROM iot_auth.device d WHERE d.device_id = ANY (ARRAY(SELECT (iot_auth.find_device(i.device_id)).device_id " \
    "FROM unnest($1::text[]) i(device_id)))"

static const struct ia_verb verbs[] = {
    {.words = "device list",
     .help = "list devices, newest first",
     IA_PARAMS(list_params),
     .sql = KNOWN_CA("$1"),
     IA_QUERIES(list_query),
     .flags = IA_V_STATEMENT},
    {.words = "device show",
     .help = "show a device and its certificates",
     IA_PARAMS(one_params),
     .sql = KNOWN_DEVICE,
     IA_QUERIES(show_query),
     .flags = IA_V_STATEMENT},
    {.words = "device add",
     .help = "register a device, or add a certificate to an existing one",
     IA_PARAMS(add_params),
     .sql = "register_device",
     .otherwise = "create_device",
     IA_QUERIES(show_query),
     .more =
         "Without a certificate the device belongs to no CA: it connects with a pre-shared key (iot-auth-psk generate)."},
    {.words = "device set-status",
     .help = "activate, disable or revoke a device; live sessions follow at once",
     IA_PARAMS(status_params),
     .sql = "set_device_status",
     IA_QUERIES(row_query),
     .question = "Revoke device '%s' for ever?",
     .question_for = "REVOKED"},
    {.words = "device approve",
     .help = "make PENDING devices ACTIVE",
     IA_PARAMS(approve_params),
     .sql = APPROVE_STATEMENT,
     IA_QUERIES(approved_query),
     .flags = IA_V_STATEMENT},
    {.words = "device roles",
     .help = "list the roles of a device, its own and its CA's",
     IA_PARAMS(one_params),
     .sql = KNOWN_DEVICE,
     IA_QUERIES(roles_query),
     .flags = IA_V_STATEMENT},
    {.words = "device delete",
     .help = "delete devices with their certificates and roles; under auto-registration they may register again",
     IA_PARAMS(delete_params),
     .sql = DELETE_STATEMENT,
     .question = "Delete device '%s'?",
     .flags = IA_V_STATEMENT},
    {.words = "device import",
     .help = "register the devices of a CSV file; existing ones are reported and stay as they are",
     IA_PARAMS(import_params),
     .more =
         "The whole file is checked first, and each bad line is reported as 'line N: reason'. If any is bad, nothing is "
         "written and the exit status is 3, unless --skip-bad is given. The column roles holds role names with commas "
         "between them. Empty fields take the default."},
    {.words = "cert list",
     .help = "list certificates of devices, newest first",
     IA_PARAMS(cert_list_params),
     .sql = KNOWN_CA("$2"),
     IA_QUERIES(cert_list_query),
     .flags = IA_V_STATEMENT},
    {.words = "cert revoke",
     .help = "revoke one certificate for ever; others of the device stay valid",
     IA_PARAMS(fingerprint_params),
     .sql = "revoke_certificate",
     IA_QUERIES(cert_row_query),
     .question = "Revoke certificate %s for ever?"},
    {.words = "cert expiring",
     .help = "list certificates of CAs and devices that expire soon and have no newer one",
     IA_PARAMS(days_params),
     IA_QUERIES(expiring_query)},
    {.words = "cert import",
     .help = "register the devices of a folder of certificates, under the id that the CA's template gives",
     IA_PARAMS(cert_import_params),
     .more = "Checks all files first, as device import does."},
};
const struct ia_verb_group ia_verbs_device = {verbs, IA_COUNT(verbs)};
