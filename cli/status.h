// SPDX-License-Identifier: ISC
/* iot-auth status. */
#pragma once

#include "cli/call.h"

int ia_status_run(const struct ia_call *call);
