// SPDX-License-Identifier: ISC
/* The port of a listener, by one of its connections.  Any thread. */
#pragma once

#include <stdint.h>

/* The local port of the connected socket `fd`; 0: it is none, or not of IP. */
uint16_t ia_socket_port(int fd);
