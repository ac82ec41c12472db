// SPDX-License-Identifier: ISC
/* How the connection to PostgreSQL is protected.  Registrations, revocations and the policy travel on it: whoever can
 * read or change it decides who is admitted. */
#pragma once

#include <stdbool.h>

/* `clear` is 0: what is not known counts as unprotected. */
enum ia_db_tls { IA_DB_CLEAR = 0, IA_DB_TLS_UNVERIFIED, IA_DB_TLS_VERIFIED, IA_DB_LOCAL };

/* For the log: "tls verified", "tls unverified", "local", "CLEAR". */
const char *ia_db_tls_text(enum ia_db_tls tls);

/* For iot_auth.node.database_tls: "verified", "unverified", "local", "clear". */
const char *ia_db_tls_word(enum ia_db_tls tls);

/* Is this host (either may be NULL) the broker's own machine?  A Unix socket (NULL, or a path), 127/8, ::1 or the word
 * `localhost`; `hostaddr` decides where it is given.  Any other name is not, whatever it resolves to now. */
bool ia_host_is_local(const char *host, const char *hostaddr);
