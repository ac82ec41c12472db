// SPDX-License-Identifier: ISC
/* The variables of templates that are filled in from a certificate: its fields (x509/identity.h), ${ca} and ${tenant}. */
#pragma once

#include "jitr/ca_settings.h"
#include "x509/identity.h"

#include <stdbool.h>

bool ia_certificate_variable_known(const char *name);

/* What they stand for: the context of ia_certificate_variable.  All borrowed. */
struct ia_certificate_variables {
    const struct ia_ca_settings *ca;
    struct ia_identity *identity; /* NULL: the fields of the certificate are not set */
};

/* An ia_template_lookup: the value, or NULL and *why. */
const char *ia_certificate_variable(void *ctx, const char *variable, const char **why);
