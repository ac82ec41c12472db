// SPDX-License-Identifier: ISC
/* The header of the PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, section 2.2), in which a balancer says whose
 * connection it passes on.  Decides from its arguments alone.  Version 1, which is text, is not accepted. */
#pragma once

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_PROXY_HEADER_MAX 536 /* with its TLVs: what fits into the smallest TCP segment (section 2) */

enum ia_proxy_verdict {
    IA_PROXY_REFUSED,    /* no header that is accepted begins with these bytes */
    IA_PROXY_INCOMPLETE, /* *needed bytes are needed, no more than the header has */
    IA_PROXY_LOCAL,      /* the balancer's own connection, a health check: its address is the socket's */
    IA_PROXY_CLIENT,     /* passed on for the client with `address` */
};

/* Read the header that begins with bytes[0..n), n at most IA_PROXY_HEADER_MAX.  An IPv4-mapped IPv6 address is written as
 * the IPv4 address. */
enum ia_proxy_verdict ia_proxy_header_read(const uint8_t *bytes, size_t n, size_t *needed,
                                           char address[INET6_ADDRSTRLEN]);
