// SPDX-License-Identifier: ISC
/* What the handshake with pre-shared keys (tls/psk.h) asks and reports.  Broker thread. */
#pragma once

#include "plugin/core.h"

/* Read psk_key_file, and begin.  Does nothing without that option.  IA_USAGE and IA_IO say what is wrong with the file. */
IA_MUST_USE enum ia_rc ia_psk_handshake_open(struct ia_core *core, struct ia_err *err);
void ia_psk_handshake_close(void);

/* TICK: say what is wrong with a listener. */
void ia_psk_handshake_tick(const struct ia_core *core);

/* Mosquitto's own question for a key (MOSQ_EVT_PSK_KEY), which never decides here. */
int ia_on_psk_key(int event, void *event_data, void *userdata);
