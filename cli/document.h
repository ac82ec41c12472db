// SPDX-License-Identifier: ISC
/* iot-auth documentation: what is made from the table of verbs for other readers than --help. */
#pragma once

#include "cli/call.h"

int ia_document_run(const struct ia_call *call);
