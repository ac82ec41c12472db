// SPDX-License-Identifier: ISC
/* iot-auth events. */
#pragma once

#include "cli/call.h"

int ia_events_run(const struct ia_call *call);
