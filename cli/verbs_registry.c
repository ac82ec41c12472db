// SPDX-License-Identifier: ISC
/* Verbs about the registry as a whole. */
#include "cli/verb.h"

static const struct ia_param release_params[] = {{.name = "CLIENT_ID",
                                                  .value = "CLIENT_ID",
                                                  .sql = "client_id text",
                                                  .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
                                                  .help = "MQTT client id"}};
static const struct ia_param import_params[] = {
    {.name = "FILE.json",
     .value = "FILE.json",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "the output of export; - reads standard input"},
    {.name = "diff",
     .help = "show what would change, and what only the registry has (keep); exit status 1 if anything"},
};
static const struct ia_param migrate_params[] = {
    {.name = "dry-run", .help = "list what would be applied"},
    {.name = "create-database", .help = "create the connection's database if it is missing"},
    {.name = "broker-password-file",
     .value = "FILE",
     .help = "set the password of iot_auth_broker to the one line of FILE"},
    {.name = "monitor-password-file", .value = "FILE", .help = "the same for iot_auth_monitor"},
};

static const struct ia_param document_params[] = {{.name = "FORMAT",
                                                   .value = "markdown|man|man-check|bash|zsh",
                                                   .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
                                                   .help = "the reference, a manual page, or completion for a shell"}};

static const struct ia_verb verbs[] = {
    {.words = "client-id release",
     .help = "make every broker forget who owns a client id, unless the owner is connected",
     IA_PARAMS(release_params),
     .sql = "release_client_id"},
    {.words = "export",
     .help =
         "print the whole configuration as JSON: CAs, roles, rules, issuers, address rules; no devices, no secrets"},
    {.words = "import",
     .help =
         "add and change what a configuration says, in one transaction; rows that only the registry has stay as they are",
     IA_PARAMS(import_params),
     .more =
         "The rules of a role, the roles of a CA and the mapped scopes of an issuer become those of the file. Address "
         "rules of single devices are not part of it."},
    {.words = "migrate",
     .help = "create schema iot_auth, or bring it to the version of this program",
     IA_PARAMS(migrate_params),
     .more =
         "The migrations are part of the program. Run it as the role that owns the schema (for a new one: a "
         "superuser, or the owner of the database with CREATEROLE). Migrations that are applied already are skipped."},
    {.words = "documentation",
     .help = "print the reference, a manual page or completion for a shell, made from the table of commands",
     IA_PARAMS(document_params)},
};
const struct ia_verb_group ia_verbs_registry = {verbs, IA_COUNT(verbs)};
