// SPDX-License-Identifier: ISC
/* iot-auth export, iot-auth import: the configuration as data. */
#pragma once

#include "cli/call.h"

int ia_configuration_export(const struct ia_call *call);
int ia_configuration_import(const struct ia_call *call);
