// SPDX-License-Identifier: ISC
/* Which certificates lead from the leaf to the nearest registered CA?
 *
 * OpenSSL takes one issuer of a name and fails if it was the wrong one; here every candidate counts and the signature
 * decides.  Nearly always there is one candidate at each step, and then no signature is checked here at all: that is
 * left to the verification.  Otherwise the search goes from the registered CAs downwards, one certificate further at a
 * time, so that a key is only ever used after a registered CA has vouched for it: a hostile chain cannot make the
 * broker compute with slow keys of its own choice, and what it can make it compute is bounded below. */
#include "x509/private.h"
#include "x509/validity.h"

#include <openssl/x509v3.h>
#include <string.h>

#define SENT_MAX             16 /* intermediates looked at; the rest of what the peer sent is ignored */
#define SIGNATURE_CHECKS_MAX 32 /* per search, beyond the one verification of the path that was found */
#define AUTHORITY_NAMES_MAX  8  /* issuer names in an authority key identifier; in the wild there is one, if any */

struct candidate {
    X509 *x509;
    bool reachable;              /* by names, from the leaf */
    size_t height;               /* certificates up to the registered CA; 0: not (yet) vouched for */
    const struct ia_ca *anchor;  /* height 1 */
    const struct candidate *via; /* height 2 and more */
};

struct search {
    const struct ia_ca_set *set;
    X509 *leaf;
    int64_t now;
    struct candidate sent[SENT_MAX];
    size_t n_sent;
    unsigned checks;
    bool named; /* a registered CA would fit by name */
    struct ia_path *out;
};

static bool names_match(X509 *issuer, X509 *x509)
{
    return X509_NAME_cmp(X509_get_subject_name(issuer), X509_get_issuer_name(x509)) == 0;
}

/* The same signature is the same certificate: cheaper than to compare or hash all of it, and one that only pretends is
 * no loss, for its signature is not good. */
static bool same_certificate(const X509 *a, const X509 *b)
{
    const ASN1_BIT_STRING *one = NULL, *other = NULL;
    X509_get0_signature(&one, NULL, a);
    X509_get0_signature(&other, NULL, b);
    return a == b || (one && other && ASN1_STRING_cmp(one, other) == 0);
}

static bool in_time(const X509 *x509, int64_t now)
{
    int64_t not_before, not_after;
    return ia_x509_time(X509_get0_notBefore(x509), &not_before) && ia_x509_time(X509_get0_notAfter(x509), &not_after) &&
           !ia_x509_not_yet_valid(not_before, now) && !ia_x509_expired(not_after, now);
}

/* A root that the peer sent proves nothing: it is registered, or of no use. */
static bool is_root(X509 *x509)
{
    return names_match(x509, x509) && X509_self_signed(x509, 0) == 1;
}

/* OpenSSL goes through these names once for every registered CA that is asked: thousands of them, times the CAs of one
 * name, would hold up the broker before any signature was checked. */
static bool has_too_many_names(X509 *x509)
{
    return sk_GENERAL_NAME_num(X509_get0_authority_issuer(x509)) > AUTHORITY_NAMES_MAX;
}

static void add_sent(struct search *s, X509 *x509)
{
    if (s->n_sent == SENT_MAX || same_certificate(x509, s->leaf) || has_too_many_names(x509) || is_root(x509))
        return;
    for (size_t i = 0; i < s->n_sent; i++)
        if (same_certificate(x509, s->sent[i].x509))
            return;
    s->sent[s->n_sent++] = (struct candidate){.x509 = x509};
}

/* The registered CAs that fit by name, stored as far as there is room. */
static size_t registered_issuers(struct search *s, X509 *x509, struct ia_ca *out[IA_ISSUERS_MAX])
{
    uint32_t hash;
    if (!ia_x509_name_hash(X509_get_issuer_name(x509), &hash))
        return 0;
    size_t n = ia_ca_set_issuers(s->set, x509, hash, out);
    s->named = s->named || n > 0;
    return n < IA_ISSUERS_MAX ? n : IA_ISSUERS_MAX;
}

static bool is_one_of(const X509 *x509, struct ia_ca *const *cas, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (same_certificate(x509, cas[i]->cert->x509))
            return true;
    return false;
}

static bool on_path(const struct ia_path *path, const X509 *x509)
{
    for (size_t i = 0; i < path->n; i++)
        if (path->certs[i] == x509)
            return true;
    return false;
}

enum step { STEP_UP, STEP_ARRIVED, STEP_NOWHERE, STEP_AMBIGUOUS };

/* Go one certificate up from the last of the path, if there is only one way. */
static enum step step_up(struct search *s, struct ia_path *path)
{
    X509 *x509 = path->certs[path->n - 1], *next = NULL;
    struct ia_ca *cas[IA_ISSUERS_MAX];
    size_t n = registered_issuers(s, x509, cas), ways = n;
    for (size_t i = 0; i < s->n_sent; i++) {
        X509 *sent = s->sent[i].x509;
        if (!names_match(sent, x509) || is_one_of(sent, cas, n) || on_path(path, sent))
            continue;
        next = sent;
        ways++;
    }
    if (ways != 1)
        return ways == 0 ? STEP_NOWHERE : STEP_AMBIGUOUS;
    if (n == 1) {
        path->anchor = cas[0];
        return STEP_ARRIVED;
    }
    if (path->n == IA_CHAIN_MAX - 1)
        return STEP_NOWHERE;
    path->certs[path->n++] = next;
    return STEP_UP;
}

static enum step walk(struct search *s, struct ia_path *path)
{
    enum step step = STEP_UP;
    path->certs[0] = s->leaf;
    path->n = 1;
    while (step == STEP_UP)
        step = step_up(s, path);
    return step;
}

static bool signed_by(struct search *s, X509 *x509, X509 *issuer)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    if (!key || s->checks == SIGNATURE_CHECKS_MAX)
        return false;
    s->checks++;
    return X509_verify(x509, key) == 1;
}

static bool usable(const struct ia_ca *ca, int64_t now)
{
    const struct ia_cert_info *info = &ca->cert->info;
    return ca->reason == IA_R_NONE && !ia_x509_not_yet_valid(info->not_before, now) &&
           !ia_x509_expired(info->not_after, now);
}

/* The registered CA whose key signed x509.  Of several certificates for that key (a renewed CA) one that can be used,
 * before one that would only give the reason for a refusal. */
static const struct ia_ca *registered_signer(struct search *s, X509 *x509)
{
    struct ia_ca *cas[IA_ISSUERS_MAX];
    size_t n = registered_issuers(s, x509, cas);
    for (int want = 1; want >= 0; want--)
        for (size_t i = 0; i < n; i++)
            if (usable(cas[i], s->now) == want && signed_by(s, x509, cas[i]->cert->x509))
                return cas[i];
    return NULL;
}

static void mark_reachable(struct search *s, X509 *x509)
{
    for (size_t i = 0; i < s->n_sent; i++)
        if (names_match(s->sent[i].x509, x509))
            s->sent[i].reachable = true;
}

/* SENT_MAX rounds reach whatever can be reached. */
static void mark_all_reachable(struct search *s)
{
    mark_reachable(s, s->leaf);
    for (size_t round = 0; round < s->n_sent; round++)
        for (size_t i = 0; i < s->n_sent; i++)
            if (s->sent[i].reachable)
                mark_reachable(s, s->sent[i].x509);
}

static const struct candidate *signer_at(struct search *s, size_t height, X509 *x509)
{
    for (size_t i = 0; i < s->n_sent; i++) {
        struct candidate *c = &s->sent[i];
        if (c->height == height && X509_check_issued(c->x509, x509) == X509_V_OK && signed_by(s, x509, c->x509))
            return c;
    }
    return NULL;
}

/* Find the candidates that are vouched for by one at the height below. */
static void raise_to(struct search *s, size_t height)
{
    for (size_t i = 0; i < s->n_sent; i++) {
        struct candidate *c = &s->sent[i];
        if (!c->reachable || c->height != 0)
            continue;
        c->anchor = height == 1 ? registered_signer(s, c->x509) : NULL;
        c->via = height > 1 ? signer_at(s, height - 1, c->x509) : NULL;
        c->height = c->anchor || c->via ? height : 0;
    }
}

static void arrive(struct ia_path *path, X509 *leaf, const struct candidate *c)
{
    path->certs[0] = leaf;
    path->n = 1;
    for (; c; c = c->via) {
        path->certs[path->n++] = c->x509;
        path->anchor = c->anchor;
    }
}

/* Those within their validity first: of two that fit, the first is taken. */
static void order_by_validity(struct search *s)
{
    struct candidate ordered[SENT_MAX] = {0};
    size_t n = 0;
    for (int want = 1; want >= 0; want--)
        for (size_t i = 0; i < s->n_sent; i++)
            if (in_time(s->sent[i].x509, s->now) == want)
                ordered[n++] = s->sent[i];
    memcpy(s->sent, ordered, n * sizeof *ordered);
}

static void search(struct search *s, struct ia_path *path)
{
    path->certs[0] = s->leaf;
    path->n = 1;
    path->anchor = registered_signer(s, s->leaf);
    if (path->anchor)
        return;
    order_by_validity(s);
    mark_all_reachable(s);
    for (size_t height = 1; height <= IA_CHAIN_MAX - 2; height++) {
        raise_to(s, height);
        const struct candidate *c = signer_at(s, height, s->leaf);
        if (c) {
            arrive(path, s->leaf, c);
            return;
        }
    }
}

static void explain(const struct search *s, struct ia_path *out)
{
    out->reason = s->named ? IA_R_CHAIN_INVALID : IA_R_CA_UNKNOWN;
    out->detail = "no registered CA has its issuer's name and key identifier";
    if (s->named)
        out->detail = "a registered CA has its issuer's name, but did not sign it";
    if (s->checks == SIGNATURE_CHECKS_MAX)
        out->detail = "too many certificates come in question as its issuers";
}

void ia_path_find(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_path *out)
{
    struct search s = {.set = set, .leaf = leaf, .now = now};
    *out = (struct ia_path){.certs = {leaf}, .n = 1};
    if (has_too_many_names(leaf)) {
        out->reason = IA_R_CHAIN_INVALID;
        out->detail = "its authority key identifier has more than 8 issuer names";
        return;
    }
    for (int i = 0; i < sk_X509_num(sent); i++)
        add_sent(&s, sk_X509_value(sent, i));
    if (walk(&s, out) == STEP_AMBIGUOUS)
        search(&s, out);
    if (!out->anchor)
        explain(&s, out);
}
