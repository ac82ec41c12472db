// SPDX-License-Identifier: ISC
/* Asking the registry for devices that are not in memory.  Nothing here waits for the answer: it is applied when it
 * arrives (replies.c).  Broker thread. */
#pragma once

#include "plugin/core.h"

#include "x509/cert.h"

struct ia_device_requests;

struct ia_device_requests *ia_device_requests_new(void); /* NULL when out of memory */
void ia_device_requests_free(struct ia_device_requests *requests);

struct ia_unregistered_device {
    const struct ia_cert_info *info;
    const char *device_id;
    int64_t ca_id;
    const char *address;             /* NULL: not known */
    X509 *leaf;                      /* with `ca`: what its registration gives the device is read from it; or NULL */
    const struct ia_ca_settings *ca; /* of ca_id, or NULL */
};

/* The record of that certificate in memory: IA_R_NONE and *device (borrowed until the next reply is applied).  Else the
 * reason and detail[]: what the registry has answered a moment ago, or IA_R_REGISTRY_UNAVAILABLE, where the registry has
 * been asked for the record, which registers the device where its CA allows that, or cannot be asked. */
enum ia_reason ia_device_requests_find(struct ia_core *core, const struct ia_unregistered_device *who,
                                       struct ia_device **device, char *detail, size_t detail_size);

/* The same for a pre-shared key, by the digest of its identity: the registry is asked for the records of that device, and
 * *asked says so.  A key registers nothing. */
enum ia_reason ia_device_requests_find_by_key(struct ia_core *core, const uint8_t digest[IA_PSK_DIGEST_LEN],
                                              const char *device_id, struct ia_device **device, bool *asked,
                                              const char **detail);

/* Has the registry been asked for that certificate, and will it answer? */
bool ia_device_requests_is_pending(const struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* Look a device up by its id, for the next question about it.  A few a second: one subscription can ask for the
 * publishers of ten thousand retained messages. */
void ia_device_requests_ask_by_name(struct ia_core *core, const char *device_id);

/* Forget what is no longer needed: every few seconds. */
void ia_device_requests_tidy(struct ia_core *core);
