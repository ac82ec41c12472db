// SPDX-License-Identifier: ISC
#include "worker/client_id_releases.h"

#include "sql/records.h"

#include <stdlib.h>
#include <string.h>

struct ia_releases {
    struct ia_db *db;
    const char *node;
    const struct ia_sink *sink;
    bool owners_sent; /* later the broker thread knows better */
    bool due;
    bool skipping;   /* start-up: none has been passed on yet */
    int64_t last_id; /* the highest id that was read */
};

struct ia_releases *ia_releases_new(struct ia_db *db, const char *node, const struct ia_sink *sink)
{
    struct ia_releases *releases = calloc(1, sizeof *releases);
    if (!releases)
        return NULL;
    releases->db = db;
    releases->node = node;
    releases->sink = sink;
    releases->skipping = true;
    return releases;
}

void ia_releases_free(struct ia_releases *releases)
{
    free(releases);
}

static enum ia_rc send_owners(const struct ia_releases *releases, const struct ia_owner_keys *page, struct ia_err *err)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_OWNERS, NULL);
    struct ia_owner_key *keys = calloc(page->n + 1, sizeof *keys);
    if (!reply || !keys) {
        ia_reply_free(reply);
        free(keys);
        return ia_nomem(err);
    }
    if (page->n > 0)
        memcpy(keys, page->keys, page->n * sizeof *keys);
    reply->owners = (struct ia_owner_page){.keys = keys, .n = page->n};
    ia_sink_send(releases->sink, reply);
    return IA_OK;
}

/* Page by page.  Keys are hashes: none of them is the least number. */
static enum ia_rc read_owners(const struct ia_releases *releases, struct ia_err *err)
{
    int64_t after = INT64_MIN;
    bool last = false;
    enum ia_rc rc = IA_OK;
    while (rc == IA_OK && !last) {
        struct ia_owner_keys *page = NULL;
        rc = ia_db_client_id_owners(releases->db, releases->node, after, &page, err);
        if (rc != IA_OK)
            return rc;
        last = page->n < IA_OWNERS_PAGE;
        after = page->n ? page->keys[page->n - 1].client_id_key : after;
        rc = page->n ? send_owners(releases, page, err) : IA_OK;
        ia_owner_keys_free(page);
    }
    return rc;
}

enum ia_rc ia_releases_begin(struct ia_releases *releases, struct ia_err *err)
{
    releases->due = true;
    enum ia_rc rc = releases->owners_sent ? IA_OK : read_owners(releases, err);
    releases->owners_sent |= rc == IA_OK;
    return rc;
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
