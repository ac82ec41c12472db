// SPDX-License-Identifier: ISC
#include "tls/socket_port.h"

#include <netinet/in.h>
#include <sys/socket.h>

uint16_t ia_socket_port(int fd)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0)
        return 0;
    // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): getsockname has set it
    if (local.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&local)->sin6_port);
    return local.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&local)->sin_port) : 0;
}
