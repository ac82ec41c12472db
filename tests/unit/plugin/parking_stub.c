// SPDX-License-Identifier: ISC
#include "tests/unit/plugin/parking_stub.h"

#include <check.h>
#include <string.h>

struct parking_stub parking_stub;

enum ia_rc ia_parking_open(const struct ia_parking_settings *settings, struct ia_err *err)
{
    (void)err;
    parking_stub.open = true;
    parking_stub.max = settings->max;
    return IA_OK;
}

void ia_parking_close(void)
{
    parking_stub.open = false;
    ia_parking_expire(INT64_MAX);
}

bool ia_parking_hold(SSL *ssl, const uint8_t key[IA_PARKING_KEY_LEN], int64_t until_us)
{
    (void)ssl;
    ck_assert(parking_stub.open);
    if (ia_parking_count() >= parking_stub.max)
        return false;
    ck_assert_uint_lt(parking_stub.n, PARKING_STUB_MAX);
    size_t at = parking_stub.n++;
    parking_stub.connections[at].held = true;
    parking_stub.connections[at].until_us = until_us;
    memcpy(parking_stub.connections[at].key, key, IA_PARKING_KEY_LEN);
    return true;
}

void ia_parking_release(const uint8_t key[IA_PARKING_KEY_LEN])
{
    for (size_t i = 0; i < parking_stub.n; i++)
        if (memcmp(parking_stub.connections[i].key, key, IA_PARKING_KEY_LEN) == 0)
            parking_stub.connections[i].held = false;
}

void ia_parking_expire(int64_t now_us)
{
    for (size_t i = 0; i < parking_stub.n; i++)
        if (parking_stub.connections[i].until_us <= now_us)
            parking_stub.connections[i].held = false;
}

size_t ia_parking_count(void)
{
    size_t n = 0;
    for (size_t i = 0; i < parking_stub.n; i++)
        n += parking_stub.connections[i].held;
    return n;
}
