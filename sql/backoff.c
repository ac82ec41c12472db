// SPDX-License-Identifier: ISC
#include "sql/backoff.h"

#define DOUBLINGS 6 /* beyond these the maximum is reached */

int ia_backoff_ms(unsigned attempt, uint32_t random)
{
    int ceiling = 2 * IA_BACKOFF_MIN_MS << (attempt < DOUBLINGS ? attempt : DOUBLINGS);
    if (ceiling > IA_BACKOFF_MAX_MS)
        ceiling = IA_BACKOFF_MAX_MS;
    int half = ceiling / 2;
    return half + (int)(random % ((uint32_t)half + 1));
}
