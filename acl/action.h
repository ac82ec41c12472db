// SPDX-License-Identifier: ISC
/* The actions that rules and checks are about, with their names.  The names are part of the contract: they appear in
 * role_rule.actions, in rule files, on the command line and in events. */
#pragma once

/* X(identifier, name, bit): sets of actions are the bits or-ed together. */
#define IA_ACTIONS(X)                                                                                                  \
    X(PUBLISH, "publish", 1)                                                                                           \
    X(SUBSCRIBE, "subscribe", 2)                                                                                       \
    X(RECEIVE, "receive", 4)

enum ia_action {
#define X(id, name, bit) IA_##id = (bit),
    IA_ACTIONS(X)
#undef X
};

#define X(id, name, bit) | (bit)
enum { IA_ACTIONS_ALL = 0 IA_ACTIONS(X) };
#undef X

/* The lower-case name of one action: a static string, "unknown" for anything else. */
const char *ia_action_name(enum ia_action action);

/* The action with that name, in upper or lower case; 0 for any other text. */
unsigned ia_action_from_name(const char *name);
