// SPDX-License-Identifier: ISC
/* Asking the registry for a device that is not in memory, and waiting for the answer: bounded in time, and in how much
 * it may hold up others.  Broker thread. */
#pragma once

#include "plugin/core.h"

#include "x509/cert.h"

struct ia_device_requests;

struct ia_device_requests *ia_device_requests_new(void); /* NULL when out of memory */
void ia_device_requests_free(struct ia_device_requests *wait);

/* The gate has verified a chain but not the key: look the device up, so that the answer is there when CONNECT comes.
 * Never registers. */
void ia_device_requests_prefetch(struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

struct ia_unregistered_device {
    const struct ia_cert_info *info;
    const char *device_id;
    int64_t ca_id;
    const char *address; /* NULL: not known */
};

/* The record of that certificate: from memory, or from the database, which registers it where its CA allows that.  Waits
 * at most auth_wait_ms (all together, between two TICKs), and not at all while the connection is known to be down or
 * earlier waits took too much.  IA_R_NONE and *device (borrowed until the next reply is applied), or the reason and
 * detail[]. */
enum ia_reason ia_device_requests_find(struct ia_core *core, const struct ia_unregistered_device *who,
                                       struct ia_device **device, char *detail, size_t detail_size);

/* Look a device up by its id, for the next question about it.  A few a second: one subscription can ask for the
 * publishers of ten thousand retained messages. */
void ia_device_requests_ask_by_name(struct ia_core *core, const char *device_id);

/* Questions that are under way, or were answered a moment ago. */
size_t ia_device_requests_pending(const struct ia_core *core);

/* TICK: the live sessions have their turn now. */
void ia_device_requests_turn(struct ia_core *core);

/* Forget what is no longer needed: every few seconds. */
void ia_device_requests_tidy(struct ia_core *core);
