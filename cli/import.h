// SPDX-License-Identifier: ISC
/* iot-auth device import, iot-auth cert import. */
#pragma once

#include "cli/call.h"

int ia_import_devices(const struct ia_call *call);
int ia_import_certificates(const struct ia_call *call);
