// SPDX-License-Identifier: ISC
#include "jitr/device_check.h"

#include "common/principal.h"
#include "common/str.h"
#include "jitr/certificate_variables.h"
#include "x509/validity.h"

#include <string.h>

struct client_id_names {
    struct ia_certificate_variables registry; /* ${ca} and ${tenant} */
    const char *device_id;
};

static const char *client_id_variable(void *ctx, const char *variable, const char **why)
{
    struct client_id_names *names = ctx;
    if (strcmp(variable, "device_id") == 0)
        return names->device_id;
    return ia_certificate_variable(&names->registry, variable, why);
}

enum ia_reason ia_device_id_derive(const struct ia_ca_settings *settings, struct ia_identity *identity,
                                   char id[IA_VALUE_MAX + 1], struct ia_err *err)
{
    struct ia_certificate_variables variables = {.ca = settings, .identity = identity};
    const char *why = NULL;
    if (ia_template_fill(settings->device_id, ia_certificate_variable, &variables, id, IA_VALUE_MAX + 1, err) != IA_OK)
        return IA_R_IDENTITY_INVALID;
    if (!ia_value_valid(id, strlen(id), &why)) {
        (void)ia_fail(err, IA_FORMAT, "the device id cannot be used: %s", why);
        return IA_R_IDENTITY_INVALID;
    }
    /* The name space of apps: a CA must not be able to mint one. */
    if (ia_principal_is_app(id)) {
        (void)ia_fail(err, IA_FORMAT, "the device id begins with 'app:'");
        return IA_R_IDENTITY_INVALID;
    }
    return IA_R_NONE;
}

bool ia_client_id_check(const struct ia_ca_settings *settings, const char *device_id, const char *client_id)
{
    struct client_id_names names = {.registry = {.ca = settings}, .device_id = device_id};
    size_t len = strnlen(client_id, IA_CLIENT_ID_MAX + 1);
    if (len == 0 || len > IA_CLIENT_ID_MAX || strpbrk(client_id, "+#") || !ia_utf8_valid(client_id, len))
        return false;
    for (size_t i = 0; i < settings->n_client_ids; i++)
        if (ia_template_match(settings->client_ids[i], client_id_variable, &names, client_id))
            return true;
    return false;
}

static enum ia_reason reason_of_certificate(enum ia_cert_status status)
{
    switch (status) {
    case IA_CERT_ACTIVE:
        return IA_R_NONE;
    case IA_CERT_INACTIVE:
        return IA_R_CERTIFICATE_INACTIVE;
    case IA_CERT_REVOKED:
        break;
    }
    return IA_R_CERTIFICATE_REVOKED;
}

static enum ia_reason reason_of_device(enum ia_device_status status)
{
    switch (status) {
    case IA_DEVICE_ACTIVE:
        return IA_R_NONE;
    case IA_DEVICE_PENDING:
        return IA_R_DEVICE_PENDING;
    case IA_DEVICE_INACTIVE:
        return IA_R_DEVICE_INACTIVE;
    case IA_DEVICE_REVOKED:
        break;
    }
    return IA_R_DEVICE_REVOKED;
}

/* The certificate is the very one that was registered, so no CA can pass for another here. */
static bool is_below_any(const struct ia_ca_settings_set *ca_settings, int64_t ca_id, const int64_t *cas, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ia_ca_settings_in_line(ca_settings, ca_id, cas[i]))
            return true;
    return false;
}

enum ia_reason ia_device_check(const struct ia_device *device, const struct ia_ca_settings_set *ca_settings,
                               const int64_t *cas, size_t n, const char *device_id, int64_t now)
{
    if (device->faulty)
        return IA_R_INTERNAL;
    /* The certificate was registered under another name or CA: rows were edited, or the CA's template changed. */
    if (strcmp(ia_device_id(device), device_id) != 0 || !is_below_any(ca_settings, device->certificate_ca_id, cas, n))
        return IA_R_DEVICE_CONFLICT;
    enum ia_reason reason = reason_of_device(device->status);
    if (reason == IA_R_NONE)
        reason = reason_of_certificate(device->certificate_status);
    if (reason == IA_R_NONE && device->not_after && ia_x509_expired(device->not_after, now))
        reason = IA_R_CERTIFICATE_EXPIRED;
    return reason;
}

static const char *fault_of_key(const struct ia_device *device, int64_t now)
{
    if (device->certificate_status != IA_CERT_ACTIVE)
        return device->certificate_status == IA_CERT_REVOKED ? "the key is REVOKED" : "the key is INACTIVE";
    return device->not_after && ia_x509_expired(device->not_after, now) ? "the key has expired" : NULL;
}

enum ia_reason ia_device_check_psk(const struct ia_device *device, const char *device_id, int64_t now,
                                   const char **detail)
{
    *detail = device->faulty ? ia_device_fault(device) : NULL;
    if (device->faulty)
        return IA_R_INTERNAL;
    if (strcmp(ia_device_id(device), device_id) != 0)
        return IA_R_DEVICE_CONFLICT;
    enum ia_reason reason = reason_of_device(device->status);
    if (reason != IA_R_NONE)
        return reason;
    *detail = fault_of_key(device, now);
    return *detail ? IA_R_PSK_UNKNOWN : IA_R_NONE;
}

bool ia_client_id_is_device(const char *device_id, const char *client_id)
{
    return strcmp(device_id, client_id) == 0;
}
