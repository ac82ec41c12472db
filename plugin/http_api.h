// SPDX-License-Identifier: ISC
/* Requests of Mosquitto 2.1's http_api listener: they arrive on another thread, which may touch nothing of this
 * plugin but an atomic counter.  Option http_api: `deny` refuses them, `loopback` lets those that come from
 * 127.0.0.0/8 and ::1 read.  No event is written.  Any thread. */
#pragma once

#include "plugin/core.h"

int ia_http_api_login(struct ia_core *core, const struct mosquitto_evt_basic_auth *ev);
int ia_http_api_acl(struct ia_core *core, const struct mosquitto_evt_acl_check *ev);

/* For a callback that has no answer of its own on another thread. */
int ia_http_api_refuse(struct ia_core *core);

/* Questions that came on another thread, so far. */
uint64_t ia_http_api_count(void);
