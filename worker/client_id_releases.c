// SPDX-License-Identifier: ISC
#include "worker/client_id_releases.h"

#include "sql/records.h"

#include <stdlib.h>

struct ia_releases {
    struct ia_db *db;
    const struct ia_sink *sink;
    bool due;
    bool skipping;   /* start-up: none has been passed on yet */
    int64_t last_id; /* the highest id that was read */
};

struct ia_releases *ia_releases_new(struct ia_db *db, const struct ia_sink *sink)
{
    struct ia_releases *releases = calloc(1, sizeof *releases);
    if (!releases)
        return NULL;
    releases->db = db;
    releases->sink = sink;
    releases->skipping = true;
    return releases;
}

void ia_releases_free(struct ia_releases *releases)
{
    free(releases);
}

void ia_releases_notified(struct ia_releases *releases)
{
    releases->due = true;
}

bool ia_releases_due(const struct ia_releases *releases)
{
    return releases->due;
}

enum ia_rc ia_releases_read(struct ia_releases *releases, struct ia_err *err)
{
    struct ia_client_id_releases *rows = NULL;
    enum ia_rc rc = ia_db_client_id_releases(releases->db, releases->last_id, &rows, err);
    if (rc != IA_OK)
        return rc;
    for (size_t i = 0; i < rows->n; i++) {
        releases->last_id = rows->rows[i].release_id;
        if (!releases->skipping)
            ia_sink_send(releases->sink, ia_reply_new(IA_REPLY_RELEASED, rows->rows[i].client_id));
    }
    if (rows->n == 0) /* else there may be more */
        releases->due = releases->skipping = false;
    ia_client_id_releases_free(rows);
    return IA_OK;
}
