// SPDX-License-Identifier: ISC
/* The one place where validity times are compared.  RFC 5280 section 4.1.2.5: the validity period runs from notBefore
 * through notAfter, both included.  Times are seconds since 1970, UTC. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline bool ia_x509_expired(int64_t not_after, int64_t now)
{
    return now > not_after;
}

static inline bool ia_x509_not_yet_valid(int64_t not_before, int64_t now)
{
    return now < not_before;
}
