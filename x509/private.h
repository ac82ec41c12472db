// SPDX-License-Identifier: ISC
/* Shared between the files of x509/; no other folder includes this. */
#pragma once

#include "common/ref.h"
#include "x509/chain.h"

#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Many OpenSSL calls answer 'no' when an allocation fails, and 'no' can open access (no parent found, so no parent that
 * is INACTIVE).  Code that asks OpenSSL runs between enter and leave: leave returns IA_NOMEM when any allocation failed
 * since, whatever the single calls answered, and restores OpenSSL's error queue and errno.  Scopes nest. */
struct ia_openssl_scope {
    int saved_errno;
    bool failed_before; /* the error queue ended in a failed allocation already */
};
void ia_openssl_enter(struct ia_openssl_scope *scope);
IA_MUST_USE enum ia_rc ia_openssl_leave(const struct ia_openssl_scope *scope);

/* The issuer whose key was found to have signed an object.  That never changes, so a set that is rebuilt from the same
 * parsed certificates need not verify the signature again.  Written once: state 0 empty, 1 being written, 2 set. */
struct ia_signature_memo {
    atomic_int state;
    uint8_t issuer[IA_FINGERPRINT_LEN];
};

/* A serial number as a sort key: its length, then its octets, zeros after them. */
struct ia_serial {
    uint8_t len;
    uint8_t octets[IA_SERIAL_MAX];
};

struct ia_cert {
    struct ia_ref refs;
    X509 *x509;
    struct ia_cert_info info;
    struct ia_serial serial;
    uint8_t name_key_hash[32]; /* SHA-256 over subject name and public key */
    uint32_t subject_hash;     /* of the canonical subject name */
    uint32_t issuer_hash;
    struct ia_signature_memo parent;
};

struct ia_crl {
    struct ia_ref refs;
    X509_CRL *x509;
    ASN1_INTEGER *number; /* NULL where there is none */
    int64_t this_update;
    int64_t next_update;       /* 0 where there is none */
    const char *unusable;      /* static text, or NULL */
    struct ia_serial *revoked; /* sorted */
    size_t n_revoked;
    struct ia_signature_memo issuer;
};

/* One registered CA in a set. */
struct ia_ca {
    int64_t ca_id;
    bool active;
    bool fit;     /* may sign certificates at all; validity is judged when it is used */
    bool revoked; /* listed by a registered parent */
    struct ia_cert *cert;
    struct ia_ca *next_name;   /* next of its bucket, by subject name */
    struct ia_ca *next_key_id; /* by subject name and subject key identifier */
    struct ia_ca *next_key;    /* by subject name and public key */
    struct ia_crl **crls;      /* in force: one of each scope */
    size_t n_crls;
    struct ia_ca **parents; /* registered CAs whose key signed it */
    size_t n_parents;
    enum ia_reason reason; /* why nothing below it is admitted, because of itself or a CA above it; or IA_R_NONE */
    int64_t cause_ca_id;   /* the CA that the reason is about */
    int64_t above[IA_CHAIN_MAX]; /* itself and every registered CA above it */
    uint8_t n_above;
};

struct ia_ca_set {
    struct ia_ref refs;
    struct ia_ca *cas;
    size_t n;
    size_t mask; /* buckets of each table, less one */
    struct ia_ca **by_name;
    struct ia_ca **by_key_id;
    struct ia_ca **by_key;
    X509_STORE *store; /* holds no certificate, only the callback of every verification */
};

/* cert_fields.c: fields that are also read from certificates of the network. */
bool ia_x509_name_hash(const X509_NAME *name, uint32_t *out);
bool ia_x509_name_key_hash(X509 *x509, uint8_t out[32]);
bool ia_x509_serial(const ASN1_INTEGER *number, struct ia_serial *out); /* false: none, or longer than 20 octets */
bool ia_x509_time(const ASN1_TIME *time, int64_t *out);

/* pem.c.  One kind of PEM block and the object that its DER stands for. */
struct ia_pem_kind {
    const char *label, *old_label;
    const char *noun; /* "certificate" */
    size_t max;       /* bytes of text */
    void *(*parse)(const unsigned char **der, long len);
    void (*release)(void *object);
};

struct ia_der {
    unsigned char *octets;
    long len;
};

/* Decode PEM text that holds exactly one block of this kind and only white space after it.  The caller owns *out
 * (ia_der_clear). */
IA_MUST_USE enum ia_rc ia_pem_read(const char *pem, const struct ia_pem_kind *kind, struct ia_der *out,
                                   struct ia_err *err);
void ia_der_clear(struct ia_der *der);

/* The same, and parse the DER into the object, all of it.  The caller owns *out (kind->release). */
IA_MUST_USE enum ia_rc ia_pem_parse(const char *pem, const struct ia_pem_kind *kind, void **out, struct ia_err *err);

/* ca_check.c: ia_cert_check_ca without the validity. */
IA_MUST_USE enum ia_rc ia_cert_check_ca_form(const struct ia_cert *cert, struct ia_err *err);

bool ia_signature_memo_has(struct ia_signature_memo *memo, const struct ia_cert *issuer);
void ia_signature_memo_keep(struct ia_signature_memo *memo, const struct ia_cert *issuer);

/* Did the key of `issuer` sign it?  Remembers a yes, as ia_crl_signed_by does. */
bool ia_cert_signed_by(struct ia_cert *cert, const struct ia_cert *issuer);

/* crl.c */
bool ia_crl_lists(const struct ia_crl *crl, const struct ia_serial *serial);
bool ia_crl_is_newer(const struct ia_crl *a, const struct ia_crl *b);
bool ia_crl_same_scope(const struct ia_crl *a, const struct ia_crl *b);

/* ca_set.c */
#define IA_ISSUERS_MAX 32 /* registered CAs that may come in question as issuer of one certificate */

IA_MUST_USE enum ia_rc ia_ca_set_index(struct ia_ca_set *set);

/* The registered CAs that may have issued x509 by name, key identifiers and key usage; their signature is not checked.
 * Returns how many, IA_ISSUERS_MAX + 1 for too many, and stores those that fit. */
size_t ia_ca_set_issuers(const struct ia_ca_set *set, X509 *x509, uint32_t issuer_hash,
                         struct ia_ca *out[IA_ISSUERS_MAX]);

/* The first CA with that subject and key (an active one and a disabled one may share both), and the next. */
struct ia_ca *ia_ca_set_first_same_key(const struct ia_ca_set *set, const uint8_t name_key_hash[32]);
struct ia_ca *ia_ca_next_same_key(const struct ia_ca *twin);

/* Does the key of a CA with that subject and key list the serial number, by whichever twin the CRL was registered? */
bool ia_ca_set_revokes(const struct ia_ca_set *set, const uint8_t name_key_hash[32], const struct ia_serial *serial);

/* chain.c: the store that every verification under a set uses, and how a refusal is written down. */
X509_STORE *ia_chain_store_new(void);
void ia_chain_refuse(struct ia_chain *chain, enum ia_reason reason, int x509_error, const char *detail);

/* path.c: the certificates from the leaf to the nearest registered CA. */
struct ia_path {
    X509 *certs[IA_CHAIN_MAX]; /* borrowed; leaf first, without the anchor */
    size_t n;
    const struct ia_ca *anchor; /* NULL: there is no path */
    enum ia_reason reason;      /* then: IA_R_CA_UNKNOWN or IA_R_CHAIN_INVALID, */
    const char *detail;         /* and a static text */
};
void ia_path_find(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_path *out);

/* judge.c: what the registry says of a chain whose links and ca_id are filled in; fills in cas and n_cas. */
struct ia_ca_finding {
    enum ia_reason reason;
    int x509_error;
    char detail[96];
};
struct ia_ca_finding ia_ca_status_check(const struct ia_ca_set *set, struct ia_chain *chain);
