// SPDX-License-Identifier: ISC
/* Reading the files that a command line names. */
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

/* Read a token from standard input; line ends behind it (of echo) are not part of it.  The caller wipes and frees *out. */
IA_MUST_USE enum ia_rc ia_input_token(char **out, size_t *len, struct ia_err *err);

/* Read the file at `path`, or standard input where it is "-", as the text of a document: a certificate, a CRL or JSON. A
 * certificate or CRL in DER comes as PEM.  The caller frees *out. */
IA_MUST_USE enum ia_rc ia_input_document(const char *path, char **out, struct ia_err *err);
