// SPDX-License-Identifier: ISC
#include "worker/listen_check.h"

#include "common/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define UNANSWERED_MAX 2

void ia_listen_check_begin(struct ia_listen_check *check)
{
    *check = (struct ia_listen_check){0};
}

const char *ia_listen_check_next(struct ia_listen_check *check)
{
    unsigned char random[(IA_NONCE_SIZE - 1) / 2];
    if (check->nonce[0])
        check->unanswered = check->heard ? 0 : check->unanswered + 1;
    check->heard = false;
    check->nonce[0] = '\0';
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        return NULL;
    ia_hex(random, sizeof random, check->nonce);
    return check->nonce;
}

void ia_listen_check_heard(struct ia_listen_check *check, const char *nonce)
{
    if (!check->nonce[0] || strcmp(check->nonce, nonce) != 0)
        return;
    check->heard = true;
    check->unanswered = 0;
}

bool ia_listen_check_is_deaf(const struct ia_listen_check *check)
{
    return check->unanswered >= UNANSWERED_MAX;
}

static void log_change(struct ia_listen_check *check, const struct ia_db *db, const struct ia_sink *sink,
                       int64_t resync_s)
{
    static const char pooled[] = "LISTEN needs a session of its own, and the connection goes through a pooler in "
                                 "transaction mode: use its session mode, or connect to PostgreSQL itself";
    static const char other[] =
        "a component between the broker and PostgreSQL does not forward them (transaction pooling), or "
        "the server is a replica";
    char line[384];
    bool deaf = ia_listen_check_is_deaf(check);
    if (deaf == check->logged)
        return;
    check->logged = deaf;
    if (!deaf) {
        ia_sink_log(sink, IA_LOG_NOTICE, "the database's notifications arrive again");
        return;
    }
    (void)snprintf(line, sizeof line,
                   "the database's notifications do not arrive: %s; until then changes and revocations are seen only "
                   "every %" PRId64 " s (resync_s)",
                   ia_db_is_pooled(db) ? pooled : other, resync_s);
    ia_sink_log(sink, IA_LOG_ERROR, line);
}

enum ia_rc ia_listen_check_run(struct ia_listen_check *check, struct ia_db *db, const struct ia_sink *sink,
                               int64_t resync_s, struct ia_err *err)
{
    const char *nonce = ia_listen_check_next(check);
    log_change(check, db, sink, resync_s);
    enum ia_rc rc = nonce ? ia_db_send_nonce(db, nonce, err) : IA_OK;
    return ia_db_connected(db) ? IA_OK : rc;
}
