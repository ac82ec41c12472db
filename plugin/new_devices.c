// SPDX-License-Identifier: ISC
#include "plugin/new_devices.h"

#include "plugin/admit.h"
#include "plugin/broker_state.h"
#include "plugin/device_requests.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/resync.h"
#include "tls/gate.h"
#include "tls/parking.h"

#include <stdlib.h>

/* libwebsockets as Mosquitto 2.0 uses it closes a connection that has been silent for 5 s. */
#define WEBSOCKET_MS 4000

#define PORTS_MAX 32

/* Ports at which a client has spoken MQTT over TCP.  A listener speaks one protocol, which only its first CONNECT
 * shows: until then it may be a WebSocket listener. */
struct ia_new_devices {
    uint16_t tcp_ports[PORTS_MAX];
    size_t n_tcp_ports;
};

struct ia_new_devices *ia_new_devices_new(void)
{
    return calloc(1, sizeof(struct ia_new_devices));
}

void ia_new_devices_free(struct ia_new_devices *devices)
{
    free(devices);
}

/* ---- how long */

static bool is_tcp_port(const struct ia_new_devices *devices, uint16_t port)
{
    for (size_t i = 0; i < devices->n_tcp_ports; i++)
        if (devices->tcp_ports[i] == port)
            return true;
    return false;
}

void ia_new_devices_note_protocol(struct ia_core *core, const struct mosquitto *client, X509 *leaf)
{
    struct ia_new_devices *devices = core->new_devices;
    uint16_t port = leaf ? ia_gate_port(leaf) : 0;
    if (port == 0 || ia_mosq_is_websocket(client) || is_tcp_port(devices, port) || devices->n_tcp_ports == PORTS_MAX)
        return;
    devices->tcp_ports[devices->n_tcp_ports++] = port;
}

/* `leaf` NULL: a client with a pre-shared key, which libwebsockets does not know. */
static int64_t parking_ms(const struct ia_core *core, X509 *leaf)
{
    int64_t ms = core->options.auth_wait_ms;
    return !leaf || ms <= WEBSOCKET_MS || is_tcp_port(core->new_devices, ia_gate_port(leaf)) ? ms : WEBSOCKET_MS;
}

/* ---- parking */

static void park_connection(struct ia_core *core, SSL *ssl, X509 *leaf, const uint8_t *fingerprint)
{
    int64_t ms = parking_ms(core, leaf);
    size_t before = ia_parking_count();
    if (ms > 0 && ia_parking_hold(ssl, fingerprint, ia_monotonic_us() + ms * 1000))
        core->counters.parked_total += ia_parking_count() - before; /* it may be parked already */
}

/* Connections that were parked before it was known that no TICK comes: nothing else would end that. */
static void release_without_ticks(struct ia_core *core)
{
    if (!ia_broker_has_ticks(core))
        ia_new_devices_release_all();
}

void ia_new_devices_arrive(struct ia_core *core, SSL *ssl, X509 *leaf, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    release_without_ticks(core);
    if (ia_resync_find_device(core, fingerprint))
        return;
    struct ia_login login;
    char address[INET6_ADDRSTRLEN];
    ia_gate_peer_address(ssl, address);
    ia_login_init_handshake(&login, core, leaf, address);
    (void)ia_login_decide_handshake(&login); /* a refusal is BASIC_AUTH's, which reports it */
    if (login.awaits_registry)
        park_connection(core, ssl, leaf, fingerprint);
    ia_login_clear(&login);
}

void ia_new_devices_arrive_with_psk(struct ia_core *core, SSL *ssl, const char *identity)
{
    struct ia_login login;
    char address[INET6_ADDRSTRLEN];
    release_without_ticks(core);
    ia_gate_peer_address(ssl, address);
    ia_login_init_psk_handshake(&login, core, identity, address);
    if (!login.admission.device && login.psk.device_id && !login.psk.why)
        (void)ia_login_decide_handshake(&login); /* likewise */
    if (login.awaits_registry)
        park_connection(core, ssl, NULL, login.psk_digest);
    ia_login_clear(&login);
}

void ia_new_devices_answered(const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    ia_parking_release(fingerprint);
}

void ia_new_devices_release_all(void)
{
    ia_parking_expire(INT64_MAX);
}

void ia_new_devices_note_parked(void *core, int64_t held_us)
{
    ia_histogram_note(&((struct ia_core *)core)->counters.parked, held_us);
}

void ia_new_devices_expire(struct ia_core *core)
{
    size_t before = ia_parking_count();
    ia_parking_expire(ia_monotonic_us());
    core->counters.parked_expired += before - ia_parking_count();
}
