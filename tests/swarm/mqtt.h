// SPDX-License-Identifier: ISC
/* The few packets of MQTT 3.1.1 and 5 that the clients send and read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mqtt_type { MQTT_CONNACK = 2, MQTT_PUBLISH = 3, MQTT_SUBACK = 9, MQTT_PINGRESP = 13 };

struct packet {
    uint8_t bytes[8192];
    size_t len;
};

/* Whole packets, to be sent.  `version`: 4 or 5.  User and password NULL: none. */
void mqtt_connect(struct packet *p, int version, const char *id, const char *user, const char *password);
void mqtt_subscribe(struct packet *p, int version, const char *filter);
void mqtt_publish(struct packet *p, int version, const char *topic, const void *payload, size_t len);

/* The packet at in[0..n): its length in all, and where its body begins.  False: it is not whole yet. */
bool mqtt_whole(const uint8_t *in, size_t n, size_t *len, size_t *body);
