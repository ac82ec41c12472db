// SPDX-License-Identifier: ISC
/* The binary format of COPY, message by message.  Both functions take anything and never read past `len`. */
#pragma once

#include "sql/codec.h"
#include "sql/devices.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- for the tests: what copy.c reads the messages of a stream with */

/* The header of the file: *used gets its length.  False: it is none, or one with features that are not known. */
bool ia_copy_header(const uint8_t *bytes, size_t len, size_t *used);

/* One row of n fields: values[] point into bytes (.bytes NULL: NULL), which are changed: each field is followed by a
 * NUL, as far as there is one of bytes behind it; the caller provides that of the last.  *end: it was the trailer
 * instead. */
bool ia_copy_row(uint8_t *bytes, size_t len, struct ia_pg_value *values, size_t n, bool *end);
