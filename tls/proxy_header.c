// SPDX-License-Identifier: ISC
#include "tls/proxy_header.h"

#include <netinet/in.h>
#include <string.h>

/*  bytes 0 to 11: signature; 12: version and command; 13: family and protocol; 14, 15: length of what follows;
 *  then source address, destination address, source port, destination port, TLVs. */
static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

#define FIXED         16
#define COMMAND_LOCAL 0x20
#define COMMAND_PROXY 0x21
#define TCP_OVER_IPV4 0x11
#define TCP_OVER_IPV6 0x21
#define IPV4_BYTES    12
#define IPV6_BYTES    36

static bool write_address(int family, const void *from, char address[INET6_ADDRSTRLEN])
{
    return inet_ntop(family, from, address, INET6_ADDRSTRLEN) != NULL;
}

static enum ia_proxy_verdict read_client(const uint8_t *bytes, size_t length, char address[INET6_ADDRSTRLEN])
{
    const uint8_t *from = bytes + FIXED;
    struct in6_addr v6;
    bool written = false;
    if (bytes[13] == TCP_OVER_IPV4 && length >= IPV4_BYTES)
        written = write_address(AF_INET, from, address);
    if (bytes[13] == TCP_OVER_IPV6 && length >= IPV6_BYTES) {
        memcpy(&v6, from, sizeof v6);
        written = IN6_IS_ADDR_V4MAPPED(&v6) ? write_address(AF_INET, from + 12, address)
                                            : write_address(AF_INET6, from, address);
    }
    return written ? IA_PROXY_CLIENT : IA_PROXY_REFUSED;
}

enum ia_proxy_verdict ia_proxy_header_read(const uint8_t *bytes, size_t n, size_t *needed,
                                           char address[INET6_ADDRSTRLEN])
{
    if (memcmp(bytes, signature, n < sizeof signature ? n : sizeof signature) != 0)
        return IA_PROXY_REFUSED;
    *needed = FIXED;
    if (n < FIXED)
        return IA_PROXY_INCOMPLETE;
    size_t length = (size_t)bytes[14] << 8 | bytes[15];
    bool known = bytes[12] == COMMAND_LOCAL ||
                 (bytes[12] == COMMAND_PROXY && (bytes[13] == TCP_OVER_IPV4 || bytes[13] == TCP_OVER_IPV6));
    if (!known || FIXED + length > IA_PROXY_HEADER_MAX)
        return IA_PROXY_REFUSED;
    *needed = FIXED + length;
    if (n < *needed)
        return IA_PROXY_INCOMPLETE;
    return bytes[12] == COMMAND_LOCAL ? IA_PROXY_LOCAL : read_client(bytes, length, address);
}
