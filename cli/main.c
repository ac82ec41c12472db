// SPDX-License-Identifier: ISC
/* iot-auth-check: dispatch to the sub-command. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
};

static const struct command commands[] = {
    {"chain", ia_cli_chain, "chain --ca CA.pem… [--crl CRL.pem…] [--at RFC3339] LEAF.pem [INTERMEDIATE.pem…]"},
    {"token", ia_cli_token,
     "token --jwks FILE --issuer URL --audience A… --alg A… [--at RFC3339] < TOKEN\n"
     "  iot-auth-check token --jwks FILE --alg A… --signature-only < JWS"},
    {"topic", ia_cli_topic,
     "topic --rules FILE [--var NAME=VALUE…] [--qos N] [--retain] publish|subscribe|receive TOPIC\n"
     "      # lines of FILE: ALLOW|DENY ACTION[,ACTION…] FILTER [max_qos=N] [retain=yes|no]"},
    {"device", ia_cli_device,
     "device [--client-id ID] [--event-prefix TOPIC] [--qos N] [--retain] DEVICE_ID publish|subscribe|receive TOPIC\n"
     "      # from the database in PGHOST…"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *to)
{
    fputs("usage:\n", to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  iot-auth-check %s\n", commands[i].usage);
    fputs("exit status: 0 allow, 1 deny, 2 usage or unreadable input\n", to);
}

/* A decision that could not be written must not look like a decision: exit with an error instead. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fputs("iot-auth-check: cannot write to standard output\n", stderr);
    return IA_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return IA_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return flush_output(IA_EXIT_ALLOW);
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return flush_output(commands[i].run(argc - 1, argv + 1));
    fprintf(stderr, "iot-auth-check: unknown command '%s'\n", argv[1]);
    print_usage(stderr);
    return IA_EXIT_USAGE;
}
