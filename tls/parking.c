// SPDX-License-Identifier: ISC
#include "tls/parking.h"

#include "common/clock.h"
#include "tls/read_bio.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uthash.h>
#include <utlist.h>

#define PARKED_BYTES_MAX                                                                                               \
    (64 << 10) /* of a client that does not wait for CONNACK; more than a CONNECT has any use for */

struct parked;

/* The connections that wait for one certificate's answer. */
struct parked_group {
    uint8_t key[IA_PARKING_KEY_LEN];
    struct parked *list;
    UT_hash_handle hh;
};

/* One connection, from the end of its handshake to the end of its SSL: what it was parked for is not repeated. */
struct parked {
    SSL *ssl; /* owns this (read_bio.h) */
    int fd;
    struct parked_group *group; /* NULL: released, or its BIO is freed */
    int64_t since_us, until_us;
    struct parked *prev, *next;         /* of the group */
    struct parked **due;                /* the list … */
    struct parked *prev_due, *next_due; /* … in which it is, the earliest first */
};

/* Connections of WebSocket listeners may be held back for a shorter time than others.  A list for each of two durations
 * is in order of arrival. */
#define DUE_LISTS 2

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    bool open;
    struct ia_parking_settings settings;
    size_t count;
    struct parked_group *groups;
    struct parked *due[DUE_LISTS];
} parking;

/* ---- the socket */

static bool set_low_water(int fd, int bytes)
{
    return setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0;
}

/* Is the socket readable although SO_RCVLOWAT is set?  Then the client has sent that much, filled its window, or
 * closed.  (POLLRDHUP: it has closed its sending half, behind a CONNECT perhaps.)  The signal of the waker may interrupt
 * even a poll() that does not wait. */
static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
    return poll(&p, 1, 0) > 0;
}

/* ---- one connection */

/* Out of the lists; its place among them is free for others. */
static void unlink_parked(struct parked *p)
{
    struct parked_group *g = p->group;
    DL_DELETE(g->list, p);
    if (!g->list) {
        HASH_DEL(parking.groups, g); // NOLINT(clang-analyzer-core.NullDereference): uthash lists each group
        free(g);
    }
    DL_DELETE2(*p->due, p, prev_due, next_due);
    p->group = NULL;
    parking.count--;
}

static void release_parked(struct parked *p)
{
    ia_read_bio_release(p->ssl, IA_READ_PARKED);
    (void)set_low_water(p->fd, 1);
    unlink_parked(p);
    if (parking.settings.released)
        parking.settings.released(parking.settings.ctx, ia_monotonic_us() - p->since_us);
}

static enum ia_read_answer answer_parked(void *record)
{
    struct parked *p = record;
    if (!is_readable(p->fd))
        return IA_READ_RETRIES;
    release_parked(p); /* this very read goes on */
    return IA_READ_GOES_ON;
}

static void lose_parked(void *record)
{
    unlink_parked(record);
}

static const struct ia_read_stage_ops parked_ops = {.answer = answer_parked, .lost = lose_parked, .free = free};

/* ---- the table */

static struct parked_group *group_get(const uint8_t key[IA_PARKING_KEY_LEN])
{
    struct parked_group *g = NULL;
    HASH_FIND(hh, parking.groups, key, IA_PARKING_KEY_LEN, g);
    if (g)
        return g;
    g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    memcpy(g->key, key, sizeof g->key);
    HASH_ADD(hh, parking.groups, key, IA_PARKING_KEY_LEN, g);
    if (g->hh.tbl)
        return g;
    free(g);
    return NULL;
}

/* The first list whose last connection is due no later; the last list in any case. */
static struct parked **due_list(int64_t until_us)
{
    size_t i = 0;
    while (i < DUE_LISTS - 1 && parking.due[i] && parking.due[i]->prev_due->until_us > until_us)
        i++;
    return &parking.due[i];
}

/* Last of its list, unless there are more than two durations. */
static void insert_due(struct parked *p)
{
    p->due = due_list(p->until_us);
    struct parked *first = *p->due, *before = first ? first->prev_due : NULL; /* the last */
    while (before && before->until_us > p->until_us)
        before = before == first ? NULL : before->prev_due;
    if (before)
        DL_APPEND_ELEM2(*p->due, before, p, prev_due, next_due);
    else
        DL_PREPEND2(*p->due, p, prev_due, next_due);
}

static bool hold_parked(struct parked *p, const uint8_t key[IA_PARKING_KEY_LEN], int64_t until_us)
{
    p->fd = SSL_get_rfd(p->ssl);
    if (!ia_read_bio_stop(p->ssl, IA_READ_PARKED))
        return false;
    struct parked_group *g = set_low_water(p->fd, PARKED_BYTES_MAX) && !is_readable(p->fd) ? group_get(key) : NULL;
    if (!g) {
        ia_read_bio_release(p->ssl, IA_READ_PARKED);
        (void)set_low_water(p->fd, 1);
        return false;
    }
    p->group = g;
    p->since_us = ia_monotonic_us();
    p->until_us = until_us;
    DL_APPEND(g->list, p);
    insert_due(p);
    parking.count++;
    return true;
}

bool ia_parking_hold(SSL *ssl, const uint8_t key[IA_PARKING_KEY_LEN], int64_t until_us)
{
    if (!parking.open)
        return false;
    struct parked *p = ia_read_bio_record(ssl, IA_READ_PARKED);
    if (p)
        return p->group != NULL;
    if (parking.count >= parking.settings.max)
        return false;
    p = calloc(1, sizeof *p);
    if (!p)
        return false;
    p->ssl = ssl;
    if (!ia_read_bio_attach(ssl, IA_READ_PARKED, &parked_ops, p)) {
        free(p);
        return false;
    }
    return hold_parked(p, key, until_us);
}

void ia_parking_release(const uint8_t key[IA_PARKING_KEY_LEN])
{
    struct parked_group *g = NULL;
    HASH_FIND(hh, parking.groups, key, IA_PARKING_KEY_LEN, g);
    for (struct parked *p = g ? g->list : NULL, *next; p; p = next) {
        next = p->next; /* the group goes with its last connection */
        release_parked(p);
    }
}

void ia_parking_expire(int64_t now_us)
{
    for (size_t i = 0; i < DUE_LISTS; i++)
        while (parking.due[i] && parking.due[i]->until_us <= now_us)
            release_parked(parking.due[i]);
}

size_t ia_parking_count(void)
{
    return parking.count;
}

enum ia_rc ia_parking_open(const struct ia_parking_settings *settings, struct ia_err *err)
{
    enum ia_rc rc = ia_read_bio_open(err);
    if (rc != IA_OK)
        return rc;
    parking.settings = *settings;
    parking.open = true;
    return IA_OK;
}

void ia_parking_close(void)
{
    parking.open = false;
    ia_parking_expire(INT64_MAX);
}
