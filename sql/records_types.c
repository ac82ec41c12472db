// SPDX-License-Identifier: ISC
#include "sql/records_types.h"

#define NAME(kind, word) #word,
#define COUNT(names)     (sizeof(names) / sizeof((names)[0]))

static const char *const device_names[] = {IA_DEVICE_STATUSES(NAME)};
static const char *const cert_names[] = {IA_CERT_STATUSES(NAME)};
static const char *const ca_names[] = {IA_CA_STATUSES(NAME)};

const char *ia_device_status_name(enum ia_device_status status)
{
    return device_names[status < COUNT(device_names) ? status : IA_DEVICE_INACTIVE];
}

const char *ia_cert_status_name(enum ia_cert_status status)
{
    return cert_names[status < COUNT(cert_names) ? status : IA_CERT_INACTIVE];
}

const char *ia_ca_status_name(enum ia_ca_status status)
{
    return ca_names[status < COUNT(ca_names) ? status : IA_CA_INACTIVE];
}
