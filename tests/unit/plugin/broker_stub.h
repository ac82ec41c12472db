// SPDX-License-Identifier: ISC
/* A broker under the control of the test: Mosquitto's functions that the plugin calls, over a `struct mosquitto` of
 * ours. */
#pragma once

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* A client's context. */
struct mosquitto {
    const char *id;
    const char *username; /* what the client sent; once set by the plugin, `given` */
    const char *address;  /* NULL: not connected */
    X509 *certificate;    /* borrowed */
    int protocol;         /* enum mosquitto_protocol */
    int version;          /* 4: MQTT 3.1.1, 5: MQTT 5 */
    bool persistent;
    bool refuses_username; /* mosquitto_set_username fails */
    char given[256];
};

#define BROKER_PUBLISHED_MAX 256

extern struct broker {
    struct {
        MOSQ_FUNC_generic_callback fn;
        void *userdata;
    } callbacks[64];
    int refused_event;          /* registering a callback for it fails */
    bool is_21;                 /* Mosquitto 2.1, from the plugin's init on */
    struct mosquitto *known[8]; /* 2.1: the contexts that mosquitto_client finds */
    struct {
        char topic[256], payload[2048];
        bool retain;
    } published[BROKER_PUBLISHED_MAX]; /* the newest overwrite the oldest */
    size_t n_published;
    char log[65536]; /* "level line\n" … */
    char kicked[64][128];
    size_t n_kicked;
    void (*on_kick)(const char *client_id);
    bool forgets_ids; /* no client is found by its id (2.0.11 with use_username_as_clientid) */
    char kicked_names[64][128];
    size_t n_kicked_names;
    void (*on_kick_name)(const char *username);
    char unsubscribed[256]; /* 2.1: the last subscription that the plugin had deleted, "client-id filter" */
    size_t n_unsubscribed;
    bool has_dynamic_security; /* another plugin has registered its control topic */
} broker;

/* Call what the plugin registered for that event; fails the test where there is nothing. */
int broker_event(int event, void *event_data);

/* How many were published under topics that begin like this; the payload of the newest, or "". */
size_t broker_published(const char *topic);
const char *broker_payload(const char *topic);

/* Forget what was published, logged and kicked. */
void broker_forget(void);
