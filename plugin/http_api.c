// SPDX-License-Identifier: ISC
#include "plugin/http_api.h"

#include <stdatomic.h>
#include <string.h>

static atomic_uint_fast64_t http_api_questions;

/* Text only: the IPv4-mapped form too, as a dual-stack listener shows it. */
static bool is_loopback(const char *address)
{
    if (!address)
        return false;
    if (strncmp(address, "::ffff:", 7) == 0)
        address += 7;
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static bool is_admitted(const struct ia_core *core, const struct mosquitto *client)
{
    atomic_fetch_add_explicit(&http_api_questions, 1, memory_order_relaxed);
    return core->options.http_api_loopback && is_loopback(mosquitto_client_address(client));
}

int ia_http_api_login(struct ia_core *core, const struct mosquitto_evt_basic_auth *ev)
{
    return is_admitted(core, ev->client) ? MOSQ_ERR_SUCCESS : MOSQ_ERR_AUTH;
}

int ia_http_api_acl(struct ia_core *core, const struct mosquitto_evt_acl_check *ev)
{
    bool reads = ev->access == MOSQ_ACL_READ || ev->access == MOSQ_ACL_SUBSCRIBE;
    return is_admitted(core, ev->client) && reads ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

int ia_http_api_refuse(struct ia_core *core)
{
    (void)core;
    atomic_fetch_add_explicit(&http_api_questions, 1, memory_order_relaxed);
    return MOSQ_ERR_AUTH;
}

uint64_t ia_http_api_count(void)
{
    return atomic_load_explicit(&http_api_questions, memory_order_relaxed);
}
