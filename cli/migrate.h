// SPDX-License-Identifier: ISC
/* iot-auth migrate. */
#pragma once

#include "cli/call.h"

int ia_migrate_run(const struct ia_call *call);
