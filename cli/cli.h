// SPDX-License-Identifier: ISC
/* iot-auth-check: the plugin's decisions without a broker.  Each sub-command is one file, and one row in main.c. */
#pragma once

/* Exit status of every sub-command. */
enum ia_cli_exit {
    IA_EXIT_ALLOW = 0,
    IA_EXIT_DENY = 1,
    IA_EXIT_USAGE = 2, /* wrong usage, or input that cannot be read */
};

/* Run one sub-command.  argv[0] is its name; returns an ia_cli_exit.  Prints the decision on stdout: a first line that
 * starts with `allow` or `deny: REASON`; errors go to stderr. */
int ia_cli_chain(int argc, char **argv);
int ia_cli_token(int argc, char **argv);
int ia_cli_topic(int argc, char **argv);
int ia_cli_device(int argc, char **argv);
