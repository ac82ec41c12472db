// SPDX-License-Identifier: ISC
#include "plugin/database_state.h"

#include <stdio.h>
#include <stdlib.h>

struct ia_database_state {
    bool up;
    char versions[128];
    int64_t contact_s; /* wall clock of the last answer, 0: none yet */
};

struct ia_database_state *ia_database_state_new(void)
{
    return calloc(1, sizeof(struct ia_database_state));
}

void ia_database_state_free(struct ia_database_state *state)
{
    free(state);
}

void ia_database_report_contact(struct ia_core *core)
{
    core->database->contact_s = ia_wall_s();
}

void ia_database_report_state(struct ia_core *core, bool up, const char *versions)
{
    if (core->database->up && !up)
        core->counters.database_lost++;
    core->database->up = up;
    if (!up)
        return;
    (void)snprintf(core->database->versions, sizeof core->database->versions, "%s", versions);
    ia_database_report_contact(core);
}

const char *ia_database_versions(const struct ia_core *core)
{
    return core->database->versions;
}

bool ia_database_is_up(const struct ia_core *core)
{
    return core->database->up;
}

int64_t ia_database_age_s(const struct ia_core *core, int64_t now)
{
    return core->database->contact_s ? now - core->database->contact_s : -1;
}

bool ia_database_is_stale(const struct ia_core *core, int64_t now)
{
    const struct ia_database_state *state = core->database;
    return core->options.stale_max_s && !state->up && now - state->contact_s > core->options.stale_max_s;
}
