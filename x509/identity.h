// SPDX-License-Identifier: ISC
/* What a certificate says about its holder: the variables of device id templates.
 *
 *   variable  = name [ "|" splitter ]
 *   name      = "cert.cn" | "cert.serial" | "cert.fingerprint" | "cert.subject" | "cert.subject.O" | "cert.subject.OU" |
 *               "cert.subject.serialNumber" | "cert.subject.UID" | "cert.san.dns" | "cert.san.uri" | "cert.san.email" |
 *               "cert.san.ip" | "cert.san.hwserial" | "cert.san.othername." OID
 *   splitter  = "field:" separator "," n | "prefix:" text | "path:" n
 *
 * The separator is all up to the last comma; n is 1 to 999.  sql/migrations check templates by the same grammar. */
#pragma once

#include "common/str.h"

#include <openssl/x509.h>
#include <stdbool.h>

/* A leaf whose variables are asked for, and room for the value of the last one. */
struct ia_identity {
    X509 *leaf; /* borrowed */
    char value[IA_VALUE_MAX + 1];
};

/* Ask about this leaf, as long as it lives. */
void ia_identity_read(X509 *leaf, struct ia_identity *out);

/* The value of a variable, valid until the next call with this identity; or NULL, and *why is a static text.  What comes
 * out, after the splitter, is a valid value (ia_value_valid).  Unset: a variable without a value or with more than one,
 * a text that two readers could read differently, and an unknown variable.  Leaves OpenSSL's error queue as it was. */
const char *ia_identity_get(struct ia_identity *id, const char *variable, const char **why);

/* Is it a variable of this grammar? */
bool ia_identity_knows(const char *variable);

/* The names that need no argument, for a listing: the n-th, or NULL. */
const char *ia_identity_name(size_t n);
