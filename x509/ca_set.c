// SPDX-License-Identifier: ISC
#include "x509/ca_set.h"

#include "common/hash.h"
#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* Registered CAs come from the administrator: no peer can fill a bucket. */
static size_t key_id_bucket(const struct ia_ca_set *set, uint32_t subject_hash, const ASN1_OCTET_STRING *key_id)
{
    if (!key_id)
        return subject_hash & set->mask;
    uint64_t hash = ia_hash_bytes(subject_hash, ASN1_STRING_get0_data(key_id), (size_t)ASN1_STRING_length(key_id));
    return (size_t)hash & set->mask;
}

/* A digest is distributed evenly already. */
static size_t key_hash_bucket(const struct ia_ca_set *set, const uint8_t name_key_hash[32])
{
    uint64_t hash;
    memcpy(&hash, name_key_hash, sizeof hash);
    return (size_t)hash & set->mask;
}

static struct ia_ca_key *add_ca_key(struct ia_ca_set *set, struct ia_ca *ca)
{
    struct ia_ca_key *key = &set->keys[set->n_keys++];
    struct ia_ca_key **name = &set->by_name[ca->cert->subject_hash & set->mask];
    struct ia_ca_key **hash = &set->by_hash[key_hash_bucket(set, ca->cert->name_key_hash)];
    EVP_PKEY *public_key = X509_get0_pubkey(ca->cert->x509);
    *key = (struct ia_ca_key){.next_name = *name, .next_hash = *hash};
    key->cost = public_key ? ia_key_cost(public_key) : 0;
    *name = key;
    *hash = key;
    return key;
}

/* From the last row to the first, so that each list ends up in the order of the rows. */
static void index_ca(struct ia_ca_set *set, struct ia_ca *ca)
{
    struct ia_ca_key *key = ia_ca_set_find_key(set, ca->cert->name_key_hash);
    if (!key)
        key = add_ca_key(set, ca);
    ca->key = key;
    ca->next_same_key = key->first;
    key->first = ca;
    size_t bucket = key_id_bucket(set, ca->cert->subject_hash, X509_get0_subject_key_id(ca->cert->x509));
    ca->next_key_id = set->by_key_id[bucket];
    set->by_key_id[bucket] = ca;
}

enum ia_rc ia_ca_set_index(struct ia_ca_set *set)
{
    size_t buckets = 16;
    while (buckets < 2 * set->n)
        buckets *= 2;
    set->mask = buckets - 1;
    set->keys = calloc(set->n + 1, sizeof *set->keys);
    set->by_name = calloc(buckets, sizeof *set->by_name);
    set->by_hash = calloc(buckets, sizeof *set->by_hash);
    set->by_key_id = calloc(buckets, sizeof *set->by_key_id);
    if (!set->keys || !set->by_name || !set->by_hash || !set->by_key_id)
        return IA_NOMEM;
    for (size_t i = set->n; i-- > 0;)
        index_ca(set, &set->cas[i]);
    return IA_OK;
}

static struct ia_ca_key *first_key_named(struct ia_ca_key *key, uint32_t subject_hash)
{
    while (key && key->first->cert->subject_hash != subject_hash)
        key = key->next_name;
    return key;
}

struct ia_ca_key *ia_ca_set_first_named(const struct ia_ca_set *set, uint32_t subject_hash)
{
    return first_key_named(set->by_name[subject_hash & set->mask], subject_hash);
}

struct ia_ca_key *ia_ca_key_next_named(const struct ia_ca_key *key)
{
    return first_key_named(key->next_name, key->first->cert->subject_hash);
}

struct ia_ca_key *ia_ca_set_find_key(const struct ia_ca_set *set, const uint8_t name_key_hash[32])
{
    struct ia_ca_key *key = set->by_hash[key_hash_bucket(set, name_key_hash)];
    while (key && memcmp(key->first->cert->name_key_hash, name_key_hash, 32) != 0)
        key = key->next_hash;
    return key;
}

static bool same_key_id(const ASN1_OCTET_STRING *a, const ASN1_OCTET_STRING *b)
{
    return a && b ? ASN1_OCTET_STRING_cmp(a, b) == 0 : a == b;
}

static struct ia_ca *first_with_key_id(struct ia_ca *ca, uint32_t subject_hash, const ASN1_OCTET_STRING *key_id)
{
    while (ca &&
           (ca->cert->subject_hash != subject_hash || !same_key_id(X509_get0_subject_key_id(ca->cert->x509), key_id)))
        ca = ca->next_key_id;
    return ca;
}

struct ia_ca *ia_ca_set_first_key_id(const struct ia_ca_set *set, uint32_t subject_hash,
                                     const ASN1_OCTET_STRING *key_id)
{
    return first_with_key_id(set->by_key_id[key_id_bucket(set, subject_hash, key_id)], subject_hash, key_id);
}

struct ia_ca *ia_ca_next_key_id(const struct ia_ca *ca)
{
    return first_with_key_id(ca->next_key_id, ca->cert->subject_hash, X509_get0_subject_key_id(ca->cert->x509));
}

bool ia_ca_key_revokes(const struct ia_ca_key *key, const struct ia_serial *serial)
{
    for (size_t i = 0; i < key->n_lists; i++)
        if (ia_serial_list_has(key->lists[i], serial))
            return true;
    return false;
}

struct ia_ca_set *ia_ca_set_ref(struct ia_ca_set *set)
{
    ia_ref_take(&set->refs);
    return set;
}

static void clear_ca_key(struct ia_ca_key *key)
{
    for (size_t i = 0; i < key->n_lists; i++)
        ia_serial_list_free(key->lists[i]);
    free(key->lists);
}

void ia_ca_set_free(struct ia_ca_set *set)
{
    if (!set || !ia_ref_drop(&set->refs))
        return;
    for (size_t i = 0; i < set->n_keys; i++)
        clear_ca_key(&set->keys[i]);
    for (size_t i = 0; i < set->n; i++) {
        free(set->cas[i].above);
        ia_cert_free(set->cas[i].cert);
    }
    free(set->cas);
    free(set->keys);
    free(set->by_name);
    free(set->by_hash);
    free(set->by_key_id);
    X509_STORE_free(set->store);
    free(set);
}

size_t ia_ca_set_above(const struct ia_ca_set *set, int64_t ca_id, const int64_t **ids)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->cas[i].ca_id != ca_id)
            continue;
        *ids = set->cas[i].above;
        return set->cas[i].n_above;
    }
    return 0;
}
