// SPDX-License-Identifier: ISC
#include "worker/connection_log.h"

#include <stdio.h>

void ia_connection_log(const struct ia_db *db, const char *program, const struct ia_sink *sink)
{
    char line[512], database[128];
    enum ia_db_tls tls = ia_db_tls(db);
    bool safe = tls == IA_DB_LOCAL || tls == IA_DB_TLS_VERIFIED;
    ia_db_describe(db, database, sizeof database);
    (void)snprintf(line, sizeof line, "connected to PostgreSQL at %s (%s); %s%s%s", ia_db_peer(db), ia_db_tls_text(tls),
                   program ? program : "", program ? ", " : "", database);
    ia_sink_log(sink, safe ? IA_LOG_NOTICE : IA_LOG_WARNING, line);
}
