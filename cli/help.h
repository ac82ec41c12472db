// SPDX-License-Identifier: ISC
/* --help, made from the table of verbs. */
#pragma once

#include <stdio.h>

/* Print help for the verbs whose words begin with `path` ("" for all): a list of them, or, where there is one, all about
 * it.  `program` is "iot-auth", or "iot-auth-check", which has the verbs below "check" without that word. */
void ia_help_print(FILE *to, const char *program, const char *path);
