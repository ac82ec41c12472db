// SPDX-License-Identifier: ISC
/* The verb that comes first. */
#include "cli/verb.h"

static const struct ia_param setup_params[] = {
    {.name = "server-cert",
     .value = "FILE",
     .help = "the broker's certificate with its chain, PEM; default: a self-signed one is made, for trying out"},
    {.name = "server-key",
     .value = "FILE",
     .help = "its private key, PEM, which the broker's user must be able to read"},
    {.name = "server-name",
     .value = "NAME",
     .help = "host name in the self-signed certificate; default: that of this machine"},
    {.name = "device-port", .value = "PORT", .help = "listener for devices; default 8883"},
    {.name = "app-port", .value = "PORT", .help = "listener for apps; default 8884"},
    {.name = "database", .value = "NAME", .help = "the registry's database; default iot_auth"},
    {.name = "new-password",
     .help = "give the broker's database role a new password; other brokers need the new passfile"},
    {.name = "dry-run", .help = "check, and print what would be made"},
    {.name = "mosquitto-dir", .value = "DIR", .help = "Mosquitto's configuration; default /etc/mosquitto"},
    {.name = "broker-user", .value = "USER", .help = "the user that the broker runs as; default mosquitto"},
    {.name = "mosquitto", .value = "FILE", .help = "the broker's program; default /usr/sbin/mosquitto"},
    {.name = "plugin", .value = "FILE", .help = "the plugin; default: where it was installed"},
    {.name = "service-file",
     .value = "FILE",
     .help = "where the service iot-auth is written; default pg_service.conf in /etc/postgresql-common"},
};

static const struct ia_verb verbs[] = {
    {.words = "setup",
     .help = "make the database, passfile, configuration and server certificate of the broker on this machine",
     IA_PARAMS(setup_params),
     .more =
         "Run it as root, on Debian with Mosquitto and PostgreSQL. Without --conninfo (and PGUSER) it uses PostgreSQL on "
         "this machine as user postgres. It checks first: if anything is wrong, it says what, and changes nothing. It "
         "keeps what exists, so a second run only applies the migrations of a newer version. It restarts no broker, "
         "and prints the next command."},
};
const struct ia_verb_group ia_verbs_setup = {verbs, IA_COUNT(verbs)};
