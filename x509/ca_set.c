// SPDX-License-Identifier: ISC
#include "x509/ca_set.h"

#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a over a key identifier, from the name's hash on.  Registered CAs come from the administrator: nobody else can
 * fill a bucket. */
static uint32_t key_id_hash(uint32_t name_hash, const ASN1_OCTET_STRING *key_id)
{
    uint32_t hash = name_hash ^ 2166136261u;
    const uint8_t *octets = key_id ? ASN1_STRING_get0_data(key_id) : NULL;
    for (int i = 0; octets && i < ASN1_STRING_length(key_id); i++)
        hash = (hash ^ octets[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static uint32_t digest_hash(const uint8_t digest[32])
{
    uint32_t hash;
    memcpy(&hash, digest, sizeof hash);
    return hash;
}

static void insert(struct ia_ca_set *set, struct ia_ca *ca)
{
    const ASN1_OCTET_STRING *key_id = X509_get0_subject_key_id(ca->cert->x509);
    struct ia_ca **name = &set->by_name[ca->cert->subject_hash & set->mask];
    struct ia_ca **id = &set->by_key_id[key_id_hash(ca->cert->subject_hash, key_id) & set->mask];
    struct ia_ca **key = &set->by_key[digest_hash(ca->cert->name_key_hash) & set->mask];
    ca->next_name = *name;
    *name = ca;
    ca->next_key_id = *id;
    *id = ca;
    ca->next_key = *key;
    *key = ca;
}

enum ia_rc ia_ca_set_index(struct ia_ca_set *set)
{
    size_t buckets = 16;
    while (buckets < 2 * set->n)
        buckets *= 2;
    set->mask = buckets - 1;
    set->by_name = calloc(buckets, sizeof *set->by_name);
    set->by_key_id = calloc(buckets, sizeof *set->by_key_id);
    set->by_key = calloc(buckets, sizeof *set->by_key);
    if (!set->by_name || !set->by_key_id || !set->by_key)
        return IA_NOMEM;
    for (size_t i = set->n; i-- > 0;) /* each bucket keeps the order of the rows */
        insert(set, &set->cas[i]);
    return IA_OK;
}

/* What X509_check_issued compares, but for the signature: names, key identifiers, key usage. */
static size_t take_issuer(struct ia_ca *ca, X509 *x509, uint32_t issuer_hash, struct ia_ca *out[IA_ISSUERS_MAX],
                          size_t n)
{
    if (ca->cert->subject_hash != issuer_hash || X509_check_issued(ca->cert->x509, x509) != X509_V_OK)
        return n;
    if (n < IA_ISSUERS_MAX)
        out[n] = ca;
    return n + 1;
}

static size_t issuers_by_name(const struct ia_ca_set *set, X509 *x509, uint32_t hash, struct ia_ca *out[IA_ISSUERS_MAX])
{
    size_t n = 0;
    for (struct ia_ca *ca = set->by_name[hash & set->mask]; ca && n <= IA_ISSUERS_MAX; ca = ca->next_name)
        n = take_issuer(ca, x509, hash, out, n);
    return n;
}

static size_t issuers_by_key_id(const struct ia_ca_set *set, X509 *x509, uint32_t hash, const ASN1_OCTET_STRING *key_id,
                                struct ia_ca *out[IA_ISSUERS_MAX], size_t n)
{
    struct ia_ca *ca = set->by_key_id[key_id_hash(hash, key_id) & set->mask];
    for (; ca && n <= IA_ISSUERS_MAX; ca = ca->next_key_id) {
        const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(ca->cert->x509);
        bool same = key_id ? own && ASN1_OCTET_STRING_cmp(own, key_id) == 0 : !own;
        if (same)
            n = take_issuer(ca, x509, hash, out, n);
    }
    return n;
}

/* A thousand tenants may all have called theirs 'Root CA': the key identifier finds the right one without a look at the
 * others.  CAs that have none are asked as well. */
size_t ia_ca_set_issuers(const struct ia_ca_set *set, X509 *x509, uint32_t issuer_hash,
                         struct ia_ca *out[IA_ISSUERS_MAX])
{
    const ASN1_OCTET_STRING *key_id = X509_get0_authority_key_id(x509);
    if (!key_id)
        return issuers_by_name(set, x509, issuer_hash, out);
    size_t n = issuers_by_key_id(set, x509, issuer_hash, key_id, out, 0);
    return issuers_by_key_id(set, x509, issuer_hash, NULL, out, n);
}

static struct ia_ca *same_key_from(struct ia_ca *ca, const uint8_t name_key_hash[32])
{
    while (ca && memcmp(ca->cert->name_key_hash, name_key_hash, 32) != 0)
        ca = ca->next_key;
    return ca;
}

struct ia_ca *ia_ca_set_first_same_key(const struct ia_ca_set *set, const uint8_t name_key_hash[32])
{
    return same_key_from(set->by_key[digest_hash(name_key_hash) & set->mask], name_key_hash);
}

struct ia_ca *ia_ca_next_same_key(const struct ia_ca *twin)
{
    return same_key_from(twin->next_key, twin->cert->name_key_hash);
}

static bool revokes(const struct ia_ca *ca, const struct ia_serial *serial)
{
    for (size_t i = 0; i < ca->n_crls; i++)
        if (ia_crl_lists(ca->crls[i], serial))
            return true;
    return false;
}

bool ia_ca_set_revokes(const struct ia_ca_set *set, const uint8_t name_key_hash[32], const struct ia_serial *serial)
{
    for (struct ia_ca *ca = ia_ca_set_first_same_key(set, name_key_hash); ca; ca = ia_ca_next_same_key(ca))
        if (revokes(ca, serial))
            return true;
    return false;
}

struct ia_ca_set *ia_ca_set_ref(struct ia_ca_set *set)
{
    ia_ref_take(&set->refs);
    return set;
}

static void clear(struct ia_ca *ca)
{
    for (size_t i = 0; i < ca->n_crls; i++)
        ia_crl_free(ca->crls[i]);
    free(ca->crls);
    free(ca->parents);
    ia_cert_free(ca->cert);
}

void ia_ca_set_free(struct ia_ca_set *set)
{
    if (!set || !ia_ref_drop(&set->refs))
        return;
    for (size_t i = 0; i < set->n; i++)
        clear(&set->cas[i]);
    free(set->cas);
    free(set->by_name);
    free(set->by_key_id);
    free(set->by_key);
    X509_STORE_free(set->store);
    free(set);
}
