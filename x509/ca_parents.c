// SPDX-License-Identifier: ISC
/* Who stands above whom among the registered CAs, and what follows for each. */
#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdlib.h>

#define CONTRADICTIONS_COST_MAX 1500000 /* a build: 1.5 s of the worker, 15,000 checks with P-256 */

static bool ca_signed_itself(const struct ia_ca *ca)
{
    return X509_NAME_cmp(X509_get_subject_name(ca->cert->x509), X509_get_issuer_name(ca->cert->x509)) == 0 &&
           ia_cert_signed_by(ca->cert, ca->cert);
}

/* The best hint among the certificates of the key; IA_HINTS: none of them can have issued it. */
static int hint_of_key(const struct ia_ca_key *key, const struct ia_ca *ca)
{
    int best = -1;
    for (const struct ia_ca *row = key->first; row; row = row->next_same_key) {
        if (!ia_x509_may_have_issued(row->cert->x509, ca->cert->x509))
            continue;
        int hint = (int)ia_issuer_hint(row->cert->x509, ca->cert->x509);
        if (hint > best)
            best = hint;
    }
    return best < 0 ? IA_HINTS : best;
}

/* The parent that an earlier build has found, or that the key identifier names: so the parents of ten thousand CAs are
 * found without comparing each with all others of its issuer's name. */
static struct ia_ca_key *find_likely_parent(const struct ia_ca_set *set, struct ia_ca *ca)
{
    const struct ia_cert *cert = ca->cert;
    const ASN1_OCTET_STRING *key_id = X509_get0_authority_key_id(cert->x509);
    struct ia_ca_key *known = cert->memo.found ? ia_ca_set_find_key(set, cert->memo.signer) : NULL;
    if (known && known != ca->key)
        return known;
    struct ia_ca *issuer = key_id ? ia_ca_set_first_key_id(set, cert->issuer_hash, key_id) : NULL;
    for (; issuer; issuer = ia_ca_next_key_id(issuer))
        if (issuer->key != ca->key && ia_x509_may_have_issued(issuer->cert->x509, cert->x509) &&
            ia_cert_signed_by(ca->cert, issuer->cert))
            return issuer->key;
    return NULL;
}

/* May one more key be tried whose identifiers contradict?  A thousand tenants' intermediates below roots that are not
 * registered, beside a thousand registered roots of that very name, would take the worker minutes.  The next build goes
 * on where this one ended, because what was tried is remembered. */
static bool may_try_contradiction(const struct ia_ca_build *b, const struct ia_ca *ca, const struct ia_ca_key *key)
{
    if (ia_cert_signer_is_refuted(ca->cert, key->first->cert))
        return true;
    if (*b->spent >= CONTRADICTIONS_COST_MAX)
        return false;
    *b->spent += key->cost;
    return true;
}

/* The key that signed it.  Keys whose identifiers fit are tried first; then all others of that name, because a renewed
 * CA keeps its key but not always its identifier, and authority key identifiers may name a certificate that was replaced
 * since.  A parent that is not found would be a parent whose status does not count. */
static struct ia_ca_key *find_parent(const struct ia_ca_build *b, struct ia_ca *ca)
{
    struct ia_ca_key *parent = find_likely_parent(b->set, ca);
    for (int hint = IA_HINTS - 1; !parent && hint >= 0; hint--) {
        struct ia_ca_key *key = ia_ca_set_first_named(b->set, ca->cert->issuer_hash);
        for (; key && !parent; key = ia_ca_key_next_named(key)) {
            if (key == ca->key || hint_of_key(key, ca) != hint)
                continue;
            if (hint == IA_HINT_CONTRADICTS && !may_try_contradiction(b, ca, key)) {
                ia_ca_build_report(
                    b, ca,
                    "too many registered CAs have its issuer's name: not all have been tried yet as its "
                    "parent; if its issuer is registered, re-issue this CA with the issuer's key identifier");
                return NULL;
            }
            if (ia_cert_signed_by(ca->cert, key->first->cert))
                parent = key;
        }
    }
    return parent;
}

static void find_inactive(struct ia_ca_key *key)
{
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        if (!ca->active && (!key->inactive || ca->status_revoked))
            key->inactive = ca;
}

static bool ca_is_revoked(const struct ia_ca *ca)
{
    return ca->revoked || (ca->parent && ca->parent->revoked);
}

/* A key is revoked when no certificate of it is left: a predecessor that was replaced, and revoked for that, disables
 * nothing.  Returns whether that has just become known. */
static bool key_becomes_revoked(struct ia_ca_key *key)
{
    if (key->revoked)
        return false;
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        if (!ca_is_revoked(ca))
            return false;
    key->revoked = true;
    return true;
}

/* Until nothing changes: at most once for each level of CAs. */
static void find_revoked_keys(struct ia_ca_set *set)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < set->n_keys; i++)
            changed = key_becomes_revoked(&set->keys[i]) || changed;
    }
}

/* The keys above `ca`, each once (cross-certified CAs stand above each other), nearest first, into order[]. */
static size_t collect_above(struct ia_ca_set *set, const struct ia_ca *ca, struct ia_ca_key **order)
{
    size_t n = 0, mark = (size_t)(ca - set->cas) + 1;
    if (ca->parent) {
        ca->parent->mark = mark;
        order[n++] = ca->parent;
    }
    for (size_t i = 0; i < n; i++) {
        for (const struct ia_ca *row = order[i]->first; row; row = row->next_same_key) {
            if (!row->parent || row->parent->mark == mark)
                continue;
            row->parent->mark = mark;
            order[n++] = row->parent;
        }
    }
    return n;
}

static size_t count_same_key(const struct ia_ca_key *key)
{
    size_t n = 0;
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        n++;
    return n;
}

/* The address rules of every registered CA on and above a chain count, so a chain lists them; IA_CHAIN_CAS_MAX at most. */
static enum ia_rc list_above(const struct ia_ca_build *b, struct ia_ca *ca, struct ia_ca_key *const *order, size_t n)
{
    size_t total = 1, same_key = count_same_key(ca->key) - 1;
    for (size_t i = 0; i < n; i++)
        total += count_same_key(order[i]);
    size_t room = total < IA_CHAIN_CAS_MAX ? total : IA_CHAIN_CAS_MAX;
    ca->above = calloc(room, sizeof *ca->above);
    if (!ca->above)
        return IA_NOMEM;
    ca->above[ca->n_above++] = ca->ca_id;
    for (size_t i = 0; i < n; i++)
        for (const struct ia_ca *row = order[i]->first; row && ca->n_above < room; row = row->next_same_key)
            if (row != ca)
                ca->above[ca->n_above++] = row->ca_id;
    if (total + same_key > IA_CHAIN_CAS_MAX)
        ia_ca_build_report(
            b, ca,
            "more than 64 registered CAs are above this one or have its key: the address rules of the rest "
            "do not apply to its devices; delete renewed CAs that have expired");
    return IA_OK;
}

static void set_ca_reason(struct ia_ca *ca, enum ia_reason reason, const struct ia_ca *cause)
{
    if (ca->reason != IA_R_NONE)
        return;
    ca->reason = reason;
    ca->cause = cause;
}

static const struct ia_ca *first_revoked_ca(const struct ia_ca_key *key)
{
    const struct ia_ca *ca = key->first;
    while (ca && !ca->revoked)
        ca = ca->next_same_key;
    return ca ? ca : key->first;
}

/* What disables `ca`: a CA that is not ACTIVE comes first, whichever certificate its key is in. */
static void decide_ca(struct ia_ca *ca, struct ia_ca_key *const *order, size_t n)
{
    if (ca->key->inactive)
        set_ca_reason(ca, IA_R_CA_INACTIVE, ca->key->inactive);
    for (size_t i = 0; i < n; i++)
        if (order[i]->inactive)
            set_ca_reason(ca, IA_R_CA_INACTIVE, order[i]->inactive);
    if (!ca->well_formed)
        set_ca_reason(ca, IA_R_CHAIN_INVALID, ca);
    if (ca->revoked)
        set_ca_reason(ca, IA_R_CERTIFICATE_REVOKED, ca);
    if (ca->parent && ca->parent->revoked)
        set_ca_reason(ca, IA_R_CERTIFICATE_REVOKED, first_revoked_ca(ca->parent));
}

static enum ia_rc decide_cas(const struct ia_ca_build *b)
{
    struct ia_ca_set *set = b->set;
    struct ia_ca_key **order = calloc(set->n_keys + 1, sizeof(struct ia_ca_key *));
    enum ia_rc rc = order ? IA_OK : IA_NOMEM;
    for (size_t i = 0; i < set->n && rc == IA_OK; i++) {
        size_t n = collect_above(set, &set->cas[i], order);
        rc = list_above(b, &set->cas[i], order, n);
        decide_ca(&set->cas[i], order, n);
    }
    free(order);
    return rc;
}

enum ia_rc ia_ca_build_relations(const struct ia_ca_build *b)
{
    struct ia_ca_set *set = b->set;
    for (size_t i = 0; i < set->n; i++) {
        struct ia_ca *ca = &set->cas[i];
        ca->parent = ca_signed_itself(ca) ? NULL : find_parent(b, ca);
        ca->revoked = ca->parent && ia_ca_key_revokes(ca->parent, &ca->cert->serial);
    }
    for (size_t i = 0; i < set->n_keys; i++)
        find_inactive(&set->keys[i]);
    find_revoked_keys(set);
    return decide_cas(b);
}
