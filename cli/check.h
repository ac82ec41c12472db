// SPDX-License-Identifier: ISC
/* The plugin's decisions without a broker, for administrators and tests.  Each prints the decision on standard output, a
 * first line that begins with `allow` or `deny: REASON`, and returns an ia_exit; errors go to stderr. */
#pragma once

#include "cli/call.h"

int ia_check_chain(const struct ia_call *call);
int ia_check_token(const struct ia_call *call);
int ia_check_topic(const struct ia_call *call);
int ia_check_cert(const struct ia_call *call);
int ia_check_device(const struct ia_call *call);
