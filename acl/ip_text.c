// SPDX-License-Identifier: ISC
#include "acl/ip_trie.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}; /* ::ffff:0:0/96, RFC 4291 */

/* Parse an address without a zone into addr[16], IPv4 as an IPv4-mapped address. */
static bool parse_address(const char *text, uint8_t *addr)
{
    if (inet_pton(AF_INET6, text, addr) == 1)
        return true;
    memcpy(addr, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, addr + sizeof mapped) == 1;
}

struct ia_ip ia_ip_parse(const char *text)
{
    struct ia_ip ip = {0};
    char bare[INET6_ADDRSTRLEN];
    if (!text)
        return ip;
    size_t len = strcspn(text, "%");
    bool zone = text[len] == '%';
    if (len >= sizeof bare || (zone && (text[len + 1] == '\0' || !memchr(text, ':', len))))
        return ip;
    memcpy(bare, text, len);
    bare[len] = '\0';
    ip.valid = parse_address(bare, ip.addr);
    return ip;
}

/* One to three digits, no sign, no leading zero; -1 otherwise. */
static int parse_bits(const char *text)
{
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 3 || text[len] != '\0' || (text[0] == '0' && len > 1))
        return -1;
    int bits = 0;
    for (size_t i = 0; i < len; i++)
        bits = 10 * bits + (text[i] - '0');
    return bits;
}

const char *ia_prefix_parse(const char *text, struct ia_prefix_range *out)
{
    char bare[INET6_ADDRSTRLEN];
    uint8_t addr[16];
    if (!text)
        return "network: it is missing";
    size_t len = strcspn(text, "/");
    if (len >= sizeof bare)
        return "network: it is too long";
    memcpy(bare, text, len);
    bare[len] = '\0';
    if (!parse_address(bare, addr))
        return "network: it is not an IPv4 or IPv6 address";
    bool dotted_only = !strchr(bare, ':');
    int widest = dotted_only ? 32 : 128;
    int bits = text[len] == '/' ? parse_bits(text + len + 1) : widest;
    if (bits < 0 || bits > widest)
        return "network: the prefix length must be 0 to 32 (IPv4) or 0 to 128 (IPv6)";
    out->bits = (unsigned)(dotted_only ? bits + 96 : bits);
    out->key = ia_ip_key_of(addr);
    out->v4 = out->bits >= 96 && memcmp(addr, mapped, sizeof mapped) == 0;
    if (!ia_ip_key_equal(out->key, ia_ip_key_head(out->key, out->bits)))
        return "network: it has bits set to the right of the prefix length";
    return NULL;
}
