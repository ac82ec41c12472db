// SPDX-License-Identifier: ISC
/* iot-auth-psk: pre-shared keys of devices.  The keys are made and sealed here, and the registry gets them sealed. */
#pragma once

#include "cli/call.h"
#include "cli/registry.h"
#include "psk/keyring.h"

/* Exit status of iot-auth-psk. */
enum ia_psk_exit { IA_PSK_DONE = 0, IA_PSK_FAILED = 1, IA_PSK_USAGE = 2 };

struct ia_psk_command {
    const struct ia_call *call; /* for messages and the connection */
    struct ia_registry *registry;
    const struct ia_keyring *keyring;
    const char *device_id;  /* of generate and import */
    const char *identity;   /* likewise */
    const char *expires_at; /* likewise; NULL: never */
};

/* psk_new.c: each returns the exit status. */
int ia_psk_generate(const struct ia_psk_command *command);
int ia_psk_import(const struct ia_psk_command *command);

/* psk_rows.c: of all keys.  A key that fails is named on standard error, and the others go on. */
int ia_psk_rotate(const struct ia_psk_command *command);
int ia_psk_check(const struct ia_psk_command *command);
