// SPDX-License-Identifier: ISC
#include "sql/db_tls.h"

#include <arpa/inet.h>
#include <string.h>

static const struct {
    const char *text, *word;
} names[] = {[IA_DB_CLEAR] = {"CLEAR", "clear"},
             [IA_DB_TLS_UNVERIFIED] = {"tls unverified", "unverified"},
             [IA_DB_TLS_VERIFIED] = {"tls verified", "verified"},
             [IA_DB_LOCAL] = {"local", "local"}};

const char *ia_db_tls_text(enum ia_db_tls tls)
{
    return names[tls].text;
}

const char *ia_db_tls_word(enum ia_db_tls tls)
{
    return names[tls].word;
}

static bool is_loopback(const char *address)
{
    static const struct in6_addr loopback6 = IN6ADDR_LOOPBACK_INIT;
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, address, &v6) == 1 && memcmp(&v6, &loopback6, sizeof v6) == 0;
}

bool ia_host_is_local(const char *host, const char *hostaddr)
{
    if (hostaddr && hostaddr[0])
        return is_loopback(hostaddr);
    if (!host || !host[0])
        return true;
    /* '@': a socket in the abstract namespace */
    return host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0 || is_loopback(host);
}
