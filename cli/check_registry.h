// SPDX-License-Identifier: ISC
/* check token --issuer NAME: by the registry. */
#pragma once

#include "cli/call.h"

int ia_check_registered_token(const struct ia_call *call);
