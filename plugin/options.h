// SPDX-License-Identifier: ISC
/* The plugin's options (`plugin_opt_…` in mosquitto.conf): one table, checked as a whole before anything starts. */
#pragma once

#include "common/error.h"
#include "tls/gate.h"
#include "worker/worker.h"

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdbool.h>
#include <stdint.h>

struct ia_options {
    struct ia_worker_options worker;
    int64_t startup_wait_ms;
    int64_t auth_wait_ms; /* longest that one connection is parked; 0: none is */
    int64_t parked_max;   /* connections at a time */
    int64_t device_cache_size;
    int64_t stale_max_s; /* 0: no limit */
    struct ia_gate_options gate;
    bool defer_others;
    bool insecure_plain_psk; /* pre-shared keys also without forward secrecy, in TLS 1.2 */
    bool http_api_loopback;
    char *event_prefix;
    bool log_json;
};

/* Read the options over their defaults.  IA_USAGE names the option and what is wrong with it (never the value of one
 * that may hold a secret).  On success the caller owns the texts (ia_options_clear). */
IA_MUST_USE enum ia_rc ia_options_read(const struct mosquitto_opt *given, int n, struct ia_options *out,
                                       struct ia_err *err);
void ia_options_clear(struct ia_options *options);
