// SPDX-License-Identifier: ISC
/* Verbs that decide as a broker does, without one.  iot-auth-check is another name for them. */
#include "cli/verb.h"

#define AT_OPTION                                                                                                      \
    {                                                                                                                  \
        .name = "at", .value = "TIME", .help = "decide as of this time, RFC 3339; default now"                         \
    }
#define ACTION_ARGUMENT                                                                                                \
    {                                                                                                                  \
        .name = "ACTION", .value = "publish|subscribe|receive", .flags = IA_P_ARGUMENT | IA_P_REQUIRED,                \
        .help = "the action"                                                                                           \
    }
#define TOPIC_ARGUMENT                                                                                                 \
    {                                                                                                                  \
        .name = "TOPIC", .value = "TOPIC", .flags = IA_P_ARGUMENT | IA_P_REQUIRED, .help = "topic, or topic filter"    \
    }
#define QOS_OPTIONS                                                                                                    \
    {.name = "qos", .value = "0|1|2", .help = "QoS of the message; default 0"},                                        \
    {                                                                                                                  \
        .name = "retain", .help = "the message is retained"                                                            \
    }

static const struct ia_param chain_params[] = {
    {.name = "ca",
     .value = "CA.pem",
     .flags = IA_P_LIST | IA_P_REQUIRED,
     .help = "certificates that stand for registered CAs; a file may hold several"},
    {.name = "crl",
     .value = "CRL.pem",
     .flags = IA_P_LIST,
     .help = "CRLs; with any, each CA on the chain needs a valid one"},
    AT_OPTION,
    {.name = "LEAF.pem",
     .value = "LEAF.pem",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "certificate of the device"},
    {.name = "INTERMEDIATE.pem",
     .value = "INTERMEDIATE.pem",
     .flags = IA_P_ARGUMENT | IA_P_LIST,
     .help = "further certificates that the device sends"},
};
static const struct ia_param cert_params[] = {
    {.name = "client-id", .value = "ID", .help = "MQTT client id; default: the device id"},
    {.name = "from", .value = "ADDRESS", .help = "the device's address; without it address rules do not count"},
    {.name = "LEAF.pem",
     .value = "LEAF.pem",
     .flags = IA_P_ARGUMENT | IA_P_REQUIRED,
     .help = "certificate of the device, PEM or DER"},
    {.name = "INTERMEDIATE.pem",
     .value = "INTERMEDIATE.pem",
     .flags = IA_P_ARGUMENT | IA_P_LIST,
     .help = "further certificates that the device sends"},
};
static const struct ia_param token_params[] = {
    {.name = "issuer",
     .value = "NAME",
     .help = "name of a registered issuer; with --jwks the iss claim, without the registry"},
    {.name = "client-id", .value = "ID", .help = "MQTT client id; default: the app's name, app:ISSUER:APP_ID"},
    {.name = "from", .value = "ADDRESS", .help = "the client's address; without it address rules do not count"},
    {.name = "jwks-ca-file",
     .value = "FILE",
     .help = "CAs that the provider's HTTPS is checked against, as the brokers' option jwks_ca_file"},
    {.name = "jwks", .value = "FILE", .help = "decide without the registry: the issuer's keys, a JWK set"},
    {.name = "audience", .value = "AUDIENCE", .flags = IA_P_LIST | IA_P_FOLLOWING, .help = "accepted values of aud"},
    {.name = "alg", .value = "ALG", .flags = IA_P_LIST | IA_P_FOLLOWING, .help = "accepted signature algorithms"},
    {.name = "signature-only", .help = "check the signature of a JWS alone, whatever its payload is"},
    AT_OPTION,
};
static const struct ia_param topic_params[] = {
    {.name = "rules",
     .value = "FILE",
     .flags = IA_P_REQUIRED,
     .help = "lines ALLOW|DENY ACTION[,ACTION…] FILTER [max_qos=N] [retain=yes|no]"},
    {.name = "var", .value = "NAME=VALUE", .flags = IA_P_LIST, .help = "value of a variable of the rules"},
    QOS_OPTIONS,
    ACTION_ARGUMENT,
    TOPIC_ARGUMENT,
};
static const struct ia_param device_params[] = {
    {.name = "client-id", .value = "ID", .help = "MQTT client id; default: the device id"},
    {.name = "event-prefix", .value = "TOPIC", .help = "the brokers' option event_prefix; default $iot-auth/events"},
    QOS_OPTIONS,
    {.name = "DEVICE_ID", .value = "DEVICE_ID", .flags = IA_P_ARGUMENT | IA_P_REQUIRED, .help = "id of the device"},
    ACTION_ARGUMENT,
    TOPIC_ARGUMENT,
};

static const struct ia_verb verbs[] = {
    {.words = "check chain",
     .help = "would these CAs admit this certificate? prints the CA and the identity",
     IA_PARAMS(chain_params)},
    {.words = "check cert",
     .help = "would a broker admit this certificate now? prints as which device, with which roles",
     IA_PARAMS(cert_params),
     .more =
         "Decides by the registry as a broker does and changes nothing: a device that would register is not registered. "
         "A refusal has the reason and words of the brokers, and says what would have to be true instead."},
    {.words = "check token",
     .help = "would the access token on standard input be accepted? prints the claims that count",
     IA_PARAMS(token_params)},
    {.words = "check topic", .help = "what do the rules of a file decide? prints the rule", IA_PARAMS(topic_params)},
    {.words = "check device",
     .help = "may this device of the registry do that? prints the rule",
     IA_PARAMS(device_params)},
};
const struct ia_verb_group ia_verbs_check = {verbs, IA_COUNT(verbs)};
