// SPDX-License-Identifier: ISC
/* One connection under decision: collects the facts that access/admission.h needs from Mosquitto, the gate and the
 * sessions, and asks.  Broker thread. */
#pragma once

#include "access/admission.h"
#include "plugin/core.h"
#include "plugin/report.h"

struct ia_login {
    struct ia_core *core;
    struct mosquitto *client;
    struct ia_admission admission;
    struct ia_admission_hooks hooks;
    struct ia_audit_entry audit;   /* filled when decided */
    struct ia_presented presented; /* password or authentication data */
    bool by_ext_auth;
    bool address_unknown;     /* of this connection; a certificate may know that of its full handshake */
    bool awaits_registry;     /* decided: the registry has been asked for the device, and has not answered yet */
    struct ia_chain chain;    /* of the leaf, once verified */
    struct ia_cert_info info; /* of the leaf */
    struct ia_shared_key psk; /* that was proved */
    uint8_t psk_digest[IA_PSK_DIGEST_LEN];
    char psk_address[INET6_ADDRSTRLEN]; /* of its connection */
};

/* Begin for that client of Mosquitto's, which must live until ia_login_clear. */
void ia_login_init(struct ia_login *login, struct ia_core *core, struct mosquitto *client);

/* Begin for a client that has completed its TLS handshake with this leaf, which the gate has verified, from that address,
 * which must live until ia_login_clear. */
void ia_login_init_handshake(struct ia_login *login, struct ia_core *core, X509 *leaf, const char *address);

/* The same for a client that has proved the pre-shared key of `identity`. */
void ia_login_init_psk_handshake(struct ia_login *login, struct ia_core *core, const char *identity,
                                 const char *address);

void ia_login_clear(struct ia_login *login);

/* The client presents this text, which must live until ia_login_clear: a token makes it an app, anything else counts
 * for nothing.  `required`: it must be a token. */
void ia_login_present(struct ia_login *login, const char *text, size_t len, bool required);

/* Is this the name of a device or an app, as far as memory knows? */
bool ia_login_is_principal(struct ia_core *core, const char *name);

/* Take over the client's certificate, if it is a credential here.  True: it is. */
bool ia_login_take_leaf(struct ia_login *login);

/* Take over the pre-shared key that the client has proved on this very connection, once.  True: there is one. */
bool ia_login_take_psk(struct ia_login *login);

/* Refuse with that detail, for reasons outside the table: returns `reason`. */
enum ia_reason ia_login_refuse(struct ia_login *login, enum ia_reason reason, const char *detail);

/* A device or app that connects: IA_R_NONE, with admission.device and .token as far as it has them, or the reason. */
enum ia_reason ia_login_decide(struct ia_login *login);

/* A client whose handshake is complete: may the registry be asked for its device?  It has been where `awaits_registry` is
 * set.  Not an admission, whatever the reason. */
enum ia_reason ia_login_decide_handshake(struct ia_login *login);

/* A live app that authenticates again: it must still be `principal`. */
enum ia_reason ia_login_decide_again(struct ia_login *login, const char *principal);

/* A client with neither certificate nor token, which is left to other plugins: it must not take what belongs to a
 * device or app. */
enum ia_reason ia_login_decide_deferred(struct ia_login *login, const char *username);
