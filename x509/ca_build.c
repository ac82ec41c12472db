// SPDX-License-Identifier: ISC
/* Building a set: what can be known of a CA before any device comes is worked out here, once, by the worker.
 *
 * In this order: the CAs and whether each may be one; their CRLs in force, checked with their keys; the registered
 * parents of each, by signature among those that fit by name; who is revoked by a parent; and last, for each CA, the
 * verdict over itself and all that stand above it, so that a connection only looks it up. */
#include "x509/ca_set.h"

#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct build {
    struct ia_ca_set *set;
    int64_t now;
    const struct ia_problem_callback *problems;
};

static void report_ca(const struct build *b, const struct ia_ca *ca, const char *text)
{
    ia_problem_report(b->problems, ca->ca_id, text);
}

static void take_ca(const struct build *b, struct ia_ca *ca, const struct ia_ca_spec *spec)
{
    struct ia_err err;
    ca->ca_id = spec->ca_id;
    ca->active = spec->active;
    ca->cert = ia_cert_ref(spec->cert);
    ca->fit = ia_cert_check_ca_form(ca->cert, NULL) == IA_OK;
    if (ia_cert_check_ca(ca->cert, b->now, &err) != IA_OK)
        report_ca(b, ca, err.msg);
}

static const char *why_crl_refused(const struct ia_ca *ca, struct ia_crl *crl)
{
    if (crl->unusable)
        return crl->unusable;
    if (!(X509_get_key_usage(ca->cert->x509) & KU_CRL_SIGN))
        return "the CA's key usage lacks cRLSign";
    if (!ia_crl_signed_by(crl, ca->cert))
        return "it is not signed by this CA";
    return NULL;
}

/* One of each scope is in force: the newest. */
static void keep_crl(struct ia_ca *ca, struct ia_crl *crl)
{
    for (size_t i = 0; i < ca->n_crls; i++) {
        if (!ia_crl_same_scope(ca->crls[i], crl))
            continue;
        if (ia_crl_is_newer(crl, ca->crls[i])) {
            ia_crl_free(ca->crls[i]);
            ca->crls[i] = ia_crl_ref(crl);
        }
        return;
    }
    ca->crls[ca->n_crls++] = ia_crl_ref(crl);
}

/* A list that is past its time still names what was revoked: kept, and told. */
static void tell_times(const struct build *b, const struct ia_ca *ca)
{
    for (size_t i = 0; i < ca->n_crls; i++) {
        const struct ia_crl *crl = ca->crls[i];
        if (crl->next_update != 0 && crl->next_update < b->now)
            report_ca(b, ca, "CRL: it is past its nextUpdate; it goes on being used");
        else if (crl->this_update > b->now)
            report_ca(b, ca, "CRL: its thisUpdate is in the future; it is used nevertheless");
    }
}

static enum ia_rc take_crls(const struct build *b, struct ia_ca *ca, const struct ia_ca_spec *spec)
{
    if (spec->n_crls == 0)
        return IA_OK;
    ca->crls = calloc(spec->n_crls, sizeof(struct ia_crl *));
    if (!ca->crls)
        return IA_NOMEM;
    for (size_t i = 0; i < spec->n_crls; i++) {
        struct ia_err err;
        const char *why = why_crl_refused(ca, spec->crls[i]);
        if (!why) {
            keep_crl(ca, spec->crls[i]);
            continue;
        }
        (void)ia_fail(&err, IA_FORMAT, "CRL: %s", why);
        report_ca(b, ca, err.msg);
    }
    tell_times(b, ca);
    return IA_OK;
}

/* A root that signed itself has no parent; a twin of it (the same key in another certificate) is none either. */
static bool signed_itself(const struct ia_ca *ca)
{
    return X509_NAME_cmp(X509_get_subject_name(ca->cert->x509), X509_get_issuer_name(ca->cert->x509)) == 0 &&
           ia_cert_signed_by(ca->cert, ca->cert);
}

static enum ia_rc find_parents(const struct build *b, struct ia_ca *ca)
{
    struct ia_ca *issuers[IA_ISSUERS_MAX];
    if (signed_itself(ca))
        return IA_OK;
    size_t n = ia_ca_set_issuers(b->set, ca->cert->x509, ca->cert->issuer_hash, issuers);
    if (n > IA_ISSUERS_MAX) { /* which of them signed it would take too long to find out, at every build */
        ca->fit = false;
        report_ca(b, ca, "more than 32 registered CAs have its issuer's name and no key identifier to tell them apart");
        return IA_OK;
    }
    if (n == 0)
        return IA_OK;
    ca->parents = calloc(n, sizeof(struct ia_ca *));
    if (!ca->parents)
        return IA_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (issuers[i] != ca && ia_cert_signed_by(ca->cert, issuers[i]->cert))
            ca->parents[ca->n_parents++] = issuers[i];
    return IA_OK;
}

/* By a parent or a twin of it: the list is the key's, whichever of its certificates it was registered with. */
static void find_revoked(const struct ia_ca_set *set, struct ia_ca *ca)
{
    for (size_t i = 0; i < ca->n_parents; i++)
        ca->revoked = ca->revoked || ia_ca_set_revokes(set, ca->parents[i]->cert->name_key_hash, &ca->cert->serial);
}

static bool holds(struct ia_ca *const *cas, size_t n, const struct ia_ca *ca)
{
    for (size_t i = 0; i < n; i++)
        if (cas[i] == ca)
            return true;
    return false;
}

/* `ca` and all above it, each once (cross-certified CAs stand above each other).  0: more than fit. */
static size_t gather(struct ia_ca *ca, struct ia_ca *out[IA_CHAIN_MAX])
{
    size_t n = 1;
    out[0] = ca;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < out[i]->n_parents; k++) {
            struct ia_ca *parent = out[i]->parents[k];
            if (holds(out, n, parent))
                continue;
            if (n == IA_CHAIN_MAX)
                return 0;
            out[n++] = parent;
        }
    }
    return n;
}

/* The first that is not ACTIVE, itself or by a twin: the key is disabled, whichever certificate it comes in. */
static const struct ia_ca *find_inactive(const struct ia_ca_set *set, struct ia_ca *const *cas, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (struct ia_ca *t = ia_ca_set_first_same_key(set, cas[i]->cert->name_key_hash); t;
             t = ia_ca_next_same_key(t))
            if (!t->active)
                return t;
    return NULL;
}

static void set_ca_reason(struct ia_ca *ca, enum ia_reason reason, const struct ia_ca *cause)
{
    if (ca->reason != IA_R_NONE)
        return;
    ca->reason = reason;
    ca->cause_ca_id = cause->ca_id;
}

static void judge(const struct build *b, struct ia_ca *ca)
{
    struct ia_ca *above[IA_CHAIN_MAX];
    size_t n = gather(ca, above);
    if (n == 0) {
        report_ca(b, ca, "more than 8 registered CAs stand above it");
        set_ca_reason(ca, IA_R_CHAIN_INVALID, ca);
        return;
    }
    for (size_t i = 0; i < n; i++)
        ca->above[ca->n_above++] = above[i]->ca_id;
    const struct ia_ca *inactive = find_inactive(b->set, above, n);
    if (inactive)
        set_ca_reason(ca, IA_R_CA_INACTIVE, inactive);
    if (!ca->fit)
        set_ca_reason(ca, IA_R_CHAIN_INVALID, ca);
    for (size_t i = 0; i < n; i++)
        if (above[i]->revoked)
            set_ca_reason(ca, IA_R_CERTIFICATE_REVOKED, above[i]);
}

static enum ia_rc relate(const struct build *b)
{
    struct ia_ca_set *set = b->set;
    for (size_t i = 0; i < set->n; i++)
        if (find_parents(b, &set->cas[i]) != IA_OK)
            return IA_NOMEM;
    for (size_t i = 0; i < set->n; i++)
        find_revoked(set, &set->cas[i]);
    for (size_t i = 0; i < set->n; i++)
        judge(b, &set->cas[i]);
    return IA_OK;
}

static enum ia_rc build(const struct build *b, const struct ia_ca_spec *specs, size_t n)
{
    struct ia_ca_set *set = b->set;
    set->store = ia_chain_store_new();
    set->cas = calloc(n > 0 ? n : 1, sizeof *set->cas);
    if (!set->store || !set->cas)
        return IA_NOMEM;
    for (; set->n < n; set->n++)
        take_ca(b, &set->cas[set->n], &specs[set->n]);
    if (ia_ca_set_index(set) != IA_OK)
        return IA_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (take_crls(b, &set->cas[i], &specs[i]) != IA_OK)
            return IA_NOMEM;
    return relate(b);
}

enum ia_rc ia_ca_set_build(const struct ia_ca_set_input *in, struct ia_ca_set **out, struct ia_err *err)
{
    struct build b = {.set = calloc(1, sizeof *b.set), .now = in->now, .problems = in->problems};
    struct ia_openssl_scope scope;
    if (!b.set)
        return ia_nomem(err);
    ia_ref_init(&b.set->refs);
    ia_openssl_enter(&scope);
    enum ia_rc rc = build(&b, in->cas, in->n);
    if (ia_openssl_leave(&scope) != IA_OK || rc != IA_OK) {
        ia_ca_set_free(b.set);
        return ia_nomem(err);
    }
    *out = b.set;
    return IA_OK;
}
