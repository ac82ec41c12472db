// SPDX-License-Identifier: ISC
/* Shared between the files that read CRLs. */
#pragma once

#include "x509/der.h"
#include "x509/private.h"

struct ia_crl_layout {
    struct ia_der_element tbs; /* what the signature covers */
    struct ia_der_element inner_algorithm, issuer, this_update;
    struct ia_der_element next_update, entries, extensions; /* tag 0 where absent */
    struct ia_der_element algorithm, signature;
};

/* Find the parts of one CertificateList.  False: malformed. */
bool ia_crl_layout_read(struct ia_der_span der, struct ia_crl_layout *out);

struct ia_crl_entry {
    struct ia_serial serial;
    bool countable; /* the serial number is one that a certificate can have */
    bool removed;   /* removeFromCRL: no longer revoked */
    bool unknown_critical;
};

/* Take the next entry off the content of `entries`.  False: malformed. */
bool ia_crl_entry_take(struct ia_der_span *entries, struct ia_crl_entry *out);
