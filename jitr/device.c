// SPDX-License-Identifier: ISC
#include "jitr/device.h"

#include "common/str.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t list_size(const struct ia_texts *list)
{
    size_t size = 0;
    for (size_t i = 0; i < list->n; i++)
        size += strlen(list->items[i]) + 1;
    return size;
}

static char *append_text(char *to, const char *text)
{
    size_t len = strlen(text) + 1;
    memcpy(to, text, len);
    return to + len;
}

#define FAULT_MAX 200
#define TOO_LARGE "the device has more roles and attributes than are kept (60000 bytes)"

/* Why this row cannot be used, or NULL. */
static const char *row_fault(const struct ia_device_row *row)
{
    if (row->fault)
        return row->fault;
    bool too_large = row->roles.n + row->attrs.n > UINT16_MAX ||
                     list_size(&row->roles) + list_size(&row->attrs) > IA_DEVICE_LISTS_MAX;
    return too_large ? TOO_LARGE : NULL;
}

/* The row as far as it is kept; *fault is its fault, cut to FAULT_MAX bytes, "" where it has none. */
static struct ia_device_row bounded_row(const struct ia_device_row *row, char fault[FAULT_MAX])
{
    struct ia_device_row kept = *row;
    const char *why = row_fault(row);
    fault[0] = '\0';
    if (strlen(row->device_id) + (row->tenant ? strlen(row->tenant) : 0) > 4 * IA_VALUE_MAX) {
        why = why ? why : "the device id or tenant is too long";
        kept.device_id = "$too-long"; /* no certificate can name it */
        kept.tenant = NULL;
    }
    if (!why)
        return kept;
    kept.roles.n = kept.attrs.n = 0;
    (void)snprintf(fault, FAULT_MAX, "%s", why);
    return kept;
}

struct ia_device *ia_device_new(const struct ia_device_row *whole)
{
    char fault[FAULT_MAX];
    const struct ia_device_row kept = bounded_row(whole, fault), *row = &kept;
    size_t id = strlen(row->device_id) + 1, tenant = row->tenant ? strlen(row->tenant) + 1 : 0;
    size_t lists = fault[0] ? strlen(fault) + 1 : list_size(&row->roles) + list_size(&row->attrs);
    struct ia_device *d = calloc(1, sizeof *d + id + tenant + lists);
    if (!d)
        return NULL;
    d->refs = 1;
    d->faulty = fault[0] != '\0';
    d->status = row->device_status;
    d->certificate_status = row->certificate_status;
    d->n_roles = (uint16_t)row->roles.n;
    d->n_attrs = (uint16_t)(row->attrs.n & ~(size_t)1);
    memcpy(d->fingerprint, row->fingerprint, sizeof d->fingerprint);
    d->certificate_ca_id = row->certificate_ca_id;
    d->device_ca_id = row->device_ca_id;
    d->not_after = row->not_after;
    d->tenant_at = tenant ? (uint16_t)id : 0;
    d->lists_at = (uint16_t)(id + tenant);
    char *to = append_text(d->text, row->device_id);
    if (row->tenant)
        to = append_text(to, row->tenant);
    if (d->faulty)
        (void)append_text(to, fault);
    for (size_t i = 0; i < row->roles.n; i++)
        to = append_text(to, row->roles.items[i]);
    for (size_t i = 0; i < d->n_attrs; i++)
        to = append_text(to, row->attrs.items[i]);
    return d;
}

struct ia_device *ia_device_ref(struct ia_device *device)
{
    device->refs++;
    return device;
}

void ia_device_free(struct ia_device *device)
{
    if (device && --device->refs == 0)
        free(device);
}

const char *ia_device_fault(const struct ia_device *device)
{
    return device->faulty ? device->text + device->lists_at : NULL;
}

bool ia_device_is_active(const struct ia_device *device)
{
    return !device->faulty && device->status == IA_DEVICE_ACTIVE && device->certificate_status == IA_CERT_ACTIVE;
}

const char *ia_device_tenant(const struct ia_device *device)
{
    return device->tenant_at ? device->text + device->tenant_at : NULL;
}

const char *ia_device_role(const struct ia_device *device, const char *last)
{
    const char *list = device->text + device->lists_at;
    if (!last)
        return device->n_roles ? list : NULL;
    const char *end = list;
    for (size_t i = 0; i < device->n_roles; i++)
        end += strlen(end) + 1;
    const char *next = last + strlen(last) + 1;
    return next < end ? next : NULL;
}

const char *ia_device_attr(const struct ia_device *device, const char *name)
{
    const char *p = device->text + device->lists_at;
    for (size_t i = 0; i < device->n_roles; i++)
        p += strlen(p) + 1;
    for (size_t i = 0; i < device->n_attrs; i += 2) {
        const char *value = p + strlen(p) + 1;
        if (strcmp(p, name) == 0)
            return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

/* Bytes used in text[]. */
static size_t text_size(const struct ia_device *device)
{
    const char *p = device->text + device->lists_at;
    for (size_t i = 0; i < (size_t)device->n_roles + device->n_attrs + device->faulty; i++)
        p += strlen(p) + 1;
    return (size_t)(p - device->text);
}

struct ia_device *ia_device_with_status(const struct ia_device *device, enum ia_device_status status,
                                        enum ia_cert_status certificate_status)
{
    size_t size = sizeof *device + text_size(device);
    struct ia_device *copy = malloc(size);
    if (!copy)
        return NULL;
    memcpy(copy, device, size);
    copy->refs = 1;
    copy->status = status;
    copy->certificate_status = certificate_status;
    return copy;
}

bool ia_device_equal(const struct ia_device *a, const struct ia_device *b)
{
    size_t size = text_size(a);
    return memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint) == 0 && a->status == b->status &&
           a->certificate_status == b->certificate_status && a->faulty == b->faulty &&
           a->certificate_ca_id == b->certificate_ca_id && a->device_ca_id == b->device_ca_id &&
           a->not_after == b->not_after && a->n_roles == b->n_roles && a->n_attrs == b->n_attrs &&
           a->tenant_at == b->tenant_at && a->lists_at == b->lists_at && size == text_size(b) &&
           memcmp(a->text, b->text, size) == 0;
}
