// SPDX-License-Identifier: ISC
/* Building a set: what can be known of a CA before any device connects is worked out here, once, by the worker.
 *
 * In this order: the CAs and whether each may be one; keys and indexes; the CRLs in force of each key (ca_crl.c); the
 * registered parent of each CA, found by signature, who is revoked by a parent, and for each CA the finding over itself
 * and all registered CAs above it (ca_parents.c), so that a connection only looks it up. */
#include "x509/ca_set.h"

#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdlib.h>

static void take_ca(const struct ia_ca_build *b, struct ia_ca *ca, const struct ia_ca_spec *spec)
{
    struct ia_err err;
    ca->ca_id = spec->ca_id;
    ca->active = spec->active;
    ca->status_revoked = spec->revoked;
    ca->cert = ia_cert_ref(spec->cert);
    ca->well_formed = ia_cert_check_ca_form(ca->cert, NULL) == IA_OK;
    if (ia_cert_check_ca(ca->cert, b->in->now, &err) != IA_OK)
        ia_ca_build_report(b, ca, err.msg);
}

/* Without key identifiers only signatures distinguish CAs of one name, and one connection may verify a bounded number
 * of them. */
static void report_crowded_name(const struct ia_ca_build *b, const struct ia_ca_key *key)
{
    unsigned cost = 0;
    const struct ia_ca_set *set = b->set;
    for (const struct ia_ca *ca = ia_ca_set_first_key_id(set, key->first->cert->subject_hash, NULL); ca;
         ca = ia_ca_next_key_id(ca)) {
        if (ca->key == key || cost > IA_CHAIN_COST_MAX)
            break;
        if (ca->key->first == ca)
            cost += ca->key->cost;
    }
    if (X509_get0_subject_key_id(key->first->cert->x509) || cost + key->cost <= IA_CHAIN_COST_MAX / 2)
        return;
    ia_ca_build_report(b, key->first,
                       "too many registered CAs have this subject and no subjectKeyIdentifier to distinguish them: "
                       "devices of the last ones may be refused; re-issue this CA with a subjectKeyIdentifier");
}

static enum ia_rc build_ca_set(const struct ia_ca_build *b)
{
    struct ia_ca_set *set = b->set;
    const size_t n = b->in->n;
    set->store = ia_chain_store_new();
    set->cas = calloc(n + 1, sizeof *set->cas);
    if (!set->store || !set->cas)
        return IA_NOMEM;
    for (; set->n < n; set->n++)
        take_ca(b, &set->cas[set->n], &b->in->cas[set->n]);
    if (ia_ca_set_index(set) != IA_OK)
        return IA_NOMEM;
    for (size_t i = set->n_keys; i-- > 0;) { /* in the order of the rows */
        report_crowded_name(b, &set->keys[i]);
        if (ia_ca_build_crls(b, &set->keys[i]) != IA_OK)
            return IA_NOMEM;
    }
    return ia_ca_build_relations(b);
}

enum ia_rc ia_ca_set_build(const struct ia_ca_set_input *in, struct ia_ca_set **out, struct ia_err *err)
{
    uint64_t spent = 0;
    struct ia_ca_build b = {.set = calloc(1, sizeof *b.set), .in = in, .spent = &spent};
    struct ia_openssl_scope scope;
    if (!b.set)
        return ia_nomem(err);
    ia_ref_init(&b.set->refs);
    ia_openssl_enter(&scope);
    enum ia_rc rc = build_ca_set(&b);
    if (ia_openssl_leave(&scope) != IA_OK || rc != IA_OK) {
        ia_ca_set_free(b.set);
        return ia_nomem(err);
    }
    *out = b.set;
    return IA_OK;
}
