// SPDX-License-Identifier: ISC
#include "plugin/psk_handshake.h"

#include "plugin/log.h"
#include "plugin/new_devices.h"
#include "plugin/psk_keys.h"
#include "plugin/report.h"
#include "tls/gate.h"
#include "tls/psk.h"

#include <stdio.h>

#define UNUSED_LOG_US (600 * 1000000LL) /* any client can leave early: the line must not be spent on it for good */
#define UNUSED_LOGS   64                /* listeners */

static const char *find_psk_key(void *ctx, const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX],
                                size_t *key_len)
{
    return ia_psk_keys_find(ctx, identity, len, key, key_len);
}

static void report_proven_key(void *ctx, SSL *ssl, const char *identity)
{
    ia_new_devices_arrive_with_psk(ctx, ssl, identity);
}

static void report_refused_key(void *ctx, SSL *ssl, const char *identity, const char *why)
{
    char address[INET6_ADDRSTRLEN];
    uint8_t digest[IA_PSK_DIGEST_LEN];
    struct ia_audit_entry entry = {.psk_identity = identity};
    ia_gate_peer_address(ssl, address);
    entry.address = address[0] ? address : NULL;
    if (identity && ia_psk_identity_digest(identity, digest))
        entry.fingerprint = digest;
    (void)snprintf(entry.detail, sizeof entry.detail, "%s", why);
    ia_report_refused(ctx, &entry, IA_R_PSK_UNKNOWN);
}

/* A listener's own, so that a client that leaves early at one does not spend the line of another.  The ports beyond the
 * table share its last place. */
static int64_t *find_unused_log(uint16_t port)
{
    static struct {
        uint16_t port;
        int64_t next_us;
    } logs[UNUSED_LOGS];
    size_t i = 0;
    while (i < UNUSED_LOGS - 1 && logs[i].port && logs[i].port != port)
        i++;
    logs[i].port = port;
    return &logs[i].next_us;
}

/* Mosquitto then refuses the client itself, because its own callback has set no username. */
static void report_unused_key(void *ctx, const char *identity, uint16_t port)
{
    int64_t now_us = ia_monotonic_us(), *next_us = find_unused_log(port);
    (void)ctx;
    if (now_us < *next_us)
        return;
    *next_us = now_us + UNUSED_LOG_US;
    ia_log(
        MOSQ_LOG_WARNING,
        "the client with PSK identity '%s' has left port %u before its CONNECT was asked about, as all before it: if the "
        "listener has use_identity_as_username, nobody is admitted there: remove that option",
        identity, (unsigned)port);
}

static void warn_of_listener(void *ctx, const char *text)
{
    (void)ctx;
    ia_log(MOSQ_LOG_WARNING, "%s", text);
}

void ia_psk_handshake_tick(const struct ia_core *core)
{
    ia_tls_psk_examine_listeners(core->options.gate.mode == IA_GATE_ALL);
}

/* Reached only where the listener is none of the gate's: the gate's connections have callbacks of their own. */
int ia_on_psk_key(int event, void *event_data, void *userdata)
{
    (void)event, (void)event_data;
    static bool logged;
    const struct ia_core *core = userdata;
    if (!ia_psk_keys_are_in_use(core))
        return MOSQ_ERR_PLUGIN_DEFER; /* Mosquitto's psk_file, where there is one */
    if (!logged)
        ia_log(MOSQ_LOG_WARNING,
               "a listener with psk_hint is not in tls_gate, or has a certificate: it admits no device by pre-shared "
               "key; add its port, or give keys a listener without certfile");
    logged = true;
    return MOSQ_ERR_AUTH;
}

enum ia_rc ia_psk_handshake_open(struct ia_core *core, struct ia_err *err)
{
    const struct ia_tls_psk_hooks hooks = {.ctx = core,
                                           .find_key = find_psk_key,
                                           .proven = report_proven_key,
                                           .refused = report_refused_key,
                                           .unused = report_unused_key,
                                           .warn = warn_of_listener};
    if (!core->options.worker.psk_key_file)
        return IA_OK;
    enum ia_rc rc = ia_psk_keys_open(core, err);
    return rc == IA_OK ? ia_tls_psk_open(&hooks, core->options.insecure_plain_psk, err) : rc;
}

void ia_psk_handshake_close(void)
{
    ia_tls_psk_close();
}
