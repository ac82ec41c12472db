// SPDX-License-Identifier: ISC
#include "cli/verb.h"

const struct ia_param ia_global_params[] = {
    {.name = "json",
     .help =
         "lists and rows as JSON: one object a line, keys as SQL's columns, times RFC 3339 in UTC (check prints its lines in any case)"},
    {.name = "quiet", .help = "print nothing but errors"},
    {.name = "utc", .help = "show times in UTC instead of the local zone"},
    {.name = "yes", .help = "answer yes to the question before a change that cannot be undone"},
    {.name = "conninfo",
     .value = "TEXT",
     .help = "libpq connection string or URI; default: PGHOST … of the environment, else the service iot-auth of "
             "pg_service.conf"},
    {.name = "help", .help = "show help"},
    {.name = "version", .help = "show the version"},
};
const size_t ia_n_global_params = IA_COUNT(ia_global_params);

static const struct ia_verb_group *const groups[] = {&ia_verbs_setup,    &ia_verbs_ca,     &ia_verbs_device,
                                                     &ia_verbs_rights,   &ia_verbs_issuer, &ia_verbs_observe,
                                                     &ia_verbs_registry, &ia_verbs_check};

const struct ia_verb *ia_verb_at(size_t i)
{
    for (size_t g = 0; g < IA_COUNT(groups); g++) {
        if (i < groups[g]->n)
            return &groups[g]->verbs[i];
        i -= groups[g]->n;
    }
    return NULL;
}

const char *ia_exit_meaning(int status)
{
    static const char *const meanings[] = {
        [IA_EXIT_DONE] = "done, or allow",
        [IA_EXIT_DENY] = "deny, or --diff found a difference",
        [IA_EXIT_USAGE] = "wrong usage or unreadable input; nothing was done",
        [IA_EXIT_REFUSED] = "the registry refused",
        [IA_EXIT_DISCONNECTED] = "no connection to the registry",
        [IA_EXIT_NOT_CONFIRMED] = "not confirmed; nothing was done",
    };
    return status >= 0 && (size_t)status < IA_COUNT(meanings) ? meanings[status] : NULL;
}
