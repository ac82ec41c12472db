// SPDX-License-Identifier: ISC
/* Shared between the files of x509/; no other folder includes this. */
#pragma once

#include "common/ref.h"
#include "x509/chain.h"
#include "x509/serial_list.h"

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

/* What is known about who signed a registered certificate, kept with the parsed certificate so that a set which is
 * rebuilt from the same certificates verifies no signature again.  Keys are identified by name_key_hash.  For the thread
 * that builds sets. */
struct ia_signer_memo {
    bool found;
    uint8_t signer[32];
    uint64_t *refuted; /* the first 8 octets of each key that did not sign it, sorted */
    size_t n_refuted;
};

struct ia_cert {
    struct ia_ref refs;
    X509 *x509;
    struct ia_cert_info info;
    struct ia_serial serial;
    uint8_t name_key_hash[32]; /* SHA-256 over subject name and public key */
    uint32_t subject_hash;     /* of the canonical subject name */
    uint32_t issuer_hash;
    struct ia_signer_memo memo;
};

struct ia_crl {
    uint64_t text_hash; /* of the PEM text */
    size_t text_len;
    ASN1_INTEGER *number; /* NULL where there is none */
    int64_t this_update, next_update;
    bool has_next_update;
    bool partial;         /* covers a distribution point, some certificates or some reasons only; then: */
    uint8_t scope[32];    /* SHA-256 of the issuing distribution point */
    const char *unusable; /* static text, or NULL */
    size_t n_entries;     /* that count as revoked */
    uint8_t width;        /* of the longest serial number */
    bool verified;        /* signed by the CA with this name and key: */
    uint8_t issuer_key[32];
    struct ia_serial_list *entries; /* while it is in force */
};

/* One registered CA in a set: a row of iot_auth.ca. */
struct ia_ca {
    int64_t ca_id;
    bool active;         /* status ACTIVE */
    bool status_revoked; /* status REVOKED */
    bool well_formed;    /* may be a CA at all; validity is compared when it is used */
    bool revoked;        /* listed by its parent */
    struct ia_cert *cert;
    struct ia_ca_key *key;
    struct ia_ca_key *parent;    /* the registered key that signed it, or NULL */
    struct ia_ca *next_same_key; /* in the order of the rows */
    struct ia_ca *next_key_id;   /* of its bucket, by subject name and subject key identifier */
    enum ia_reason reason;     /* why nothing below it is admitted, because of itself or a CA above it; or IA_R_NONE */
    const struct ia_ca *cause; /* the CA that the reason is about */
    int64_t *above;            /* itself and every registered CA above it, nearest first */
    size_t n_above;
};

/* A subject name and public key.  To the path search, to CRLs and to statuses all certificates of one key are one CA,
 * however often it was renewed or cross-certified. */
struct ia_ca_key {
    struct ia_ca *first;
    struct ia_ca_key *next_name;   /* of its bucket, by subject name */
    struct ia_ca_key *next_hash;   /* by name_key_hash */
    unsigned cost;                 /* of a signature verification, see ia_key_cost */
    const struct ia_ca *inactive;  /* a CA of this key that is not ACTIVE, or NULL */
    bool revoked;                  /* none of its certificates is free of revocation */
    struct ia_serial_list **lists; /* the CRLs in force */
    size_t n_lists;
    size_t mark; /* for traversals while the set is built */
};

struct ia_ca_set {
    struct ia_ref refs;
    struct ia_ca *cas;
    size_t n;
    struct ia_ca_key *keys;
    size_t n_keys;
    size_t mask; /* buckets of each table, less one */
    struct ia_ca_key **by_name;
    struct ia_ca_key **by_hash;
    struct ia_ca **by_key_id;
    X509_STORE *store; /* holds no certificate, only the callbacks of every verification */
};

/* cert_fields.c: fields that are also read from certificates of the network. */
bool ia_x509_name_hash(const X509_NAME *name, uint32_t *out);
bool ia_x509_name_key_hash(X509 *x509, uint8_t out[32]);
bool ia_x509_serial(const ASN1_INTEGER *number, struct ia_serial *out); /* false: none, or longer than 20 octets */
/* False unless written as RFC 5280 4.1.2.5 says: with seconds, in UTC. */
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

/* Is `ca_or_intermediate` limited to other purposes by its extended key usage?  anyExtendedKeyUsage is not a limit
 * (RFC 5280 4.2.1.12). */
bool ia_x509_may_issue_clients(X509 *ca_or_intermediate);

/* key_cost.c.  The unit is about a microsecond: P-256 is 100. */
#define IA_KEY_COST_P256 100
unsigned ia_key_cost(const EVP_PKEY *key);

/* "ML-DSA-44", "ML-DSA-65" or "ML-DSA-87" (RFC 9881) where that is the algorithm of the certificate's key, else NULL.  By the object
 * identifier alone: also where OpenSSL cannot read such a key (before 3.5). */
const char *ia_ml_dsa_name(const X509 *x509);

/* Why the key is not used at all: too slow to verify with, or its curve not a named one.  NULL: it is. */
const char *ia_key_problem(const EVP_PKEY *key);

/* Why a device cannot use the key: as above, or TLS does not negotiate its type.  NULL: it can. */
const char *ia_leaf_key_problem(const EVP_PKEY *key);

/* Did the key of `issuer` sign the registered certificate?  Remembers the answer (ia_signer_memo). */
bool ia_cert_signed_by(struct ia_cert *cert, const struct ia_cert *issuer);

/* Is it remembered that it did not? */
bool ia_cert_signer_is_refuted(const struct ia_cert *cert, const struct ia_cert *issuer);

/* crl.c */
IA_MUST_USE enum ia_rc ia_crl_load_entries(const struct ia_crl_spec *spec); /* into crl->entries */
void ia_crl_drop_entries(struct ia_crl *crl);
bool ia_crl_signed_by_x509(const struct ia_crl_spec *spec, X509 *issuer);
bool ia_crl_same_text(const struct ia_crl *a, const struct ia_crl *b);
bool ia_crl_same_scope(const struct ia_crl *a, const struct ia_crl *b);
bool ia_crl_is_past_update(const struct ia_crl *crl, int64_t now);
/* Above 0: a is newer, by thisUpdate, then by number where both have one. */
int ia_crl_compare_age(const struct ia_crl *a, const struct ia_crl *b);

/* ca_set.c */
IA_MUST_USE enum ia_rc ia_ca_set_index(struct ia_ca_set *set);

/* The keys of that subject name hash (names of equal hash may differ): the first, and the next. */
struct ia_ca_key *ia_ca_set_first_named(const struct ia_ca_set *set, uint32_t subject_hash);
struct ia_ca_key *ia_ca_key_next_named(const struct ia_ca_key *key);

/* The key with that name_key_hash, or NULL. */
struct ia_ca_key *ia_ca_set_find_key(const struct ia_ca_set *set, const uint8_t name_key_hash[32]);

/* The first CA of that subject name hash and subject key identifier, and the next. */
struct ia_ca *ia_ca_set_first_key_id(const struct ia_ca_set *set, uint32_t subject_hash,
                                     const ASN1_OCTET_STRING *key_id);
struct ia_ca *ia_ca_next_key_id(const struct ia_ca *ca);

/* Do the CRLs in force of this key list the serial number? */
bool ia_ca_key_revokes(const struct ia_ca_key *key, const struct ia_serial *serial);

/* A set while it is built. */
struct ia_ca_build {
    struct ia_ca_set *set;
    const struct ia_ca_set_input *in;
    uint64_t *spent; /* cost of the parents that were tried although their identifiers contradict */
};
static inline void ia_ca_build_report(const struct ia_ca_build *b, const struct ia_ca *ca, const char *text)
{
    ia_problem_report(b->in->problems, ca->ca_id, text);
}

/* ca_crl.c: verify the CRLs of one key, choose those in force and keep their serial numbers. */
IA_MUST_USE enum ia_rc ia_ca_build_crls(const struct ia_ca_build *b, struct ia_ca_key *key);

/* ca_parents.c: parents, revocation by parents, and for each CA the finding over itself and all above it. */
IA_MUST_USE enum ia_rc ia_ca_build_relations(const struct ia_ca_build *b);

/* issuer_hint.c.  How well do the key identifiers of x509 and of a possible issuer fit?  They help to find the issuer,
 * the signature decides (RFC 5280 4.2.1.1, 4.2.1.2). */
enum ia_hint { IA_HINT_CONTRADICTS, IA_HINT_NONE, IA_HINT_FITS };
#define IA_HINTS 3
enum ia_hint ia_issuer_hint(const X509 *issuer, const X509 *x509);

/* May this certificate have issued x509, by names and key usage? */
bool ia_x509_may_have_issued(X509 *issuer, const X509 *x509);

/* chain.c: the store that every verification under a set uses, and how a refusal is written down. */
X509_STORE *ia_chain_store_new(void);
void ia_chain_refuse(struct ia_chain *chain, enum ia_reason reason, int x509_error, const char *detail);

/* path.c: the certificates from the leaf to the nearest registered CA, each signature verified. */
struct ia_path {
    X509 *certs[IA_CHAIN_MAX]; /* borrowed; leaf first, without the anchor */
    size_t n;
    const struct ia_ca *anchor; /* NULL: there is no path, and: */
    enum ia_reason reason;
    int x509_error;
    const char *detail; /* a static text */
};
/* May this registered CA be the anchor of a path now? */
bool ia_ca_is_usable(const struct ia_ca *ca, int64_t now);

void ia_path_find(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_path *out);

/* path_limits.c: what would make OpenSSL's own checks slow, or NULL. */
const char *ia_path_limit_problem(const struct ia_path *path);

/* ca_status.c: what the registry says of a chain whose links and ca_id are filled in; fills in cas and n_cas. */
struct ia_ca_finding {
    enum ia_reason reason;
    int x509_error;
    char detail[96];
};
struct ia_ca_finding ia_ca_status_check(const struct ia_ca_set *set, struct ia_chain *chain);
