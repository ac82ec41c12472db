// SPDX-License-Identifier: ISC
#include "tests/unit/plugin/broker_stub.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct broker broker;

const char *mosquitto_client_id(const struct mosquitto *client)
{
    return client->id;
}

const char *mosquitto_client_username(const struct mosquitto *client)
{
    return client->username;
}

const char *mosquitto_client_address(const struct mosquitto *client)
{
    return client->address;
}

void *mosquitto_client_certificate(const struct mosquitto *client)
{
    if (client->certificate)
        X509_up_ref(client->certificate);
    return client->certificate;
}

int mosquitto_client_protocol(const struct mosquitto *client)
{
    return client->protocol;
}

int mosquitto_client_protocol_version(const struct mosquitto *client)
{
    return client->version;
}

bool mosquitto_client_clean_session(const struct mosquitto *client)
{
    return !client->persistent;
}

int mosquitto_set_username(struct mosquitto *client, const char *username)
{
    if (client->refuses_username)
        return MOSQ_ERR_NOMEM;
    (void)snprintf(client->given, sizeof client->given, "%s", username);
    client->username = client->given;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_kick_client_by_clientid(const char *clientid, bool with_will)
{
    ck_assert_msg(!with_will, "who is thrown out has no last word");
    ck_assert_uint_lt(broker.n_kicked, sizeof broker.kicked / sizeof broker.kicked[0]);
    (void)snprintf(broker.kicked[broker.n_kicked++], sizeof broker.kicked[0], "%s", clientid);
    if (broker.forgets_ids)
        return MOSQ_ERR_NOT_FOUND;
    if (broker.on_kick)
        broker.on_kick(clientid);
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_kick_client_by_username(const char *username, bool with_will)
{
    ck_assert_msg(!with_will, "who is thrown out has no last word");
    ck_assert_uint_lt(broker.n_kicked_names, sizeof broker.kicked_names / sizeof broker.kicked_names[0]);
    (void)snprintf(broker.kicked_names[broker.n_kicked_names++], sizeof broker.kicked_names[0], "%s", username);
    if (broker.on_kick_name)
        broker.on_kick_name(username);
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_broker_publish_copy(const char *clientid, const char *topic, int payloadlen, const void *payload, int qos,
                                  bool retain, mosquitto_property *properties)
{
    size_t at = broker.n_published++ % BROKER_PUBLISHED_MAX;
    ck_assert(!clientid && qos == 0 && !properties);
    (void)snprintf(broker.published[at].topic, sizeof broker.published[0].topic, "%s", topic);
    (void)snprintf(broker.published[at].payload, sizeof broker.published[0].payload, "%.*s", payloadlen,
                   (const char *)payload);
    broker.published[at].retain = retain;
    return MOSQ_ERR_SUCCESS;
}

void mosquitto_log_printf(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void mosquitto_log_printf(int level, const char *fmt, ...)
{
    size_t used = strlen(broker.log);
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    (void)snprintf(broker.log + used, sizeof broker.log - used, "%d %s\n", level, line);
}

int mosquitto_callback_register(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback cb_func,
                                const void *event_data, void *userdata)
{
    (void)identifier, (void)event_data;
    if (event == broker.refused_event)
        return MOSQ_ERR_NOT_SUPPORTED;
    if (event == MOSQ_EVT_CONTROL && broker.has_dynamic_security)
        return MOSQ_ERR_ALREADY_EXISTS;
    broker.callbacks[event].fn = cb_func;
    broker.callbacks[event].userdata = userdata;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_callback_unregister(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback cb_func,
                                  const void *event_data)
{
    (void)identifier, (void)event_data;
    if (broker.callbacks[event].fn != cb_func)
        return MOSQ_ERR_NOT_FOUND;
    broker.callbacks[event].fn = NULL;
    return MOSQ_ERR_SUCCESS;
}

int broker_event(int event, void *event_data)
{
    ck_assert_msg(broker.callbacks[event].fn != NULL, "no callback for event %d", event);
    return broker.callbacks[event].fn(event, event_data, broker.callbacks[event].userdata);
}

static size_t first_kept(void)
{
    return broker.n_published > BROKER_PUBLISHED_MAX ? broker.n_published - BROKER_PUBLISHED_MAX : 0;
}

/* --- what only 2.1 has: looked up by name
 * --------------------------------------------------------------------------- */

static struct mosquitto *find_client(const char *client_id)
{
    for (size_t i = 0; i < sizeof broker.known / sizeof broker.known[0]; i++)
        if (broker.known[i] && strcmp(broker.known[i]->id, client_id) == 0)
            return broker.known[i];
    return NULL;
}

static int delete_subscription(const char *client_id, const char *filter)
{
    broker.n_unsubscribed++;
    (void)snprintf(broker.unsubscribed, sizeof broker.unsubscribed, "%s %s", client_id, filter);
    return MOSQ_ERR_SUCCESS;
}

void *__wrap_dlsym(void *handle, const char *name);

void *__wrap_dlsym(void *handle, const char *name)
{
    struct mosquitto *(*function)(const char *) = find_client;
    int (*delete)(const char *, const char *) = delete_subscription;
    void *symbol = NULL;
    (void)handle;
    if (broker.is_21 && strcmp(name, "mosquitto_client") == 0)
        memcpy(&symbol, &function, sizeof symbol);
    if (broker.is_21 && strcmp(name, "mosquitto_subscription_delete") == 0)
        memcpy(&symbol, &delete, sizeof symbol);
    return symbol;
}

/*
-------------------------------------------------------------------------------------------------------------------- */

size_t broker_published(const char *topic)
{
    size_t n = 0;
    for (size_t i = first_kept(); i < broker.n_published; i++)
        n += strncmp(broker.published[i % BROKER_PUBLISHED_MAX].topic, topic, strlen(topic)) == 0;
    return n;
}

const char *broker_payload(const char *topic)
{
    for (size_t i = broker.n_published; i > first_kept(); i--)
        if (strncmp(broker.published[(i - 1) % BROKER_PUBLISHED_MAX].topic, topic, strlen(topic)) == 0)
            return broker.published[(i - 1) % BROKER_PUBLISHED_MAX].payload;
    return "";
}

void broker_forget(void)
{
    broker.n_published = 0;
    broker.n_kicked = 0;
    broker.log[0] = '\0';
}
