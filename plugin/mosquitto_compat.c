// SPDX-License-Identifier: ISC
#include "plugin/mosquitto_compat.h"

#include <dlfcn.h>
#include <string.h>

/* Of 2.1's reason codes that BASIC_AUTH may answer at once; 2.0 knows none of them. */
#define CODE_CLIENT_IDENTIFIER_NOT_VALID 0x85
#define CODE_SERVER_UNAVAILABLE          0x88
#define CODE_BANNED                      0x8A

static struct mosquitto *(*find_client)(const char *client_id);

static int (*delete_subscription)(const char *client_id, const char *filter);

static bool believes_headers; /* where a WebSocket client says that it comes from */

/* 2.0 does not report its version.  Debian 12's 2.0.11 is known by exporting its internal functions, among which one of
 * 2.0.15's is missing; any other 2.0 is taken for one that believes what clients say. */
static bool is_2011(void)
{
    return dlsym(RTLD_DEFAULT, "context__add_to_disused") && !dlsym(RTLD_DEFAULT, "context__add_to_by_id");
}

void ia_mosq_init(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, "mosquitto_client");
    memcpy(&find_client, &symbol, sizeof find_client);
    symbol = dlsym(RTLD_DEFAULT, "mosquitto_subscription_delete");
    memcpy(&delete_subscription, &symbol, sizeof delete_subscription);
    believes_headers = !find_client && !is_2011();
}

bool ia_mosq_is_21(void)
{
    return find_client != NULL;
}

const char *ia_mosq_version(void)
{
    if (ia_mosq_is_21())
        return "2.1";
    return is_2011() ? "2.0.11" : "2.0";
}

void ia_mosq_introduce(mosquitto_plugin_id_t *id, const char *version)
{
    int (*set_info)(mosquitto_plugin_id_t * id, const char *name, const char *version);
    void *symbol = dlsym(RTLD_DEFAULT, "mosquitto_plugin_set_info");
    memcpy(&set_info, &symbol, sizeof set_info);
    if (set_info)
        (void)set_info(id, "iot-auth", version);
}

struct mosquitto *ia_mosq_client(const char *client_id)
{
    return find_client ? find_client(client_id) : NULL;
}

bool ia_mosq_unsubscribe(const char *client_id, const char *filter)
{
    if (delete_subscription)
        (void)delete_subscription(client_id, filter); /* fails where there is none */
    return delete_subscription != NULL;
}

bool ia_mosq_has_address(const struct mosquitto *client)
{
    return mosquitto_client_address(client) != NULL;
}

bool ia_mosq_is_websocket(const struct mosquitto *client)
{
    return mosquitto_client_protocol(client) == mp_websockets;
}

const char *ia_mosq_address(const struct mosquitto *client)
{
    return believes_headers && ia_mosq_is_websocket(client) ? NULL : mosquitto_client_address(client);
}

/* 2.1 has renamed the field, at its place, and reads it; 2.0 does not. */
#if LIBMOSQUITTO_VERSION_NUMBER >= 2001000
#define TICK_FIELD next_ms
#else
#define TICK_FIELD next_ns
#endif

void ia_mosq_next_tick(struct mosquitto_evt_tick *tick, long ms)
{
    if (ia_mosq_is_21())
        tick->TICK_FIELD = ms;
}

/* May trying again help, without anybody changing anything? */
static bool is_retryable(enum ia_reason reason)
{
    return reason == IA_R_REGISTRY_UNAVAILABLE || reason == IA_R_SNAPSHOT_STALE || reason == IA_R_TOKEN_KEY_UNKNOWN;
}

int ia_mosq_ext_refusal(enum ia_reason reason)
{
    return is_retryable(reason) ? MOSQ_ERR_UNKNOWN : MOSQ_ERR_AUTH;
}

int ia_mosq_refusal(const struct mosquitto *client, enum ia_reason reason)
{
    if (!ia_mosq_is_21() || mosquitto_client_protocol_version(client) < 5)
        return ia_mosq_ext_refusal(reason);
    if (is_retryable(reason))
        return CODE_SERVER_UNAVAILABLE;
    switch (reason) {
    case IA_R_ADDRESS_DENIED:
        return CODE_BANNED;
    case IA_R_CLIENT_ID_MISMATCH:
        return CODE_CLIENT_IDENTIFIER_NOT_VALID;
    default:
        return MOSQ_ERR_AUTH;
    }
}
