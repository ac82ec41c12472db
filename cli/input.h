// SPDX-License-Identifier: ISC
/* Reading the files that a command line names. */
#pragma once

#include "common/error.h"

#include <stddef.h>

/* Read the file at `path` as a C string of at most `max` bytes.  A file that contains a NUL is IA_FORMAT, because the
 * rest would be ignored.  The caller frees *out. */
IA_MUST_USE enum ia_rc ia_cli_read_text(const char *path, size_t max, char **out, struct ia_err *err);

/* Overwrite and free a secret text.  NULL is allowed. */
void ia_cli_wipe_text(char *text);

/* Read a token from standard input; line ends behind it (of echo) are not part of it.  The caller wipes and frees *out. */
IA_MUST_USE enum ia_rc ia_input_token(char **out, size_t *len, struct ia_err *err);

/* Read the file at `path`, or standard input where it is "-", as the text of a document: a certificate, a CRL or JSON. A
 * certificate or CRL in DER comes as PEM.  The caller frees *out. */
IA_MUST_USE enum ia_rc ia_input_document(const char *path, char **out, struct ia_err *err);
