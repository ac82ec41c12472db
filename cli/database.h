// SPDX-License-Identifier: ISC
/* iot-auth migrate: the database, and the passwords of the schema's roles. */
#pragma once

#include "cli/call.h"
#include "cli/registry.h"

/* Create the connection's database unless the server has it, by way of the database postgres.  Returns an ia_exit; the error has
 * been printed. */
int ia_database_create(const struct ia_call *call);

/* Does the call name a file with a password? */
bool ia_database_has_passwords(const struct ia_call *call);

/* Give a role its password.  The server gets the verifier only (RFC 5803), so that no log of its statements has the password.
 * Returns an ia_exit; the error has been printed. */
int ia_database_set_password(struct ia_registry *registry, const char *role, const char *password);

#define IA_DATABASE_PASSWORDS 2 /* one for the broker's role, one for the monitor's */

/* NULL: no file was named.  ia_database_wipe_passwords frees the texts. */
struct ia_database_passwords {
    char *text[IA_DATABASE_PASSWORDS];
};

/* Read the files that the call names.  Returns an ia_exit; the error has been printed. */
int ia_database_read_passwords(const struct ia_call *call, struct ia_database_passwords *out);
void ia_database_wipe_passwords(struct ia_database_passwords *read);

/* Give the roles of the schema these passwords.  Returns an ia_exit; the error has been printed. */
int ia_database_set_passwords(struct ia_registry *registry, const struct ia_database_passwords *read);
