// SPDX-License-Identifier: ISC
/* Admission: may this client be connected?  One table of steps in one order serves every place that asks: the end of
 * the TLS handshake, CONNECT, re-authentication, the revalidation of live sessions, wills, clients that are left to other
 * plugins, and iot-auth-check.  Steps that need no database come first: a client that certificate, CA or address would
 * refuse anyway is not parked, does not hold another's client id and is not registered.
 *
 * The steps use no Mosquitto, no database and no clock: the caller passes facts in, and hooks answer what only the
 * caller can find out.  docs/decisions.md shows the table; a test compares both. */
#pragma once

#include "access/snapshot.h"
#include "common/reason.h"
#include "common/str.h"
#include "jitr/device.h"
#include "oauth/token.h"
#include "oauth/token_cache.h"
#include "x509/chain.h"

/* Who asks, and about which client. */
enum ia_admission_context {
    IA_ADMIT_DEVICE,    /* CONNECT without a token: with a certificate, or with no credential at all */
    IA_ADMIT_APP,       /* CONNECT with a token, perhaps beside a certificate */
    IA_ADMIT_REAUTH,    /* AUTH of a live app; the steps of a live session follow when it is accepted */
    IA_ADMIT_LIVE,      /* a live session, after the configuration, its device or the time has changed */
    IA_ADMIT_WILL,      /* the will of a client that has disconnected */
    IA_ADMIT_DEFERRED,  /* CONNECT of a client that is left to other plugins (other_clients defer) */
    IA_ADMIT_HANDSHAKE, /* the end of a TLS handshake, before CONNECT: is the registry to be asked for the device?  A
                         * refusal leaves the connection to CONNECT, which refuses with the reason */
    IA_ADMIT_COMMAND,   /* iot-auth-check device */
    IA_ADMISSION_CONTEXTS
};

struct ia_admission;

/* A pre-shared key that the client has proved in its handshake (RFC 4279, RFC 8446 section 4.2.11). */
struct ia_shared_key {
    const char *identity;
    const uint8_t *digest; /* of the identity: the key of the device's record (psk/identity.h) */
    const char *device_id; /* that the key's row names; NULL: there is no row any more */
    const char *why;       /* the key cannot be used any more; NULL: it can */
};

struct ia_admission_hooks {
    void *ctx;

    /* NULL if `username` may use the client id; else a static text that says why not. */
    const char *(*client_id_conflict)(void *ctx, const char *username);

    /* Is this the name of a device or an app? */
    bool (*is_protected_name)(void *ctx, const char *name);

    /* Find the record of the certificate or the pre-shared key in memory, or ask the registry, which registers the device
     * of a certificate where its CA allows that.  IA_R_NONE with a->device set, or the reason with a->detail.  Never waits. */
    enum ia_reason (*find_device)(void *ctx, struct ia_admission *a);
};

/* One question: facts in, the answer out.  Pointers are borrowed.  A zeroed struct with a context is refused. */
struct ia_admission {
    enum ia_admission_context context;
    const struct ia_snapshot *snapshot; /* NULL: the first one has not arrived */
    int64_t now;                        /* seconds since 1970 */
    bool without_ticks;                 /* Mosquitto sends no TICK, so no session could ever be ended */
    bool stale;                         /* the snapshot is older than stale_max_s */
    struct ia_ip ip;
    const char *address;   /* as text; NULL: not known */
    const char *client_id; /* NULL: none, or (iot-auth-check) not asked about */
    const char *username;  /* of a client that is left to other plugins */

    X509 *leaf;                /* CONNECT, AUTH: the certificate that device id and columns are read from */
    struct ia_cert_info *info; /* with `leaf`: where its columns are written */
    struct ia_chain *chain;    /* NULL: no certificate.  A recheck updates chain->cas */
    uint64_t chain_generation; /* of the CAs that `chain` was verified under; 0: check it again */
    int64_t ca_id;             /* iot-auth-check, which has no chain: the CA of the certificate */

    const struct ia_shared_key *psk; /* CONNECT, handshake; NULL: none */

    struct ia_presented *presented; /* CONNECT, AUTH: the token that is to be verified; NULL: none */
    struct ia_token_cache *tokens;  /* with `presented` */
    const char *unusable_token; /* CONNECT: why a password that resembles a token cannot be used as one, else NULL */
    const char *required_principal; /* AUTH: the app that the session belongs to */

    struct ia_device
        *device;            /* the record: a fact of a live session, a will and the command, and with `psk` where it is
                               * in memory; else found by the hook */
    struct ia_token *token; /* likewise; verified here, the caller owns one reference */
    const struct ia_admission_hooks *hooks; /* CONNECT and handshake */

    /* The results of the steps that were run. */
    const struct ia_ca_settings *ca; /* that the chain ends in; NULL: none */
    const char *device_id;           /* NULL: not established */
    char device_id_text[IA_VALUE_MAX + 1];
    int64_t token_expires_at; /* of `token`, under the issuer's leeway of now: first second at which it is refused */
    struct ia_token_claimed claimed;       /* by a token that was refused: not verified */
    char refresh_issuer[IA_VALUE_MAX + 1]; /* fetching the keys of this issuer may help; "" else */
    char detail[192]; /* why it was refused, for log and event; "" where the reason alone is enough */
};

/* Run the steps of a->context in order.  IA_R_NONE, or the reason of the first step that refuses. */
enum ia_reason ia_admission_decide(struct ia_admission *a);

/* Refuse with that detail: returns `reason`.  For hooks too. */
enum ia_reason ia_admission_refuse(struct ia_admission *a, enum ia_reason reason, const char *detail);

/* ---- for the tests, which compare the table with the documentation */

/* The name of step i, NULL past the last, and whether it belongs to that context. */
const char *ia_admission_step_name(size_t i);
bool ia_admission_step_applies(size_t i, enum ia_admission_context context);
const char *ia_admission_context_name(enum ia_admission_context context);
