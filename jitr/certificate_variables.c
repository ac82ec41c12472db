// SPDX-License-Identifier: ISC
#include "jitr/certificate_variables.h"

#include <string.h>

bool ia_certificate_variable_known(const char *name)
{
    return ia_identity_knows(name) || strcmp(name, "ca") == 0 || strcmp(name, "tenant") == 0;
}

const char *ia_certificate_variable(void *ctx, const char *variable, const char **why)
{
    const struct ia_certificate_variables *variables = ctx;
    if (variables->identity && ia_identity_knows(variable))
        return ia_identity_get(variables->identity, variable, why);
    if (strcmp(variable, "ca") == 0)
        return variables->ca->name;
    if (strcmp(variable, "tenant") == 0) {
        *why = "the CA has no tenant";
        return variables->ca->tenant;
    }
    *why = "there is no such variable";
    return NULL;
}
