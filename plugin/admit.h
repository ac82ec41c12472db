// SPDX-License-Identifier: ISC
/* One connection under decision: who is it, and may it be here?  All checks that need no database come first, so that
 * nobody waits, is registered or parks on another's client id who would be refused anyway. */
#pragma once

#include "plugin/core.h"
#include "plugin/report.h"

/* One connection under decision. */
struct ia_connect {
    struct ia_core *core;
    struct mosquitto *client;
    struct ia_attempt attempt;
    struct ia_ip ip;
    int64_t now;
    X509 *leaf;                    /* owned; NULL: none */
    struct ia_presented presented; /* password or authentication data */
    bool has_token;                /* it is a token, or must be one */
    bool by_ext_auth;
    struct ia_chain chain;    /* of the leaf, once verified */
    struct ia_cert_info info; /* of the leaf */
    char device_id[IA_VALUE_MAX + 1];
    struct ia_device *device; /* owned reference */
    struct ia_token *token;   /* owned reference */
};

/* Begin for that client of Mosquitto's, which must live until ia_connect_clear. */
void ia_connect_init(struct ia_connect *c, struct ia_core *core, struct mosquitto *client);
void ia_connect_clear(struct ia_connect *c);

/* Return `reason`, with `detail` for log and event. */
enum ia_reason ia_connect_refuse(struct ia_connect *c, enum ia_reason reason, const char *detail);

/* Take over the client's certificate, if it is a credential here. */
void ia_connect_take_leaf(struct ia_connect *c);

/* A device or app that connects: IA_R_NONE, with c->device and c->token as far as it has them, or the reason.  May wait
 * for the registry, and apply what the worker sends. */
enum ia_reason ia_connect_decide(struct ia_connect *c);

/* A live app that authenticates again: it must still be `principal`. */
enum ia_reason ia_connect_decide_again(struct ia_connect *c, const char *principal);

/* A client with neither certificate nor token, which is to be left to others: it must not take what belongs to a device
 * or app. */
enum ia_reason ia_connect_decide_other(struct ia_connect *c, const char *username);
