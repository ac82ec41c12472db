// SPDX-License-Identifier: ISC
/* What the sub-commands share: reading files, times and saying what is wrong. */
#pragma once

#include "common/error.h"

#include <stddef.h>
#include <stdio.h>

/* Read all of `in` as text, at most `max` bytes.  A NUL ends with *len set, so a caller that takes C strings can tell:
 * see ia_cli_read_text.  The caller frees *out, which is NUL-terminated.  `name` is for messages. */
IA_MUST_USE enum ia_rc ia_cli_read_stream(FILE *in, const char *name, size_t max, char **out, size_t *len,
                                          struct ia_err *err);

/* Read the file at `path` as a C string of at most `max` bytes; one that holds a NUL is IA_FORMAT (what follows it
 * would not be looked at).  The caller frees *out. */
IA_MUST_USE enum ia_rc ia_cli_read_text(const char *path, size_t max, char **out, struct ia_err *err);

/* Print `iot-auth-check COMMAND: MESSAGE` to stderr and return IA_EXIT_USAGE. */
int ia_cli_complain(const char *command, const char *fmt, ...) IA_PRINTF(2, 3);
