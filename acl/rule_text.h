// SPDX-License-Identifier: ISC
/* Rules as lines of text: `ALLOW|DENY ACTION[,ACTION…] FILTER [max_qos=0|1|2] [retain=yes|no]`. */
#pragma once

#include "acl/policy.h"

/* Parse `line` in place: rule->topic_filter points into it.  The filter is everything after the actions, including
 * spaces, up to the attributes; it is not checked here.  rule_id and role stay as they are. */
IA_MUST_USE enum ia_rc ia_rule_parse(char *line, struct ia_rule *rule, struct ia_err *err);
