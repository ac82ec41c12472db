// SPDX-License-Identifier: ISC
/* Writes one JSON object (RFC 8259) into the caller's buffer: events, counters, log lines.  Never allocates.
 * (JSON is parsed with jansson, in oauth/.) */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_json_out {
    char *out;
    size_t size, used;
    bool full; /* a member did not fit: the text must not be used */
};

/* Begin an object in out[size]. */
void ia_json_out_begin(struct ia_json_out *j, char *out, size_t size);

/* Add a member.  A NULL text becomes null; bytes that are not valid UTF-8 become U+FFFD; characters that would mislead the
 * reader of a log (ia_misleads_reader) are escaped. */
void ia_json_out_text(struct ia_json_out *j, const char *name, const char *value);

/* The same, but of the text, as it is written, at most `max` bytes, and "…" where it is cut; 0: all of it. */
void ia_json_out_cut(struct ia_json_out *j, const char *name, const char *value, size_t max);

void ia_json_out_int(struct ia_json_out *j, const char *name, int64_t value);

/* Begin a member that is an object; members follow, then its end. */
void ia_json_out_open(struct ia_json_out *j, const char *name);
void ia_json_out_close(struct ia_json_out *j);

/* End the object.  The text, NUL-terminated, or NULL when it did not fit. */
const char *ia_json_out_end(struct ia_json_out *j);
