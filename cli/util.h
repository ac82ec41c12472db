// SPDX-License-Identifier: ISC
/* Shared by the sub-commands: reading files, printing errors. */
#pragma once

#include "common/error.h"

#include <stddef.h>
#include <stdio.h>

/* Read all of `in` as text, at most `max` bytes.  *len gets the number of bytes, so that a caller that needs a C string
 * can detect a NUL in it (see ia_cli_read_text).  The caller frees *out, which is NUL-terminated.  `name` is for
 * messages. */
IA_MUST_USE enum ia_rc ia_cli_read_stream(FILE *in, const char *name, size_t max, char **out, size_t *len,
                                          struct ia_err *err);

/* Read the file at `path` as a C string of at most `max` bytes.  A file that contains a NUL is IA_FORMAT, because the
 * rest would be ignored.  The caller frees *out. */
IA_MUST_USE enum ia_rc ia_cli_read_text(const char *path, size_t max, char **out, struct ia_err *err);

/* Print `iot-auth-check COMMAND: MESSAGE` to stderr and return IA_EXIT_USAGE. */
int ia_cli_error(const char *command, const char *fmt, ...) IA_PRINTF(2, 3);
