// SPDX-License-Identifier: ISC
/* For the suites that run under with_postgres.sh: databases of their own, an administrator's hand, strange hosts. */
#pragma once

#include "sql/db.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

/* A fresh copy of the migrated database, dropped by kit_clear. */
struct kit {
    char database[32];
    PGconn *admin; /* a superuser's plain connection to it */
    atomic_bool stop;
    int wake_fd;
};

void kit_init(struct kit *kit);
void kit_clear(struct kit *kit);

/* Run a statement as the administrator; the test fails if it does. */
void kit_run(struct kit *kit, const char *sql);

/* The same on a connection of its own, while the administrator's holds a lock. */
void kit_run_apart(struct kit *kit, const char *sql);

/* The first value of the answer as text, "" for NULL; valid until the next call. */
const char *kit_value(struct kit *kit, const char *sql);

/* A database side on the kit's database with more options appended, not connected. */
struct ia_db *kit_db(struct kit *kit, const char *options);

/* The same, connected as the broker's role. */
struct ia_db *kit_connected(struct kit *kit);

/* A statement that asks for little: what comes of it. */
enum ia_rc kit_ping(struct ia_db *db, struct ia_err *err);

/* The process id of the server process behind `db`. */
pid_t kit_backend(struct ia_db *db);

int64_t kit_now_ms(void);

/* Set `stop` and signal the wake fd after `delay_ms`, from a thread that kit_join ends. */
struct kit_later {
    struct kit *kit;
    int delay_ms;
    bool stop; /* else only the wake fd */
    unsigned long thread;
};
void kit_later(struct kit_later *later);
void kit_join(struct kit_later *later);

/* A TCP listener on loopback that behaves in one of these ways; returns its port.  Lives until the process ends. */
enum kit_host {
    KIT_SILENT,  /* accepts, and never says a word */
    KIT_HOLE,    /* its queue is full: the SYN goes unanswered */
    KIT_CLOSES,  /* hangs up at once */
    KIT_BABBLES, /* answers with something that is not PostgreSQL */
    KIT_NO_TLS   /* answers no to a request for TLS */
};
int kit_strange_host(enum kit_host kind);

/* The name `two-faces` has two addresses: at the first there is a black hole, at the second a host of that kind, both
 * on the port that is returned.  (getaddrinfo is replaced in these programs.) */
int kit_two_faces(enum kit_host kind);
