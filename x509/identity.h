// SPDX-License-Identifier: ISC
/* What a certificate says of its holder: the variables of device id templates. */
#pragma once

#include "common/str.h"

#include <openssl/x509.h>
#include <stdbool.h>

enum ia_identity_field {
    IA_ID_CN,
    IA_ID_SERIAL,
    IA_ID_FINGERPRINT,
    IA_ID_SUBJECT_O,
    IA_ID_SUBJECT_OU,
    IA_ID_SUBJECT_SERIAL_NUMBER,
    IA_ID_SAN_DNS,
    IA_ID_SAN_URI,
    IA_ID_FIELDS
};

/* Each field is a valid value (ia_value_valid), or empty with why[] a static text (absent, more than one, NUL inside
 * …). */
struct ia_identity {
    char value[IA_ID_FIELDS][IA_VALUE_MAX + 1];
    const char *why[IA_ID_FIELDS];
};

/* Read all fields; cannot fail: what is not fit to be used counts as unset.  Leaves OpenSSL's error queue as it was. */
void ia_identity_read(X509 *leaf, struct ia_identity *out);

/* The value of `cert.cn`, `cert.serial`, `cert.fingerprint`, `cert.subject.O`, `cert.subject.OU`,
 * `cert.subject.serialNumber`, `cert.san.dns`, `cert.san.uri`, or NULL with *why. */
const char *ia_identity_get(const struct ia_identity *id, const char *variable, const char **why);

/* Is it one of those names? */
bool ia_identity_knows(const char *variable);
