// SPDX-License-Identifier: ISC
/* What the registry says about a verified chain.  Each certificate above the leaf that is a registered CA counts with
 * its status: the registered certificate itself, or a same-key CA (same subject and key in another certificate).  For
 * the registered certificate itself all registered CAs above it count as well.
 *
 * Only the plain data of a chain is used, so that a live session is revalidated under a newer set without its
 * certificates. */
#include "x509/private.h"
#include "x509/validity.h"

#include <inttypes.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

static struct ia_ca_finding make_finding(enum ia_reason reason, int x509_error, const char *text, int64_t ca_id)
{
    struct ia_ca_finding finding = {.reason = reason, .x509_error = x509_error};
    (void)snprintf(finding.detail, sizeof finding.detail, "registered CA %" PRId64 " %s", ca_id, text);
    return finding;
}

static struct ia_ca_finding inactive_finding(const struct ia_ca *ca)
{
    int error = ca->status_revoked ? X509_V_ERR_CERT_REVOKED : X509_V_ERR_CERT_REJECTED;
    return make_finding(IA_R_CA_INACTIVE, error, ca->status_revoked ? "is REVOKED" : "is not ACTIVE", ca->ca_id);
}

static struct ia_ca_finding finding_of_ca(const struct ia_ca *ca)
{
    switch (ca->reason) {
    case IA_R_NONE:
        return (struct ia_ca_finding){0};
    case IA_R_CA_INACTIVE:
        return inactive_finding(ca->cause);
    case IA_R_CERTIFICATE_REVOKED:
        return make_finding(ca->reason, X509_V_ERR_CERT_REVOKED, "was revoked by a registered CA", ca->cause->ca_id);
    default:
        return make_finding(ca->reason, X509_V_ERR_CERT_UNTRUSTED, "cannot be used: see iot_auth.ca.problem",
                            ca->cause->ca_id);
    }
}

/* What does not fit is reported when the set is built (ca_parents.c). */
static void count_ca(struct ia_chain *chain, int64_t ca_id)
{
    for (size_t i = 0; i < chain->n_cas; i++)
        if (chain->cas[i] == ca_id)
            return;
    if (chain->n_cas < IA_CHAIN_CAS_MAX)
        chain->cas[chain->n_cas++] = ca_id;
}

static void count_ca_and_above(struct ia_chain *chain, const struct ia_ca *ca)
{
    for (size_t i = 0; i < ca->n_above; i++)
        count_ca(chain, ca->above[i]);
}

static bool is_link_certificate(const struct ia_ca *ca, const struct ia_chain_link *link)
{
    return memcmp(ca->cert->info.fingerprint, link->fingerprint, IA_FINGERPRINT_LEN) == 0;
}

/* An INACTIVE CA outranks everything else, whichever is found first. */
static void keep_worse_finding(struct ia_ca_finding *so_far, struct ia_ca_finding next)
{
    if (so_far->reason == IA_R_NONE || (next.reason == IA_R_CA_INACTIVE && so_far->reason != IA_R_CA_INACTIVE))
        *so_far = next;
}

/* The certificate itself before its same-key CAs: cas lists the anchor first. */
static void check_link(const struct ia_ca_set *set, struct ia_chain *chain, const struct ia_chain_link *link,
                       struct ia_ca_finding *finding)
{
    const struct ia_ca_key *key = ia_ca_set_find_key(set, link->name_key_hash);
    if (!key)
        return;
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key) {
        if (!is_link_certificate(ca, link))
            continue;
        count_ca_and_above(chain, ca);
        keep_worse_finding(finding, finding_of_ca(ca));
    }
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key)
        count_ca(chain, ca->ca_id);
    if (key->inactive)
        keep_worse_finding(finding, inactive_finding(key->inactive));
}

static const struct ia_ca *find_anchor(const struct ia_ca_set *set, const struct ia_chain *chain)
{
    const struct ia_chain_link *link = &chain->links[chain->n_links - 1];
    const struct ia_ca_key *key = ia_ca_set_find_key(set, link->name_key_hash);
    for (const struct ia_ca *ca = key ? key->first : NULL; ca; ca = ca->next_same_key)
        if (ca->ca_id == chain->ca_id && is_link_certificate(ca, link))
            return ca;
    return NULL;
}

static bool chain_is_revoked(const struct ia_ca_set *set, const struct ia_chain *chain)
{
    for (size_t i = 0; i + 1 < chain->n_links; i++) {
        const struct ia_chain_link *link = &chain->links[i];
        const struct ia_ca_key *issuer = ia_ca_set_find_key(set, chain->links[i + 1].name_key_hash);
        struct ia_serial serial = {.len = link->serial_len};
        memcpy(serial.octets, link->serial, link->serial_len);
        if (issuer && ia_ca_key_revokes(issuer, &serial))
            return true;
    }
    return false;
}

struct ia_ca_finding ia_ca_status_check(const struct ia_ca_set *set, struct ia_chain *chain)
{
    struct ia_ca_finding finding = {0};
    chain->n_cas = 0;
    if (chain->n_links < 2 || !find_anchor(set, chain))
        return make_finding(IA_R_CA_UNKNOWN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "is not registered",
                            chain->ca_id);
    const struct ia_ca_key *own = ia_ca_set_find_key(set, chain->links[0].name_key_hash);
    for (size_t i = 1; i < chain->n_links; i++)
        check_link(set, chain, &chain->links[i], &finding);
    if (own) /* who holds a CA's key can issue any device's certificate: such a key is not a device's */
        keep_worse_finding(&finding, make_finding(IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_PURPOSE,
                                                  "has the leaf's name and key", own->first->ca_id));
    if (finding.reason == IA_R_NONE && chain_is_revoked(set, chain))
        finding = make_finding(IA_R_CERTIFICATE_REVOKED, X509_V_ERR_CERT_REVOKED,
                               "or a CA on its chain lists a certificate as revoked", chain->ca_id);
    return finding;
}

enum ia_reason ia_chain_revalidate(const struct ia_ca_set *set, struct ia_chain *chain, int64_t now)
{
    if (chain->reason != IA_R_NONE)
        return chain->reason;
    if (chain->n_links > IA_CHAIN_MAX)
        return IA_R_INTERNAL;
    enum ia_reason reason = ia_ca_status_check(set, chain).reason;
    if (reason == IA_R_NONE && ia_x509_expired(chain->not_after, now))
        return IA_R_CERTIFICATE_EXPIRED;
    return reason;
}
