// SPDX-License-Identifier: ISC
/* Waiting.  The one place where the thread sleeps: poll() on the server's socket and the wake fd. */
#include "sql/batch.h"
#include "sql/pg_error.h"
#include "sql/private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

bool ia_db_stopped(const struct ia_db *db)
{
    return db->stop && atomic_load(db->stop);
}

static int left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - ia_monotonic_ms();
    if (left <= 0)
        return 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}

/* Read the wake fd empty, so that it does not end every poll from here on. */
static void take_wake_up(struct ia_db *db)
{
    uint64_t count;
    if (read(db->wake_fd, &count, sizeof count) > 0)
        db->woken = true;
}

static enum ia_rc fail_stopped(struct ia_err *err)
{
    return ia_fail(err, IA_UNAVAILABLE, "PostgreSQL: stopped");
}

/* One poll() on fds[0], the socket, beside the wake fd and also_fd (-1: none), which both count as a wake-up.  IA_OK
 * with fds[0].revents, 0 when it was one of those or the time. */
static enum ia_rc poll_once(struct ia_db *db, struct pollfd *socket, int also_fd, int timeout, struct ia_err *err)
{
    struct pollfd fds[3] = {*socket, {.fd = db->wake_fd, .events = POLLIN}, {.fd = also_fd, .events = POLLIN}};
    socket->revents = 0;
    if (ia_db_stopped(db))
        return fail_stopped(err);
    int n = poll(fds, 3, timeout);
    if (n < 0 && errno != EINTR)
        return ia_fail(err, IA_UNAVAILABLE, "PostgreSQL: poll: %s", strerror(errno));
    if (n <= 0)
        return IA_OK;
    if (fds[1].revents)
        take_wake_up(db);
    db->woken |= fds[2].revents != 0;
    if (ia_db_stopped(db))
        return fail_stopped(err);
    socket->revents = fds[0].revents;
    return IA_OK;
}

enum ia_rc ia_db_poll(struct ia_db *db, int fd, short events, int64_t deadline_ms, bool *ready, struct ia_err *err)
{
    struct pollfd socket = {.fd = fd, .events = events};
    for (;;) {
        int timeout = left_ms(deadline_ms);
        enum ia_rc rc = poll_once(db, &socket, -1, timeout, err);
        if (rc != IA_OK)
            return rc;
        if (socket.revents || timeout == 0)
            break;
    }
    if (ready)
        *ready = socket.revents != 0;
    return IA_OK;
}

void ia_db_disconnect(struct ia_db *db)
{
    PQfreemem(db->notification);
    db->notification = NULL;
    PQfinish(db->conn); /* the socket is non-blocking: the Terminate message is sent or is not */
    db->conn = NULL;
    db->peer[0] = '\0';
}

enum ia_rc ia_db_lost(struct ia_db *db, struct ia_err *err)
{
    char text[128];
    ia_pg_error_text(PQerrorMessage(db->conn), PQpass(db->conn), text, sizeof text);
    enum ia_rc rc = ia_fail(err, IA_UNAVAILABLE, "PostgreSQL at %s: connection lost: %s", db->peer, text);
    ia_db_disconnect(db);
    return rc;
}

bool ia_db_has_notification(struct ia_db *db)
{
    if (!db->conn)
        return false;
    if (!db->notification)
        db->notification = PQnotifies(db->conn);
    return db->notification != NULL;
}

/* Wait for the server's socket, the wake fd or also_fd, whichever is first. */
static enum ia_rc wait_any(struct ia_db *db, int also_fd, int64_t deadline_ms, bool *readable, struct ia_err *err)
{
    struct pollfd socket = {.fd = db->conn ? PQsocket(db->conn) : -1, .events = POLLIN};
    *readable = false;
    while (!db->woken && !*readable) {
        int timeout = left_ms(deadline_ms);
        enum ia_rc rc = poll_once(db, &socket, also_fd, timeout, err);
        if (rc != IA_OK)
            return rc;
        *readable = socket.revents != 0;
        if (timeout == 0)
            break;
    }
    return IA_OK;
}

enum ia_rc ia_db_wait(struct ia_db *db, int also_fd, int timeout_ms, struct ia_err *err)
{
    int64_t deadline = ia_monotonic_ms() + timeout_ms;
    bool readable = false;
    do {
        if (ia_db_stopped(db))
            return fail_stopped(err);
        if (ia_db_has_notification(db))
            return IA_OK;
        enum ia_rc rc = wait_any(db, also_fd, deadline, &readable, err);
        if (rc != IA_OK)
            return rc;
        if (readable && !PQconsumeInput(db->conn))
            return ia_db_lost(db, err);
        /* What arrived need not be a notification: a NOTICE, a parameter's new value, part of a message. */
    } while (!db->woken && readable && !ia_db_has_notification(db));
    db->woken = false;
    return IA_OK;
}

bool ia_db_notification(struct ia_db *db, struct ia_notification *out)
{
    if (!ia_db_has_notification(db))
        return false;
    ia_notification_parse(db->notification->extra ? db->notification->extra : "", out);
    PQfreemem(db->notification);
    db->notification = NULL;
    return true;
}

/* ---- batches */

/* Wait once for the server, a wake-up or the time, and read what came.  The connection is dropped on any failure. */
static enum ia_rc read_batch_input(struct ia_db *db, int64_t until_ms, struct ia_err *err)
{
    int unsent = PQflush(db->conn);
    if (unsent < 0)
        return ia_db_lost(db, err);
    struct pollfd socket = {.fd = PQsocket(db->conn), .events = (short)(unsent ? POLLIN | POLLOUT : POLLIN)};
    int timeout = left_ms(until_ms < db->batch_deadline_ms ? until_ms : db->batch_deadline_ms);
    enum ia_rc rc = poll_once(db, &socket, -1, timeout, err);
    if (rc == IA_OK && !socket.revents && left_ms(db->batch_deadline_ms) == 0)
        rc = ia_fail(err, IA_UNAVAILABLE, "PostgreSQL at %s: timeout: no answer to a batch", db->peer);
    if (rc != IA_OK) {
        ia_db_disconnect(db);
        return rc;
    }
    return !socket.revents || PQconsumeInput(db->conn) ? IA_OK : ia_db_lost(db, err);
}

enum ia_rc ia_db_batch_wait(struct ia_db *db, int64_t wait_ms, bool *ready, struct ia_err *err)
{
    const int64_t until_ms = ia_monotonic_ms() + wait_ms;
    enum ia_rc rc = db->conn ? IA_OK : ia_fail(err, IA_UNAVAILABLE, "PostgreSQL: not connected");
    while (rc == IA_OK && PQisBusy(db->conn) && left_ms(until_ms) > 0 && !db->woken && !ia_db_has_notification(db))
        rc = read_batch_input(db, until_ms, err);
    if (rc != IA_OK)
        return rc;
    *ready = !PQisBusy(db->conn);
    db->woken = false;
    return IA_OK;
}
