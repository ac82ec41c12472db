// SPDX-License-Identifier: ISC
/* What the certificate of a refused client says of itself: its chain may be the reason of the refusal, so it is reported
 * as claimed, bounded and in one line.  It lets an administrator find the device that was refused. */
#pragma once

#include "x509/cert.h"

#include <stdint.h>

#define IA_SHOWN_TEXT_MAX 200 /* bytes of one text, NUL included; longer ones are cut */

/* Texts are UTF-8 without control characters, perhaps cut within a character, where the certificate holds UTF-8 (the
 * names in RFC 2253 are ASCII); "" where it has no such field. */
struct ia_shown_certificate {
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    char cn[IA_SHOWN_TEXT_MAX];
    char serial[2 * IA_SERIAL_MAX + 2]; /* lower-case hex */
    char subject[IA_SHOWN_TEXT_MAX];    /* RFC 2253 */
    char issuer[IA_SHOWN_TEXT_MAX];
    char key_id[2 * IA_SERIAL_MAX + 1]; /* subject key identifier, hex, cut */
    char authority_key_id[2 * IA_SERIAL_MAX + 1];
    char not_after[32]; /* RFC 3339 */
};

/* Read what there is; never fails.  Leaves OpenSSL's error queue as it was. */
void ia_shown_certificate_read(X509 *leaf, struct ia_shown_certificate *out);
