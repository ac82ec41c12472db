// SPDX-License-Identifier: ISC
/* One device certificate of the registry, as the broker remembers it: certificate row, device row and the roles that
 * the device has of its own, in one block of memory (about 100 bytes for a plain device, so that a million fit in 150
 * MB).
 *
 * Made by the worker, then given to the broker thread, which alone counts references: sessions keep the record they
 * were admitted by, the cache keeps the newest.  Never changed after that but for the marks at its head. */
#pragma once

#include "sql/records_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_device {
    uint32_t refs;
    uint8_t resync_epoch;     /* of the last resync that found it in the registry */
    bool used;                /* second chance: looked at since the eviction hand passed */
    uint8_t refusal;          /* enum ia_reason of the last refusal that an event was written for */
    uint8_t refusal_unproven; /* the same in the handshake, where a client has not yet proved that it has the key */
    enum ia_device_status status : 8;
    enum ia_cert_status certificate_status : 8;
    bool faulty;    /* its row cannot be used, and the device is refused: the fault stands in place of the lists */
    uint8_t denial; /* mark of the topic and action that the last topic_denied event was written for, 0: none */
    uint16_t n_roles;
    uint16_t n_attrs; /* names and values together: an even number */
    uint8_t fingerprint[32];
    int64_t certificate_ca_id;
    int64_t device_ca_id;
    int64_t not_after;  /* of the certificate, 0 where the registry does not know it */
    uint16_t tenant_at; /* offset in text[], 0: no tenant */
    uint16_t lists_at;  /* offset of roles, then attributes, one NUL-terminated text after the other */
    char text[];        /* the device id first */
};

#define IA_DEVICE_LISTS_MAX 60000 /* bytes of roles and attributes of one device */

/* A record with one reference from a row; NULL when out of memory.  The record of a row with a fault, or with more
 * roles and attributes than are kept, holds only the fault: one row cannot hold up the others. */
struct ia_device *ia_device_new(const struct ia_device_row *whole);

/* A copy with one reference and other statuses; NULL when out of memory. */
struct ia_device *ia_device_with_status(const struct ia_device *device, enum ia_device_status status,
                                        enum ia_cert_status certificate_status);

struct ia_device *ia_device_ref(struct ia_device *device);
void ia_device_free(struct ia_device *device);

static inline const char *ia_device_id(const struct ia_device *device)
{
    return device->text;
}

/* Why the device's row cannot be used; NULL: it can. */
const char *ia_device_fault(const struct ia_device *device);

/* Is it the record of a certificate?  Else of a pre-shared key, whose status and expiry stand in place of the
 * certificate's. */
static inline bool ia_device_has_certificate(const struct ia_device *device)
{
    return device->certificate_ca_id != 0;
}

/* Are the device and this certificate of it ACTIVE, and can the row be used? */
bool ia_device_is_active(const struct ia_device *device);

/* NULL where the device has no tenant. */
const char *ia_device_tenant(const struct ia_device *device);

/* Iterate over the roles: ia_device_role(d, NULL) is the first, ia_device_role(d, last) the next, NULL at the end. */
const char *ia_device_role(const struct ia_device *device, const char *last);

/* The value of attribute `name`, or NULL. */
const char *ia_device_attr(const struct ia_device *device, const char *name);

/* Do both say the same?  (Marks are not compared.) */
bool ia_device_equal(const struct ia_device *a, const struct ia_device *b);
