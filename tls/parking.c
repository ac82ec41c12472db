// SPDX-License-Identifier: ISC
#include "tls/parking.h"

#include "common/clock.h"

#include <openssl/bio.h>
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
    SSL *ssl; /* owns this, by ex_data */
    BIO *bio; /* its read BIO, while it is held back; NULL: released, or freed */
    int fd;
    struct parked_group *group;
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
    int ssl_index; /* ex_data; made once a process */
    bool indexed;
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

static void release_bio(struct parked *p)
{
    BIO_set_callback_ex(p->bio, NULL);
    BIO_set_callback_arg(p->bio, NULL);
    p->bio = NULL;
}

static void release_parked(struct parked *p)
{
    release_bio(p);
    (void)set_low_water(p->fd, 1);
    unlink_parked(p);
    if (parking.settings.released)
        parking.settings.released(parking.settings.ctx, ia_monotonic_us() - p->since_us);
}

/* Answers reads of a parked connection.  Other operations pass; but a BIO that is freed is remembered as such: OpenSSL
 * 3.0 frees an SSL's ex_data before its BIOs, 3.2 and newer after them. */
static long on_parked_bio(BIO *bio, int oper, const char *argp, size_t len, int argi, long argl, int ret,
                          size_t *processed)
{
    (void)argp, (void)len, (void)argi, (void)argl, (void)processed;
    struct parked *p = (struct parked *)(void *)BIO_get_callback_arg(bio);
    if (oper == BIO_CB_FREE && p) {
        p->bio = NULL;
        unlink_parked(p);
    }
    if (oper != BIO_CB_READ || !p)
        return ret;
    if (is_readable(p->fd)) {
        release_parked(p); /* this very read goes on */
        return ret;
    }
    BIO_clear_retry_flags(bio);
    BIO_set_retry_read(bio);
    return -1;
}

static void on_ssl_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    struct parked *p = ptr;
    if (!p)
        return;
    if (p->bio) {
        release_bio(p); /* the BIO may live on, if somebody else has a reference */
        unlink_parked(p);
    }
    free(p);
}

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

/* The end of the first list whose last connection is due no later; that of the last list in any case. */
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
    BIO *bio = SSL_get_rbio(p->ssl);
    p->fd = SSL_get_rfd(p->ssl);
    if (!bio || !set_low_water(p->fd, PARKED_BYTES_MAX))
        return false;
    struct parked_group *g = is_readable(p->fd) ? NULL : group_get(key);
    if (!g) {
        (void)set_low_water(p->fd, 1);
        return false;
    }
    p->bio = bio;
    p->group = g;
    p->since_us = ia_monotonic_us();
    p->until_us = until_us;
    DL_APPEND(g->list, p);
    insert_due(p);
    parking.count++;
    BIO_set_callback_arg(bio, (char *)p);
    BIO_set_callback_ex(bio, on_parked_bio);
    return true;
}

bool ia_parking_hold(SSL *ssl, const uint8_t key[IA_PARKING_KEY_LEN], int64_t until_us)
{
    if (!parking.open)
        return false;
    struct parked *p = SSL_get_ex_data(ssl, parking.ssl_index);
    if (p)
        return p->group != NULL;
    if (parking.count >= parking.settings.max)
        return false;
    p = calloc(1, sizeof *p);
    if (!p)
        return false;
    p->ssl = ssl;
    if (SSL_set_ex_data(ssl, parking.ssl_index, p) != 1) {
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

int64_t ia_parking_next_us(void)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < DUE_LISTS; i++)
        if (parking.due[i] && parking.due[i]->until_us < next)
            next = parking.due[i]->until_us;
    return next;
}

size_t ia_parking_count(void)
{
    return parking.count;
}

enum ia_rc ia_parking_open(const struct ia_parking_settings *settings, struct ia_err *err)
{
    if (!parking.indexed)
        parking.ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
    parking.indexed = parking.ssl_index >= 0;
    if (!parking.indexed)
        return ia_fail(err, IA_CRYPTO, "OpenSSL gives no ex_data index");
    parking.settings = *settings;
    parking.open = true;
    return IA_OK;
}

void ia_parking_close(void)
{
    parking.open = false;
    ia_parking_expire(INT64_MAX);
}
