// SPDX-License-Identifier: ISC
#include "tests/swarm/mqtt.h"

#include <stdlib.h>
#include <string.h>

#define KEEP_ALIVE_S 600

static void put_bytes(struct packet *p, const void *bytes, size_t len)
{
    if (len > sizeof p->bytes - p->len)
        abort();
    memcpy(p->bytes + p->len, bytes, len);
    p->len += len;
}

static void put_text(struct packet *p, const char *text)
{
    size_t len = strlen(text);
    put_bytes(p, (const uint8_t[]){(uint8_t)(len >> 8), (uint8_t)len}, 2);
    put_bytes(p, text, len);
}

/* MQTT 5: no properties. */
static void put_properties(struct packet *p, int version)
{
    if (version == 5)
        put_bytes(p, "", 1);
}

/* The fixed header before the body (MQTT 5, 2.1). */
static void put_header(struct packet *p, uint8_t type, const struct packet *body)
{
    size_t left = body->len;
    p->bytes[0] = type;
    p->len = 1;
    do {
        p->bytes[p->len++] = (uint8_t)((left & 127) | (left > 127 ? 128 : 0));
        left >>= 7;
    } while (left);
    put_bytes(p, body->bytes, body->len);
}

void mqtt_connect(struct packet *p, int version, const char *id, const char *user, const char *password)
{
    struct packet body = {.len = 0};
    const uint8_t flags = (uint8_t)(2 | (user ? 0xC0 : 0));
    put_text(&body, "MQTT");
    put_bytes(&body, (const uint8_t[]){(uint8_t)version, flags, KEEP_ALIVE_S >> 8, KEEP_ALIVE_S & 255}, 4);
    put_properties(&body, version);
    put_text(&body, id);
    if (user) {
        put_text(&body, user);
        put_text(&body, password);
    }
    put_header(p, 0x10, &body);
}

void mqtt_subscribe(struct packet *p, int version, const char *filter)
{
    struct packet body = {.len = 0};
    put_bytes(&body, "\0\1", 2);
    put_properties(&body, version);
    put_text(&body, filter);
    put_bytes(&body, "", 1);
    put_header(p, 0x82, &body);
}

void mqtt_publish(struct packet *p, int version, const char *topic, const void *payload, size_t len)
{
    struct packet body = {.len = 0};
    put_text(&body, topic);
    put_properties(&body, version);
    put_bytes(&body, payload, len);
    put_header(p, 0x30, &body);
}

bool mqtt_whole(const uint8_t *in, size_t n, size_t *len, size_t *body)
{
    size_t left = 0, at = 1, shift = 0;
    do {
        if (at >= n || shift > 21)
            return false;
        left |= (size_t)(in[at] & 127) << shift;
        shift += 7;
    } while (in[at++] & 128);
    *len = at + left;
    *body = at;
    return *len <= n;
}
