// SPDX-License-Identifier: ISC
/* Rows of the registry as the other folders handle them, and the words of their statuses.  No connection and no libpq:
 * whoever includes no more of sql/ than this cannot reach the database.
 *
 * `fault` of a row: why it cannot be used as it is (a text too long, an array of two dimensions, a value that the server
 * cannot return), in SQL's words or the decoder's.  What could be read is there, the rest is empty.  A row with a
 * fault closes its own scope and no other: its CA or issuer admits nobody, its role denies, its device is refused. */
#pragma once

#include "common/texts.h"
#include "x509/cert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Statuses.  A word that this program does not know reads as INACTIVE, which is 0: zeroed memory admits nobody. */
#define IA_DEVICE_STATUSES(X) X(DEVICE, INACTIVE) X(DEVICE, PENDING) X(DEVICE, ACTIVE) X(DEVICE, REVOKED)
#define IA_CERT_STATUSES(X)   X(CERT, INACTIVE) X(CERT, ACTIVE) X(CERT, REVOKED)
#define IA_CA_STATUSES(X)     X(CA, INACTIVE) X(CA, ACTIVE) X(CA, REVOKED)

#define IA_STATUS_ID(kind, word) IA_##kind##_##word,
enum ia_device_status { IA_DEVICE_STATUSES(IA_STATUS_ID) };
enum ia_cert_status { IA_CERT_STATUSES(IA_STATUS_ID) };
enum ia_ca_status { IA_CA_STATUSES(IA_STATUS_ID) };
#undef IA_STATUS_ID

/* The word of a device status: a static text, "INACTIVE" for a value out of range. */
const char *ia_device_status_name(enum ia_device_status status);

/* One certificate of a device, with its device. */
struct ia_device_row {
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    const char *device_id;
    enum ia_device_status device_status;
    enum ia_cert_status certificate_status;
    int64_t certificate_ca_id;
    int64_t device_ca_id;
    const char *tenant;    /* or NULL */
    int64_t not_after;     /* seconds since 1970, 0: not known */
    struct ia_texts attrs; /* name, value, name, value …: an even number */
    struct ia_texts roles; /* the device's own, without those of its CA */
    const char *fault;     /* or NULL */
};

/* Immutable; the texts live as long as this. */
struct ia_device_rows {
    const struct ia_device_row *rows;
    size_t n;
};

struct ia_ca_row {
    int64_t ca_id;
    const char *name;
    const char *pem;
    enum ia_ca_status status;
    bool auto_registration;
    const char *device_id_template;
    struct ia_texts client_id_templates;
    const char *tenant;  /* or NULL */
    int64_t replaces;    /* ca_id, 0: none */
    const char *problem; /* or NULL */
    struct ia_texts roles;
    const char *terms;                   /* which templates these are; NULL with a fault */
    bool has_template;                   /* of what a registration gives: */
    struct ia_texts template_attributes; /* name, template, name, template … */
    const char *template_tenant;         /* a template, or NULL */
    const char *fault;                   /* or NULL */
};

struct ia_crl_row {
    int64_t crl_id;
    int64_t ca_id;
    const char *pem;
    const char *fault; /* or NULL */
};

struct ia_issuer_row {
    const char *name;
    const char *issuer;
    struct ia_texts audience;
    struct ia_texts algorithms;
    const char *jwks;     /* JSON text, or NULL */
    const char *jwks_url; /* or NULL */
    struct ia_texts client_id_templates;
    const char *app_id_claim; /* or NULL */
    struct ia_texts token_types;
    int leeway_s;
    const char *tenant; /* or NULL */
    bool active;
    const char *problem; /* or NULL */
    const char *note;    /* or NULL: remarks on its keys that are not problems */
    struct ia_texts scope_claims;
    struct ia_texts audience_claims;
    const char *required_claims; /* JSON text */
    int max_lifetime_s;          /* 0: no limit */
    const char *fault;           /* or NULL */
};

/* Who owns a client id: both by the first 8 bytes of their SHA-256. */
struct ia_owner_key {
    int64_t client_id_key;
    int64_t principal_key;
};

struct ia_scope_row {
    const char *issuer; /* its name */
    const char *scope;
    const char *role;
    const char *fault; /* or NULL */
};
