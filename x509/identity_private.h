// SPDX-License-Identifier: ISC
/* Shared between identity.c (grammar), identity_fields.c (certificate) and identity_split.c (splitters). */
#pragma once

#include "x509/identity.h"

#include <stddef.h>

#define IA_RAW_MAX 512 /* bytes of one value before a splitter takes its part */
#define IA_OID_MAX 100

enum ia_splitter { IA_SPLIT_NONE, IA_SPLIT_FIELD, IA_SPLIT_PREFIX, IA_SPLIT_PATH };

struct ia_identity_query {
    unsigned field;           /* index into the table of names in identity.c */
    char oid[IA_OID_MAX + 1]; /* of cert.san.othername */
    enum ia_splitter splitter;
    const char *text; /* separator or prefix: text[0..len), not terminated */
    size_t len;
    unsigned n;
};

/* One value as the certificate has it, in UTF-8, without NUL inside; `why` is set while there is none. */
struct ia_raw_value {
    char text[IA_RAW_MAX + 1];
    size_t len;
    const char *why;
};

/* Collects the values of one variable: with a prefix those that have it, else all. */
struct ia_identity_collector {
    const struct ia_identity_query *query;
    unsigned n; /* values so far */
    struct ia_raw_value value;
};

/* Add a value, decoded or refused. */
void ia_collect_value(struct ia_identity_collector *c, const struct ia_raw_value *value);

/* What the splitter takes out of value->text, in place; or value->why. */
void ia_split_value(const struct ia_identity_query *query, struct ia_raw_value *value);

/* identity_fields.c: one function a variable. */
typedef void ia_identity_field(X509 *leaf, struct ia_identity_collector *c);
ia_identity_field ia_field_cn, ia_field_o, ia_field_ou, ia_field_serial_number, ia_field_uid, ia_field_subject,
    ia_field_serial, ia_field_fingerprint, ia_field_dns, ia_field_uri, ia_field_email, ia_field_ip, ia_field_hwserial,
    ia_field_othername;
