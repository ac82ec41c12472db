// SPDX-License-Identifier: ISC
/* Octets that somebody else owns. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ia_octets {
    const uint8_t *at; /* borrowed */
    size_t len;
};
