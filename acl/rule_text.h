// SPDX-License-Identifier: ISC
/* Rules as lines of text: `ALLOW|DENY ACTION[,ACTION…] FILTER [max_qos=0|1|2] [retain=yes|no]`. */
#pragma once

#include "acl/policy.h"

/* Read one action, `publish`, `subscribe` or `receive` in upper or lower case; 0 for anything else. */
unsigned ia_action_from_name(const char *name);

/* Read `line`, which is cut up: rule->topic_filter points into it.  The filter is all that follows the actions, also
 * with spaces in it, and is not looked at here.  Leaves rule_id and role alone. */
IA_MUST_USE enum ia_rc ia_rule_parse(char *line, struct ia_rule *rule, struct ia_err *err);
