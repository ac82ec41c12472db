// SPDX-License-Identifier: ISC
/* Asking the registry for a device that is not in the cache: bounded in time, and in how much it may hold up others. */
#pragma once

#include "plugin/core.h"

/* The gate has verified a chain but not the key: look the device up, so that the answer is there when CONNECT comes.
 * Never registers. */
void ia_registration_prefetch(struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

struct ia_unregistered_device {
    const struct ia_cert_info *info;
    const char *device_id;
    int64_t ca_id;
    const char *address;
};

/* The record of that certificate: from memory, or from the database, which registers it where its CA allows that. Waits
 * at most auth_wait_ms (all together, between two TICKs), and not at all while the connection is known to be down or
 * earlier waits took too much.  IA_R_NONE and *device (borrowed until the next reply is applied), or the reason and
 * detail[]. */
enum ia_reason ia_registration_find(struct ia_core *core, const struct ia_unregistered_device *who,
                                    struct ia_device **device, char *detail, size_t detail_size);

/* Look a device up by its id, for what is asked of it next time.  A few a second: one subscription can ask for the
 * publishers of ten thousand retained messages. */
void ia_registration_ask_by_name(struct ia_core *core, const char *device_id);

/* Forget answers that are older than a second, and questions that nobody answered. */
void ia_registration_tidy(struct ia_core *core);

/* Forget all. */
void ia_registration_clear(struct ia_core *core);
