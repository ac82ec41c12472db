// SPDX-License-Identifier: ISC
/* Parking without sockets: the test sees which handshakes are held back, for which certificate and until when. */
#pragma once

#include "tls/parking.h"

#define PARKING_STUB_MAX 64

extern struct parking_stub {
    bool open;
    size_t max;
    struct {
        bool held;
        uint8_t key[IA_PARKING_KEY_LEN];
        int64_t until_us;
    } connections[PARKING_STUB_MAX]; /* in the order in which they were parked */
    size_t n;
} parking_stub;
