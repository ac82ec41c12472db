// SPDX-License-Identifier: ISC
/* The files of sql/migrations as part of the program, in name order: made by cli/embed.cmake. */
#pragma once

#include <stddef.h>

struct ia_migration {
    const char *name; /* "0001_tables.sql" */
    const char *sql;
};
extern const struct ia_migration ia_migrations[];
extern const size_t ia_n_migrations;
