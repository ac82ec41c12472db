// SPDX-License-Identifier: ISC
#include "x509/crl.h"

#include "common/hash.h"
#include "x509/crl_private.h"
#include "x509/validity.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

static enum ia_rc read_crl_der(const char *pem, struct ia_der *out, struct ia_err *err)
{
    static const struct ia_pem_kind kind = {.label = "X509 CRL", .old_label = "CRL", .max = IA_CRL_PEM_MAX};
    return ia_pem_read(pem, &kind, out, err);
}

static bool read_crl_layout(const struct ia_der *der, struct ia_crl_layout *out)
{
    return ia_crl_layout_read((struct ia_der_span){der->octets, (size_t)der->len}, out);
}

static bool read_crl_time(const struct ia_der_element *element, int64_t *out)
{
    const unsigned char *at = element->whole.at;
    ASN1_TIME *time = d2i_ASN1_TIME(NULL, &at, (long)element->whole.len);
    bool ok = ia_x509_time(time, out);
    ASN1_TIME_free(time);
    return ok;
}

/* Which certificates the list covers (RFC 5280 5.2.5).  A list that covers only some certificates or reasons still names
 * revoked ones; a list about other issuers' certificates, or attribute certificates, would be read wrongly. */
static void read_crl_scope(struct ia_crl *crl, const X509_EXTENSIONS *extensions)
{
    int critical = -1;
    ISSUING_DIST_POINT *scope = X509V3_get_d2i(extensions, NID_issuing_distribution_point, &critical, NULL);
    int at = X509v3_get_ext_by_NID(extensions, NID_issuing_distribution_point, -1);
    if (!scope) {
        if (critical != -1)
            crl->unusable = "the issuing distribution point is malformed, or there are two";
        return;
    }
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509v3_get_ext(extensions, at));
    if (scope->indirectCRL > 0)
        crl->unusable = "an indirect CRL: it lists certificates of other issuers";
    else if (scope->onlyattr > 0)
        crl->unusable = "it lists attribute certificates only";
    crl->partial = scope->distpoint || scope->onlyuser > 0 || scope->onlyCA > 0 || scope->onlysomereasons;
    if (crl->partial && EVP_Digest(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value), crl->scope, NULL,
                                   EVP_sha256(), NULL) != 1)
        crl->unusable = "the issuing distribution point cannot be hashed";
    ISSUING_DIST_POINT_free(scope);
}

static const char *crl_extension_problem(const X509_EXTENSIONS *extensions)
{
    for (int i = 0; i < X509v3_get_ext_count(extensions); i++) {
        X509_EXTENSION *extension = X509v3_get_ext(extensions, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_delta_crl)
            return "a delta CRL: only complete ones are used";
        bool known =
            nid == NID_issuing_distribution_point || nid == NID_crl_number || nid == NID_authority_key_identifier;
        if (!known && X509_EXTENSION_get_critical(extension))
            return "unknown critical extension";
    }
    return NULL;
}

static enum ia_rc read_crl_extensions(struct ia_crl *crl, const struct ia_der_element *element, struct ia_err *err)
{
    if (element->tag == 0)
        return IA_OK;
    const unsigned char *at = element->whole.at;
    int critical = -1;
    X509_EXTENSIONS *extensions = d2i_X509_EXTENSIONS(NULL, &at, (long)element->whole.len);
    if (!extensions)
        return ia_fail(err, IA_FORMAT, "the extensions are malformed");
    crl->number = X509V3_get_d2i(extensions, NID_crl_number, &critical, NULL);
    bool malformed = !crl->number && critical != -1;
    crl->unusable = crl_extension_problem(extensions);
    if (!crl->unusable)
        read_crl_scope(crl, extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return malformed ? ia_fail(err, IA_FORMAT, "the CRL number is malformed") : IA_OK;
}

/* Check every entry and count those that will be kept. */
static enum ia_rc scan_crl_entries(struct ia_crl *crl, struct ia_der_span entries, struct ia_err *err)
{
    struct ia_crl_entry entry;
    while (entries.len > 0) {
        if (!ia_crl_entry_take(&entries, &entry))
            return ia_fail(err, IA_FORMAT, "an entry is malformed");
        if (entry.unknown_critical)
            crl->unusable = "an entry has an unknown critical extension";
        if (entry.removed || !entry.countable)
            continue;
        crl->n_entries++;
        if (entry.serial.len > crl->width)
            crl->width = entry.serial.len;
    }
    return IA_OK;
}

static enum ia_rc read_crl(struct ia_crl *crl, const struct ia_der *der, struct ia_err *err)
{
    struct ia_crl_layout layout;
    if (!read_crl_layout(der, &layout))
        return ia_fail(err, IA_FORMAT, "not a CRL");
    crl->has_next_update = layout.next_update.tag != 0;
    if (!read_crl_time(&layout.this_update, &crl->this_update) ||
        (crl->has_next_update && !read_crl_time(&layout.next_update, &crl->next_update)))
        return ia_fail(err, IA_FORMAT, "thisUpdate or nextUpdate is malformed");
    enum ia_rc rc = read_crl_extensions(crl, &layout.extensions, err);
    return rc == IA_OK ? scan_crl_entries(crl, layout.entries.content, err) : rc;
}

static enum ia_rc parse_crl_text(const char *pem, struct ia_crl *crl, struct ia_err *err)
{
    struct ia_der der = {0};
    enum ia_rc rc = read_crl_der(pem, &der, err);
    if (rc != IA_OK)
        return rc;
    crl->text_len = strlen(pem);
    crl->text_hash = ia_hash_bytes(0, pem, crl->text_len);
    rc = read_crl(crl, &der, err);
    ia_der_clear(&der);
    return rc;
}

enum ia_rc ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err)
{
    struct ia_openssl_scope scope;
    struct ia_crl *crl = calloc(1, sizeof *crl);
    if (!crl)
        return ia_nomem(err);
    ia_openssl_enter(&scope);
    enum ia_rc rc = parse_crl_text(pem, crl, err);
    if (ia_openssl_leave(&scope) != IA_OK)
        rc = ia_nomem(err);
    if (rc != IA_OK) {
        ia_crl_free(crl);
        return rc;
    }
    *out = crl;
    return IA_OK;
}

void ia_crl_free(struct ia_crl *crl)
{
    if (!crl)
        return;
    ASN1_INTEGER_free(crl->number);
    ia_serial_list_free(crl->entries);
    free(crl);
}

bool ia_crl_is_from(const struct ia_crl *crl, const char *pem)
{
    size_t len = strlen(pem);
    return len == crl->text_len && ia_hash_bytes(0, pem, len) == crl->text_hash;
}

size_t ia_crl_entries_size(const struct ia_crl *crl)
{
    return crl->entries ? ia_serial_list_size(crl->entries) : 0;
}

static bool crl_names_issuer(const struct ia_crl_layout *layout, X509 *issuer)
{
    const unsigned char *at = layout->issuer.whole.at;
    X509_NAME *name = d2i_X509_NAME(NULL, &at, (long)layout->issuer.whole.len);
    bool same = name && X509_NAME_cmp(name, X509_get_subject_name(issuer)) == 0;
    X509_NAME_free(name);
    return same;
}

/* The algorithm stands in the signed part as well, and must be the same there (RFC 5280 5.1.1.2). */
static bool same_crl_algorithm(const struct ia_crl_layout *layout)
{
    const struct ia_der_span *a = &layout->inner_algorithm.whole, *b = &layout->algorithm.whole;
    return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

/* ASN1_item_verify takes the signed part as it stands: as a value of type ANY it is encoded to its very octets. */
static bool verify_crl_octets(const struct ia_crl_layout *layout, EVP_PKEY *key)
{
    const unsigned char *algorithm_at = layout->algorithm.whole.at, *signature_at = layout->signature.whole.at;
    const unsigned char *tbs_at = layout->tbs.whole.at;
    X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &algorithm_at, (long)layout->algorithm.whole.len);
    ASN1_BIT_STRING *signature = d2i_ASN1_BIT_STRING(NULL, &signature_at, (long)layout->signature.whole.len);
    ASN1_TYPE *tbs = d2i_ASN1_TYPE(NULL, &tbs_at, (long)layout->tbs.whole.len);
    bool ok = algorithm && signature && tbs &&
              ASN1_item_verify(ASN1_ITEM_rptr(ASN1_ANY), algorithm, signature, tbs, key) == 1;
    X509_ALGOR_free(algorithm);
    ASN1_BIT_STRING_free(signature);
    ASN1_TYPE_free(tbs);
    return ok;
}

static bool verify_crl_text(const char *pem, X509 *issuer)
{
    struct ia_der der = {0};
    struct ia_crl_layout layout;
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    if (!key || read_crl_der(pem, &der, NULL) != IA_OK)
        return false;
    bool ok = read_crl_layout(&der, &layout) && crl_names_issuer(&layout, issuer) && same_crl_algorithm(&layout) &&
              verify_crl_octets(&layout, key);
    ia_der_clear(&der);
    return ok;
}

static bool crl_signed_by_key(const struct ia_crl_spec *spec, X509 *issuer, const uint8_t name_key_hash[32])
{
    struct ia_openssl_scope scope;
    struct ia_crl *crl = spec->crl;
    if (crl->verified && memcmp(crl->issuer_key, name_key_hash, sizeof crl->issuer_key) == 0)
        return true;
    ia_openssl_enter(&scope);
    bool is_signed = verify_crl_text(spec->pem, issuer);
    if (ia_openssl_leave(&scope) != IA_OK || !is_signed)
        return false;
    crl->verified = true;
    memcpy(crl->issuer_key, name_key_hash, sizeof crl->issuer_key);
    return true;
}

bool ia_crl_signed_by(const struct ia_crl_spec *spec, const struct ia_cert *issuer)
{
    return crl_signed_by_key(spec, issuer->x509, issuer->name_key_hash);
}

bool ia_crl_signed_by_x509(const struct ia_crl_spec *spec, X509 *issuer)
{
    uint8_t hash[32];
    return ia_x509_name_key_hash(issuer, hash) && crl_signed_by_key(spec, issuer, hash);
}

static enum ia_rc load_entries_from(struct ia_crl *crl, struct ia_der_span entries)
{
    struct ia_crl_entry entry;
    struct ia_serial_list *list = ia_serial_list_new(crl->n_entries, crl->width);
    if (!list)
        return IA_NOMEM;
    for (size_t n = 0; n < crl->n_entries && ia_crl_entry_take(&entries, &entry);) {
        if (entry.removed || !entry.countable)
            continue;
        ia_serial_list_add(list, &entry.serial);
        n++;
    }
    ia_serial_list_sort(list);
    crl->entries = list;
    return IA_OK;
}

enum ia_rc ia_crl_load_entries(const struct ia_crl_spec *spec)
{
    struct ia_der der = {0};
    struct ia_crl_layout layout;
    if (spec->crl->entries)
        return IA_OK;
    enum ia_rc rc = read_crl_der(spec->pem, &der, NULL);
    if (rc == IA_OK && read_crl_layout(&der, &layout))
        rc = load_entries_from(spec->crl, layout.entries.content);
    ia_der_clear(&der);
    return rc == IA_OK ? IA_OK : IA_NOMEM; /* the text parsed before: only memory can be missing now */
}

void ia_crl_drop_entries(struct ia_crl *crl)
{
    ia_serial_list_free(crl->entries);
    crl->entries = NULL;
}

bool ia_crl_same_text(const struct ia_crl *a, const struct ia_crl *b)
{
    return a->text_len == b->text_len && a->text_hash == b->text_hash;
}

int ia_crl_compare_age(const struct ia_crl *a, const struct ia_crl *b)
{
    if (a->this_update != b->this_update)
        return a->this_update > b->this_update ? 1 : -1;
    return a->number && b->number ? ASN1_INTEGER_cmp(a->number, b->number) : 0;
}

bool ia_crl_same_scope(const struct ia_crl *a, const struct ia_crl *b)
{
    return a->partial == b->partial && memcmp(a->scope, b->scope, sizeof a->scope) == 0;
}

bool ia_crl_is_past_update(const struct ia_crl *crl, int64_t now)
{
    return crl->has_next_update && ia_x509_expired(crl->next_update, now);
}
