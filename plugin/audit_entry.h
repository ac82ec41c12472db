// SPDX-License-Identifier: ISC
/* What log lines and events say of a connection: the same members, in one order.  Broker thread. */
#pragma once

#include "common/json_out.h"
#include "common/reason.h"
#include "jitr/ca_settings.h"
#include "oauth/refusal.h"
#include "x509/shown_certificate.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection under decision, or decided.  Texts are borrowed; NULL where not known. */
struct ia_audit_entry {
    const char *client_id;
    const char *address;
    const char *principal;           /* device id or app principal, as far as it was established */
    int64_t ca_id;                   /* the registered CA that the chain ended in, 0: none */
    const struct ia_ca_settings *ca; /* the registered CA that the chain ended in */
    bool proven; /* the client has shown that it has the certificate's key: the report concerns its device */
    const uint8_t *fingerprint; /* of the leaf */
    const char *psk_identity;   /* of a pre-shared key: its leaf is none, and its fingerprint the digest of this */
    bool app;
    const struct ia_token_claimed *claimed;   /* by a refused token: not verified; NULL or empty: nothing */
    const struct ia_shown_certificate *shown; /* of whose certificate, likewise; NULL: see `leaf` */
    X509 *leaf;                               /* the certificate, read where a refusal is reported; NULL: none */
    char detail[192];                         /* why, for people */
};

/* Users match on the names of an event and of a log line alike, and they differ for these two. */
struct ia_entry_names {
    const char *device, *client;
};

/* Beside the entry itself. */
struct ia_entry_context {
    const struct ia_entry_names *names;
    const char *node;
    enum ia_reason reason; /* IA_R_NONE: accepted */
    int64_t at_us;
    size_t max; /* bytes of a value that is not of a fixed length; 0: all of them */
};

/* The members that log line and event share. */
void ia_audit_entry_describe(struct ia_json_out *j, const struct ia_audit_entry *a, const struct ia_entry_context *ctx);

/* What a refused token or certificate says of itself. */
void ia_audit_entry_describe_claims(struct ia_json_out *j, const struct ia_audit_entry *a, size_t max);

/* The same for a log line, with a blank in front of each ` name="value"`; "" for none. */
#define IA_ENTRY_CLAIMS_MAX 1700
const char *ia_audit_entry_claims_text(const struct ia_audit_entry *a, char out[IA_ENTRY_CLAIMS_MAX]);

/* What clients send may hold anything: in a log line it must not pass for another line, or another member of this one.
 * Copies what fits, with a '?' for each blank or lesser character up to `last_bad`, each quote, each byte that is not
 * UTF-8, and each character that misleads the reader. */
const char *ia_harmless_text(const char *text, unsigned char last_bad, char *out, size_t size);
