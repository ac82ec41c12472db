// SPDX-License-Identifier: ISC
#include "sql/versions.h"

#include "sql/db.h"

#include <libpq-fe.h>
#include <stdio.h>

const char *ia_db_print_version(int number, char out[IA_DB_VERSION_SIZE])
{
    (void)snprintf(out, IA_DB_VERSION_SIZE, "%d.%d", number / 10000, number % 10000);
    return out;
}

const char *ia_db_libpq_version(char out[IA_DB_VERSION_SIZE])
{
    return ia_db_print_version(PQlibVersion(), out);
}

const char *ia_db_schema_needed(char out[IA_DB_VERSION_SIZE])
{
    (void)snprintf(out, IA_DB_VERSION_SIZE, "%d", IA_DB_SCHEMA_VERSION);
    return out;
}
