// SPDX-License-Identifier: ISC
/* What the registry says of a chain: every certificate of it above the leaf that is a registered CA, by its bytes or as
 * a twin (the same subject and key, re-certified), counts with its status; where it is the very certificate, all
 * registered CAs above it count as well.  Needs only the plain data of a chain, so that a chain that was good is
 * decided anew under a newer set without its certificates. */
#include "x509/private.h"

#include <inttypes.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

static struct ia_ca_finding judgement(enum ia_reason reason, int x509_error, const char *text, int64_t ca_id)
{
    struct ia_ca_finding j = {.reason = reason, .x509_error = x509_error};
    (void)snprintf(j.detail, sizeof j.detail, "registered CA %" PRId64 " %s", ca_id, text);
    return j;
}

static struct ia_ca_finding judgement_of_ca(const struct ia_ca *ca)
{
    switch (ca->reason) {
    case IA_R_NONE:
        return (struct ia_ca_finding){0};
    case IA_R_CA_INACTIVE:
        return judgement(ca->reason, X509_V_ERR_CERT_REJECTED, "is not ACTIVE", ca->blamed);
    case IA_R_CERTIFICATE_REVOKED:
        return judgement(ca->reason, X509_V_ERR_CERT_REVOKED, "was revoked by a registered CA", ca->blamed);
    default:
        return judgement(ca->reason, X509_V_ERR_INVALID_CA, "cannot be used: see its problem", ca->blamed);
    }
}

/* False: more than fit.  To count only some would let the others' address rules be passed by. */
static bool count(struct ia_chain *chain, int64_t ca_id)
{
    for (size_t i = 0; i < chain->n_cas; i++)
        if (chain->cas[i] == ca_id)
            return true;
    if (chain->n_cas == IA_CHAIN_MAX)
        return false;
    chain->cas[chain->n_cas++] = ca_id;
    return true;
}

static bool count_above(struct ia_chain *chain, const struct ia_ca *ca)
{
    for (size_t i = 0; i < ca->n_above; i++)
        if (!count(chain, ca->above[i]))
            return false;
    return true;
}

static struct ia_ca_finding judge_ca(struct ia_chain *chain, const struct ia_ca *ca, bool very)
{
    if (!ca->active)
        return judgement(IA_R_CA_INACTIVE, X509_V_ERR_CERT_REJECTED, "is not ACTIVE", ca->ca_id);
    if (!(very ? count_above(chain, ca) : count(chain, ca->ca_id)))
        return judgement(IA_R_CHAIN_INVALID, X509_V_ERR_CERT_CHAIN_TOO_LONG, "has too many CAs about it", ca->ca_id);
    return very ? judgement_of_ca(ca) : (struct ia_ca_finding){0};
}

static bool is_link(const struct ia_ca *ca, const struct ia_chain_link *link)
{
    return memcmp(ca->cert->info.fingerprint, link->fingerprint, IA_FINGERPRINT_LEN) == 0;
}

/* The worse: a disabled CA comes before everything else, whichever of them is met first. */
static void worsen(struct ia_ca_finding *so_far, struct ia_ca_finding next)
{
    if (so_far->reason == IA_R_NONE || (next.reason == IA_R_CA_INACTIVE && so_far->reason != IA_R_CA_INACTIVE))
        *so_far = next;
}

/* The certificate itself before its twins: cas lists the anchor first. */
static void judge_link(const struct ia_ca_set *set, struct ia_chain *chain, const struct ia_chain_link *link,
                       struct ia_ca_finding *j)
{
    for (int very = 1; very >= 0; very--)
        for (const struct ia_ca *ca = ia_ca_set_first_same_key(set, link->name_key_hash); ca;
             ca = ia_ca_next_same_key(ca))
            if (is_link(ca, link) == very)
                worsen(j, judge_ca(chain, ca, very));
}

static const struct ia_ca *find_anchor(const struct ia_ca_set *set, const struct ia_chain *chain)
{
    const struct ia_chain_link *link = &chain->links[chain->n_links - 1];
    for (const struct ia_ca *ca = ia_ca_set_first_same_key(set, link->name_key_hash); ca; ca = ia_ca_next_same_key(ca))
        if (ca->ca_id == chain->ca_id && is_link(ca, link))
            return ca;
    return NULL;
}

static bool is_revoked(const struct ia_ca_set *set, const struct ia_chain *chain)
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
    struct ia_ca_finding j = {0};
    chain->n_cas = 0;
    if (chain->n_links < 2 || !find_anchor(set, chain))
        return judgement(IA_R_CA_UNKNOWN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "is gone", chain->ca_id);
    const struct ia_ca *self = ia_ca_set_first_same_key(set, chain->links[0].name_key_hash);
    for (size_t i = 1; i < chain->n_links; i++)
        judge_link(set, chain, &chain->links[i], &j);
    if (self) /* whoever holds a CA's key can make any device's certificate: it is no device itself */
        worsen(&j, judgement(IA_R_CERTIFICATE_UNFIT, X509_V_ERR_INVALID_PURPOSE, "has the leaf's name and key",
                             self->ca_id));
    if (j.reason == IA_R_NONE && is_revoked(set, chain))
        j = judgement(IA_R_CERTIFICATE_REVOKED, X509_V_ERR_CERT_REVOKED, "or a twin of it revoked a link",
                      chain->ca_id);
    return j;
}

enum ia_reason ia_chain_revalidate(const struct ia_ca_set *set, struct ia_chain *chain, int64_t now)
{
    if (chain->reason != IA_R_NONE)
        return chain->reason;
    if (chain->n_links > IA_CHAIN_MAX)
        return IA_R_INTERNAL;
    enum ia_reason reason = ia_ca_status_check(set, chain).reason;
    if (reason == IA_R_NONE && now > chain->not_after)
        return IA_R_CERTIFICATE_EXPIRED;
    return reason;
}
