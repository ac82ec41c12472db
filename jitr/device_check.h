// SPDX-License-Identifier: ISC
/* Decisions about a device from its certificate's chain, its CA's settings and its record alone: no clock, no
 * database. */
#pragma once

#include "common/reason.h"
#include "jitr/ca_settings.h"
#include "jitr/device.h"
#include "x509/identity.h"

/* The longest client id that is looked at, in bytes. */
#define IA_CLIENT_ID_MAX 1024

/* The device id that the CA's template makes of a certificate, into id[IA_VALUE_MAX + 1].  IA_R_NONE, or
 * IA_R_IDENTITY_INVALID with the cause in err. */
enum ia_reason ia_device_id_derive(const struct ia_ca_settings *settings, struct ia_identity *identity,
                                   char id[IA_VALUE_MAX + 1], struct ia_err *err);

/* Does one of the CA's client id templates admit `client_id` for that device? */
bool ia_client_id_check(const struct ia_ca_settings *settings, const char *device_id, const char *client_id);

/* May this device be connected at `now`, having come with a certificate that names `device_id`, with the registered CAs
 * cas[0..n) on and above its chain?  The record must be of that device.  The CA that its certificate was
 * registered under must be one of these, or be connected to one by `replaces`.  It need not be the nearest: the CA may
 * have been renewed since (with the same key, or above an unchanged intermediate), or one further down may have been
 * registered too. */
enum ia_reason ia_device_check(const struct ia_device *device, const struct ia_ca_settings_set *ca_settings,
                               const int64_t *cas, size_t n, const char *device_id, int64_t now);

/* The same for a device that has proved a pre-shared key of `device_id`, whose record this must be.  *detail is a static
 * text, NULL where the reason needs none. */
enum ia_reason ia_device_check_psk(const struct ia_device *device, const char *device_id, int64_t now,
                                   const char **detail);

/* Does a device without a CA use that client id?  It must be the device id itself. */
bool ia_client_id_is_device(const char *device_id, const char *client_id);
