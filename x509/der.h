// SPDX-License-Identifier: ISC
/* Reads DER (X.690) without allocating: just enough to step over the parts of a CRL.  Every element lies within its
 * parent, or reading fails. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_DER_BOOLEAN          0x01
#define IA_DER_INTEGER          0x02
#define IA_DER_BIT_STRING       0x03
#define IA_DER_OCTET_STRING     0x04
#define IA_DER_OID              0x06
#define IA_DER_ENUMERATED       0x0A
#define IA_DER_UTC_TIME         0x17
#define IA_DER_GENERALIZED_TIME 0x18
#define IA_DER_SEQUENCE         0x30
#define IA_DER_CONTEXT_0        0xA0 /* [0], constructed */

/* Octets that have not been read yet. */
struct ia_der_span {
    const uint8_t *at;
    size_t len;
};

struct ia_der_element {
    uint8_t tag;
    struct ia_der_span content;
    struct ia_der_span whole; /* with tag and length */
};

/* Take the next element off `from`.  False: nothing left, or malformed (a tag above 30, an indefinite length, a length
 * that passes the end). */
bool ia_der_take(struct ia_der_span *from, struct ia_der_element *out);

/* The same, and the element must have this tag. */
bool ia_der_take_tag(struct ia_der_span *from, uint8_t tag, struct ia_der_element *out);

/* The tag of the next element; 0 when nothing is left. */
uint8_t ia_der_peek(const struct ia_der_span *from);
