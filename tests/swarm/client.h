// SPDX-License-Identifier: ISC
/* One MQTT client over TLS that never waits, and the group that counts what happens to it. */
#pragma once

#include "tests/swarm/mqtt.h"

#include <openssl/ssl.h>

enum client_state { CLIENT_CLOSED, CLIENT_CONNECTING, CLIENT_HANDSHAKING, CLIENT_ASKING, CLIENT_OPEN };

struct client {
    int fd;
    enum client_state state;
    SSL *ssl;
    SSL_SESSION *session;
    X509 *cert; /* NULL: none is sent */
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    struct group *group;
    char id[64];
    char *user, *password; /* NULL: none */
    uint8_t psk[64];       /* a pre-shared key, whose identity is the id */
    size_t psk_len;        /* 0: none */
    bool admitted;         /* has ever received CONNACK 0 */
    int64_t begun_us, pinged_us, next_ping_us;
    uint8_t in[2048];
    size_t n_in;
};

struct ping {
    int64_t sent_us, took_us;
};

struct group {
    struct client **clients;
    size_t n;
    /* as set */
    int port, tls, mqtt; /* tls 0: what both sides support */
    bool resume;
    int64_t ping_us; /* 0: no pings */
    /* the storm; `wanted` 0: none is under way */
    bool stay; /* connections are kept */
    size_t parallel, attempting, begun, wanted;
    size_t accepted, refused, failed, resumed;
    int64_t begun_us, next_look_us;
    /* what is open */
    size_t open;
    int64_t opened_us, first_end_us, last_end_us;
    struct ping *pings; /* the answers since the last report */
    size_t n_pings, subscribed, received;
    /* answers that are due */
    bool subscribing, wait_received, wait_open;
    size_t wait_count;
    int64_t wait_until_us;
};

int64_t now_us(void); /* CLOCK_MONOTONIC */

/* Once, before anything else: watch stdin, whose events have no client.  False: no memory. */
bool clients_begin(void);

/* Serve what is ready, for a millisecond at most.  True: stdin can be read. */
bool clients_serve(void);

/* A client of the group without a credential. */
struct client *client_add(struct group *g, const char *id);

/* Connect to the group's port of 127.0.0.1.  A failure is counted. */
void client_connect(struct client *c);

/* Send these bytes.  False: the connection is to be given up. */
bool client_send(const struct client *c, const void *bytes, size_t len);

/* Give the connection up: a failure, unless it was open. */
void client_fail(struct client *c);

/* Close the connection. */
void client_end(struct client *c);
