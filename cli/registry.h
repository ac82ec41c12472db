// SPDX-License-Identifier: ISC
/* The administrator's connection to the registry, by libpq.  sql/ serves brokers: prepared statements in one table, no
 * waiting.  A command may wait, and its statements stand in the table of verbs.
 *
 * Which connection: --conninfo; else libpq's environment (PGHOST …); else the service iot-auth of pg_service.conf; else
 * libpq's defaults.  Every error says which of them counted.  No message holds a password or the connection string. */
#pragma once

#include "cli/call.h"

#include <libpq-fe.h>
#include <stdint.h>

struct ia_registry;

/* Connect.  On failure the error has been printed; *status is the exit status and the result NULL. */
struct ia_registry *ia_registry_open(const struct ia_call *call, int *status);

/* The same by this connection string, whose place `source` names in messages, to another database of that server. */
struct ia_registry *ia_registry_open_database(const struct ia_call *call, const char *conninfo, const char *source,
                                              const char *database, int *status);
void ia_registry_close(struct ia_registry *registry);

/* The connection string that counts, without a connection: --conninfo, "" for the environment or libpq's defaults, or the
 * service.  *source says which, for messages. */
const char *ia_registry_conninfo(const struct ia_call *call, const char **source);

/* Is --conninfo, where it is given, a connection string?  libpq takes any other text as the name of a database.  Returns an
 * ia_exit; the error has been printed. */
int ia_registry_check_conninfo(const struct ia_call *call);

/* A bare connection, to another database of the same server where one is given; nothing is printed, also where it fails.
 * The caller finishes it; NULL: no memory. */
PGconn *ia_registry_connect(const struct ia_call *call, const char *database);

/* The connection itself, for COPY and for files of statements.  Borrowed. */
PGconn *ia_registry_conn(struct ia_registry *registry);

/* Run one statement with text parameters ($1…, NULL is NULL).  The caller frees the result (PQclear).  NULL: the error
 * has been printed, and ia_registry_status is the exit status. */
PGresult *ia_registry_run(struct ia_registry *registry, const char *sql, const char *const *values, int n);

/* The same, and only whether it went well. */
bool ia_registry_do(struct ia_registry *registry, const char *sql);

/* The first column of the first row as a copy for the caller to free; NULL where there is none (not an error: see
 * ia_registry_status). */
char *ia_registry_value(struct ia_registry *registry, const char *sql, const char *const *values, int n);

/* IA_EXIT_DONE, or why the last statement failed: IA_EXIT_REFUSED or IA_EXIT_DISCONNECTED. */
int ia_registry_status(const struct ia_registry *registry);

/* Print the error of a failed result (or of the connection), take its exit status, and free it. */
int ia_registry_fail(struct ia_registry *registry, PGresult *result);

/* No time limit for the statements that follow: migrations, bulk import. */
bool ia_registry_take_time(struct ia_registry *registry);
