// SPDX-License-Identifier: ISC
/* The CRLs of one CA key while a set is built. */
#include "x509/crl_set.h"
#include "x509/private.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

static const struct ia_ca_spec *spec_of_ca(const struct ia_ca_build *b, const struct ia_ca *ca)
{
    return &b->in->cas[ca - b->set->cas];
}

/* A list is the key's: the certificate that lets it sign lists may be another than the one that it was added to. */
static bool key_may_sign_crls(const struct ia_ca_key *key)
{
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        if (X509_get_key_usage(ca->cert->x509) & KU_CRL_SIGN)
            return true;
    return false;
}

static const char *crl_problem(const struct ia_ca *ca, const struct ia_crl_spec *spec)
{
    if (spec->crl->unusable)
        return spec->crl->unusable;
    if (!key_may_sign_crls(ca->key))
        return "the CA's key usage does not include cRLSign";
    return ia_crl_signed_by(spec, ca->cert) ? NULL : "not signed by this CA; add it to the CA that issued it";
}

static void take_crl(const struct ia_ca_build *b, const struct ia_ca *ca, const struct ia_crl_spec *spec,
                     struct ia_crl_candidate *lists, size_t *n)
{
    struct ia_err err;
    const char *problem = crl_problem(ca, spec);
    if (!problem) {
        lists[(*n)++] = (struct ia_crl_candidate){.spec = *spec, .ca_id = ca->ca_id};
        return;
    }
    (void)ia_fail(&err, IA_FORMAT, "CRL: %s", problem);
    ia_ca_build_report(b, ca, err.msg);
}

/* Only lists in force keep their serial numbers; another set, older than this one, keeps its own reference. */
static enum ia_rc keep_in_force(struct ia_ca_key *key, struct ia_crl_candidate *lists, size_t n)
{
    key->lists = calloc(n, sizeof(struct ia_serial_list *));
    if (!key->lists)
        return IA_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!lists[i].in_force) {
            ia_crl_drop_entries(lists[i].spec.crl);
            continue;
        }
        if (ia_crl_load_entries(&lists[i].spec) != IA_OK)
            return IA_NOMEM;
        key->lists[key->n_lists++] = ia_serial_list_ref(lists[i].spec.crl->entries);
    }
    return IA_OK;
}

enum ia_rc ia_ca_build_crls(const struct ia_ca_build *b, struct ia_ca_key *key)
{
    size_t n = 0;
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        n += spec_of_ca(b, ca)->n_crls;
    if (n == 0)
        return IA_OK;
    struct ia_crl_candidate *lists = calloc(n, sizeof *lists);
    if (!lists)
        return IA_NOMEM;
    n = 0;
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        for (size_t i = 0; i < spec_of_ca(b, ca)->n_crls; i++)
            take_crl(b, ca, &spec_of_ca(b, ca)->crls[i], lists, &n);
    ia_crl_select(lists, n, b->in->now, b->in->problems);
    enum ia_rc rc = n > 0 ? keep_in_force(key, lists, n) : IA_OK;
    free(lists);
    return rc;
}
