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

static struct ia_ca_finding finding_of_ca(const struct ia_ca *ca)
{
    switch (ca->reason) {
    case IA_R_NONE:
        return (struct ia_ca_finding){0};
    case IA_R_CA_INACTIVE:
        return make_finding(ca->reason, X509_V_ERR_CERT_REJECTED, "is not ACTIVE", ca->cause_ca_id);
    case IA_R_CERTIFICATE_REVOKED:
        return make_finding(ca->reason, X509_V_ERR_CERT_REVOKED, "was revoked by a registered CA", ca->cause_ca_id);
    default:
        return make_finding(ca->reason, X509_V_ERR_INVALID_CA, "cannot be used: see iot_auth.ca.problem",
                            ca->cause_ca_id);
    }
}

/* False: more than fit.  If only some counted, the address rules of the others would not be applied. */
static bool count_ca(struct ia_chain *chain, int64_t ca_id)
{
    for (size_t i = 0; i < chain->n_cas; i++)
        if (chain->cas[i] == ca_id)
            return true;
    if (chain->n_cas == IA_CHAIN_MAX)
        return false;
    chain->cas[chain->n_cas++] = ca_id;
    return true;
}

static bool count_ca_and_above(struct ia_chain *chain, const struct ia_ca *ca)
{
    for (size_t i = 0; i < ca->n_above; i++)
        if (!count_ca(chain, ca->above[i]))
            return false;
    return true;
}

static struct ia_ca_finding check_link_ca(struct ia_chain *chain, const struct ia_ca *ca, bool exact_match)
{
    if (!ca->active)
        return make_finding(IA_R_CA_INACTIVE, X509_V_ERR_CERT_REJECTED, "is not ACTIVE", ca->ca_id);
    if (!(exact_match ? count_ca_and_above(chain, ca) : count_ca(chain, ca->ca_id)))
        return make_finding(IA_R_CHAIN_INVALID, X509_V_ERR_CERT_CHAIN_TOO_LONG, "has more than 8 registered CAs above",
                            ca->ca_id);
    return exact_match ? finding_of_ca(ca) : (struct ia_ca_finding){0};
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
    for (int exact_match = 1; exact_match >= 0; exact_match--)
        for (const struct ia_ca *ca = ia_ca_set_first_same_key(set, link->name_key_hash); ca;
             ca = ia_ca_next_same_key(ca))
            if (is_link_certificate(ca, link) == exact_match)
                keep_worse_finding(finding, check_link_ca(chain, ca, exact_match));
}

static const struct ia_ca *find_anchor(const struct ia_ca_set *set, const struct ia_chain *chain)
{
    const struct ia_chain_link *link = &chain->links[chain->n_links - 1];
    for (const struct ia_ca *ca = ia_ca_set_first_same_key(set, link->name_key_hash); ca; ca = ia_ca_next_same_key(ca))
        if (ca->ca_id == chain->ca_id && is_link_certificate(ca, link))
            return ca;
    return NULL;
}

static bool chain_is_revoked(const struct ia_ca_set *set, const struct ia_chain *chain)
{
    for (size_t i = 0; i + 1 < chain->n_links; i++) {
        const struct ia_chain_link *link = &chain->links[i];
        struct ia_serial serial = {.len = link->serial_len};
        memcpy(serial.octets, link->serial, link->serial_len);
        if (ia_ca_set_revokes(set, chain->links[i + 1].name_key_hash, &serial))
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
    const struct ia_ca *self = ia_ca_set_first_same_key(set, chain->links[0].name_key_hash);
    for (size_t i = 1; i < chain->n_links; i++)
        check_link(set, chain, &chain->links[i], &finding);
    if (self) /* whoever holds a CA's key can issue any device's certificate: such a key is no device */
        keep_worse_finding(&finding, make_finding(IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_PURPOSE,
                                                  "has the leaf's name and key", self->ca_id));
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
