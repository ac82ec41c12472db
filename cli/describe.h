// SPDX-License-Identifier: ISC
/* The words that describe a verb: shared by --help, manual pages and the reference. */
#pragma once

#include "cli/verb.h"

/* "--pem FILE", "DEVICE_ID…", "--roles ROLE,…": how a parameter is written. */
const char *ia_describe_param(const struct ia_param *param, char *text, size_t size);

/* "NAME --pem FILE [--auto-registration]": the parameters of a verb after its words; required ones first, brackets
 * around what may be left out. */
const char *ia_describe_synopsis(const struct ia_verb *verb, char *text, size_t size);
