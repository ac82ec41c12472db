// SPDX-License-Identifier: ISC
/* The versions of what this program was built for and runs with; without a connection, so that every folder may ask. */
#pragma once

#define IA_DB_VERSION_SIZE 24

/* A version number of libpq or PostgreSQL as text: 150018 is "15.18".  Returns `out`. */
const char *ia_db_print_version(int number, char out[IA_DB_VERSION_SIZE]);

/* The version of libpq, and that of the schema which this program needs at least.  Both return `out`. */
const char *ia_db_libpq_version(char out[IA_DB_VERSION_SIZE]);
const char *ia_db_schema_needed(char out[IA_DB_VERSION_SIZE]);
