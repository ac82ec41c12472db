// SPDX-License-Identifier: ISC
/* What the worker has reported of the database: is it reachable, and when did it answer last.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_database_state;

struct ia_database_state *ia_database_state_new(void); /* NULL when out of memory */
void ia_database_state_free(struct ia_database_state *state);

/* The worker reports that it is reachable, with the versions at both ends, or that it is not; that it has answered just
 * now. */
void ia_database_report_state(struct ia_core *core, bool up, const char *versions);
void ia_database_report_contact(struct ia_core *core);

bool ia_database_is_up(const struct ia_core *core);

/* The versions that were reported last; "" before that.  Borrowed. */
const char *ia_database_versions(const struct ia_core *core);

/* Seconds since the database answered last; -1: it never has. */
int64_t ia_database_age_s(const struct ia_core *core, int64_t now);

/* Has it been unreachable for longer than stale_max_s? */
bool ia_database_is_stale(const struct ia_core *core, int64_t now);
