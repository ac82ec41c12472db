// SPDX-License-Identifier: ISC
/* The certificates of a TLS handshake before OpenSSL parses them, which it does before it asks anybody.  Parsing includes
 * the public keys, and an EC key may be written so that this alone takes a quarter of a second for each certificate. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_SENT_LIST_MAX 32 /* certificates: 32 tiny ones cost five usual handshakes; the path search looks at 16 */

/* The body of a Certificate message (RFC 5246 7.4.2; `with_extensions`: RFC 8446 4.4.2) that a client sent.  NULL: OpenSSL
 * may parse it.  Otherwise what is wrong, static:
 * - more than IA_SENT_LIST_MAX certificates;
 * - an EC key with explicit curve parameters: RFC 5480 2.1.1 forbids them in certificates.  Whoever may choose the prime of
 *   the field chooses what the square root costs that decompresses a point (Tonelli-Shanks: with the square of the power
 *   of two in p-1);
 * - a compressed point on a named curve whose prime is not known to be 3 modulo 4, such as P-224: the same;
 * - what is not DER so far as this must be read: OpenSSL takes BER, with which a key could hide. */
const char *ia_sent_list_problem(const uint8_t *body, size_t len, bool with_extensions);
