// SPDX-License-Identifier: ISC
/* The log line of a decision: text, or one JSON object (`log_format`).  Broker thread. */
#pragma once

#include "plugin/audit_entry.h"
#include "plugin/core.h"

/* `verdict` is "accepted", "refused", "denied" or "ended"; `reason` IA_R_NONE: accepted. */
void ia_decision_log(const struct ia_core *core, const struct ia_audit_entry *entry, const char *verdict,
                     enum ia_reason reason);

/* A device was registered just now; `ca` NULL: not known. */
void ia_decision_log_registered(const struct ia_core *core, const struct ia_device *device,
                                const struct ia_ca_settings *ca);
