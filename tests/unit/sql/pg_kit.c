// SPDX-License-Identifier: ISC
#define _GNU_SOURCE /* RTLD_NEXT */
#include "pg_kit.h"

#include "sql/private.h"
#include "sql/records.h"

#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static PGconn *open_admin(const char *database)
{
    const char *const keywords[] = {"dbname", "user", "options", NULL};
    const char *const values[] = {database, "postgres", "-c client_min_messages=warning", NULL};
    PGconn *conn = PQconnectdbParams(keywords, values, 0);
    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    return conn;
}

static void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
}

void kit_init(struct kit *kit)
{
    char sql[128];
    memset(kit, 0, sizeof *kit);
    snprintf(kit->database, sizeof kit->database, "test_%d", (int)getpid());
    PGconn *server = open_admin("postgres");
    snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s WITH (FORCE)", kit->database);
    run(server, sql);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s TEMPLATE iot_auth", kit->database);
    run(server, sql);
    PQfinish(server);
    kit->admin = open_admin(kit->database);
    kit->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ck_assert_int_ge(kit->wake_fd, 0);
}

void kit_clear(struct kit *kit)
{
    char sql[128];
    PQfinish(kit->admin);
    PGconn *server = open_admin("postgres");
    snprintf(sql, sizeof sql, "DROP DATABASE %s WITH (FORCE)", kit->database);
    run(server, sql);
    PQfinish(server);
    close(kit->wake_fd);
}

void kit_run(struct kit *kit, const char *sql)
{
    run(kit->admin, sql);
}

const char *kit_value(struct kit *kit, const char *sql)
{
    static char value[4096];
    PGresult *result = PQexec(kit->admin, sql);
    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(kit->admin));
    ck_assert_msg(PQntuples(result) == 1, "%s: %d rows", sql, PQntuples(result));
    snprintf(value, sizeof value, "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
    return value;
}

struct ia_db *kit_db(struct kit *kit, const char *options)
{
    char conninfo[512];
    struct ia_db *db = NULL;
    struct ia_err err = {0};
    snprintf(conninfo, sizeof conninfo, "dbname=%s user=iot_auth_broker %s", kit->database, options);
    struct ia_db_config config = {.conninfo = conninfo,
                                  .node_name = "test-node",
                                  .connect_timeout_ms = 500,
                                  .query_timeout_ms = 1000,
                                  .wake_fd = kit->wake_fd,
                                  .stop = &kit->stop};
    ck_assert_msg(ia_db_new(&config, &db, &err) == IA_OK, "%s", err.msg);
    return db;
}

struct ia_db *kit_connected(struct kit *kit)
{
    struct ia_err err = {0};
    struct ia_db *db = kit_db(kit, "");
    ck_assert_msg(ia_db_connect(db, &err) == IA_OK, "%s", err.msg);
    return db;
}

enum ia_rc kit_ping(struct ia_db *db, struct ia_err *err)
{
    int64_t event_id;
    return ia_db_last_event(db, &event_id, err);
}

pid_t kit_backend(struct ia_db *db)
{
    return (pid_t)PQbackendPID(db->conn);
}

int64_t kit_now_ms(void)
{
    return ia_monotonic_ms();
}

static void *run_later(void *arg)
{
    struct kit_later *later = arg;
    uint64_t one = 1;
    struct timespec t = {later->delay_ms / 1000, later->delay_ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
    if (later->stop)
        atomic_store(&later->kit->stop, true);
    if (write(later->kit->wake_fd, &one, sizeof one) != sizeof one)
        abort();
    return NULL;
}

void kit_later(struct kit_later *later)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_later, later), 0);
    later->thread = (unsigned long)thread;
}

void kit_join(struct kit_later *later)
{
    pthread_join((pthread_t)later->thread, NULL);
}

struct listener {
    int fd;
    enum kit_host kind;
};

/* Accept for ever; what comes of each connection is the listener's kind. */
static void *serve(void *arg)
{
    static const char babble[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    struct listener *l = arg;
    for (;;) {
        int fd = accept(l->fd, NULL, NULL);
        if (fd < 0)
            break;
        if (l->kind == KIT_BABBLES && write(fd, babble, sizeof babble - 1) < 0)
            break;
        if (l->kind == KIT_NO_TLS && write(fd, "N", 1) < 0)
            break;
        if (l->kind == KIT_CLOSES)
            close(fd);
    }
    free(l);
    return NULL;
}

/* Take up all places in the queue of a listener that never accepts. */
static void fill_queue(const struct sockaddr_in *address)
{
    for (int i = 0; i < 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fd, (const struct sockaddr *)address, sizeof *address);
    }
}

/* Listen on 127.0.0.`last`, on `port` or (0) any; returns the port. */
static int strange_host(enum kit_host kind, uint32_t last, int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000000u | last), .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(bind(fd, (struct sockaddr *)&address, len) == 0);
    ck_assert(listen(fd, kind == KIT_HOLE ? 0 : 16) == 0);
    ck_assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    if (kind == KIT_HOLE) {
        fill_queue(&address);
        return ntohs(address.sin_port);
    }
    struct listener *l = malloc(sizeof *l);
    *l = (struct listener){.fd = fd, .kind = kind};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, l), 0);
    pthread_detach(thread);
    return ntohs(address.sin_port);
}

int kit_strange_host(enum kit_host kind)
{
    return strange_host(kind, 1, 0);
}

int kit_two_faces(enum kit_host kind)
{
    return strange_host(kind, 3, strange_host(KIT_HOLE, 2, 0));
}

typedef int resolver(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out);

/* In place of the C library's, for libpq as well. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **out)
{
    resolver *real;
    void *found = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &found, sizeof real);
    if (!node || strcmp(node, "two-faces") != 0)
        return real(node, service, hints, out);
    struct addrinfo *second = NULL;
    int rc = real("127.0.0.2", service, hints, out);
    if (rc == 0)
        rc = real("127.0.0.3", service, hints, &second);
    if (rc == 0) /* glibc's freeaddrinfo frees link by link */
        (*out)->ai_next = second;
    return rc;
}
