// SPDX-License-Identifier: ISC
/* Which certificates lead from the leaf to the nearest registered CA?
 *
 * Names and key identifiers only suggest an issuer; the signature decides.  First comes a guess: upwards, one issuer at
 * each step, the one whose identifiers fit.  Nearly always it is right, and its signatures are the only ones that are
 * verified.  Otherwise a search goes from the registered CAs downwards, one certificate further at a time.
 *
 * Either way a key is only used after a registered CA has vouched for it, so a hostile chain cannot make the broker
 * compute with keys of its own choice; and all signatures of one connection together may cost IA_CHAIN_COST_MAX. */
#include "x509/private.h"
#include "x509/validity.h"

#include <openssl/x509v3.h>
#include <string.h>

#define SENT_MAX            16 /* intermediates looked at; the rest of what the peer sent is ignored */
#define AUTHORITY_NAMES_MAX 8  /* issuer names in an authority key identifier; in practice one, if any */

struct path_candidate {
    X509 *x509;
    bool reachable;                   /* by names, from the leaf */
    size_t height;                    /* certificates up to the registered CA; 0: not (yet) vouched for */
    const struct ia_ca *anchor;       /* height 1 */
    const struct path_candidate *via; /* height 2 and more */
};

struct path_search {
    const struct ia_ca_set *set;
    X509 *leaf;
    int64_t now;
    struct path_candidate sent[SENT_MAX];
    size_t n_sent;
    unsigned cost;
    bool cost_exceeded;
    bool forged; /* a registered CA has the issuer's name, no identifier contradicts, but its key did not sign */
    const char *problem; /* of an issuer that was not used */
};

static bool names_match(X509 *issuer, X509 *x509)
{
    return X509_NAME_cmp(X509_get_subject_name(issuer), X509_get_issuer_name(x509)) == 0;
}

/* The same signature is the same certificate: cheaper than to compare or hash all of it, and a copy of a signature on
 * something else is not lost, because it does not verify. */
static bool same_certificate(const X509 *a, const X509 *b)
{
    const ASN1_BIT_STRING *one = NULL, *other = NULL;
    X509_get0_signature(&one, NULL, a);
    X509_get0_signature(&other, NULL, b);
    return a == b || (one && other && ASN1_STRING_cmp(one, other) == 0);
}

static bool is_valid_at(const X509 *x509, int64_t now)
{
    int64_t not_before, not_after;
    return ia_x509_time(X509_get0_notBefore(x509), &not_before) && ia_x509_time(X509_get0_notAfter(x509), &not_after) &&
           !ia_x509_not_yet_valid(not_before, now) && !ia_x509_expired(not_after, now);
}

static bool has_too_many_names(X509 *x509)
{
    return sk_GENERAL_NAME_num(X509_get0_authority_issuer(x509)) > AUTHORITY_NAMES_MAX;
}

static void add_sent(struct path_search *s, X509 *x509)
{
    if (s->n_sent == SENT_MAX || same_certificate(x509, s->leaf) || has_too_many_names(x509))
        return;
    if (!(X509_get_key_usage(x509) & KU_KEY_CERT_SIGN)) {
        if (names_match(x509, s->leaf))
            s->problem = "the key usage of the intermediate above the leaf does not include keyCertSign";
        return;
    }
    for (size_t i = 0; i < s->n_sent; i++)
        if (same_certificate(x509, s->sent[i].x509))
            return;
    s->sent[s->n_sent++] = (struct path_candidate){.x509 = x509};
}

/* ---- signatures */

static bool afford_cost(struct path_search *s, unsigned cost)
{
    if (s->cost_exceeded)
        return false;
    if (s->cost + cost > IA_CHAIN_COST_MAX) {
        s->cost_exceeded = true;
        return false;
    }
    s->cost += cost;
    return true;
}

/* Ten thousand CAs may have one name: to go through them for each certificate that was sent would cost more than the
 * signatures. */
static bool afford_scan(struct path_search *s)
{
    return afford_cost(s, 1);
}

static bool key_is_usable(struct path_search *s, EVP_PKEY *key)
{
    const char *problem = key ? ia_key_problem(key) : "a public key that cannot be read";
    if (problem)
        s->problem = problem;
    return !problem;
}

static bool verify_signature(struct path_search *s, X509 *x509, X509 *issuer)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    return key_is_usable(s, key) && afford_cost(s, ia_key_cost(key)) && X509_verify(x509, key) == 1;
}

/* ---- registered CAs */

bool ia_ca_is_usable(const struct ia_ca *ca, int64_t now)
{
    const struct ia_cert_info *info = &ca->cert->info;
    return ca->reason == IA_R_NONE && !ia_x509_not_yet_valid(info->not_before, now) &&
           !ia_x509_expired(info->not_after, now);
}

/* Of the certificates of one key the first that can be used; otherwise one that gives the reason for a refusal. */
static const struct ia_ca *best_of_key(const struct path_search *s, const struct ia_ca_key *key, X509 *x509)
{
    const struct ia_ca *fallback = NULL;
    for (const struct ia_ca *ca = key->first; ca; ca = ca->next_same_key) {
        if (!ia_x509_may_have_issued(ca->cert->x509, x509))
            continue;
        if (ia_ca_is_usable(ca, s->now))
            return ca;
        if (!fallback)
            fallback = ca;
    }
    return fallback;
}

/* IA_HINTS: no certificate of the key can have issued x509. */
static int hint_of_issuer_key(const struct ia_ca_key *key, X509 *x509)
{
    int best = -1;
    for (const struct ia_ca *ca = key->first; ca && best < IA_HINT_FITS; ca = ca->next_same_key) {
        if (!ia_x509_may_have_issued(ca->cert->x509, x509))
            continue;
        int hint = (int)ia_issuer_hint(ca->cert->x509, x509);
        if (hint > best)
            best = hint;
    }
    return best < 0 ? IA_HINTS : best;
}

static const struct ia_ca *registered_signer(struct path_search *s, X509 *x509, int hint)
{
    uint32_t hash;
    if (!ia_x509_name_hash(X509_get_issuer_name(x509), &hash))
        return NULL;
    struct ia_ca_key *key = ia_ca_set_first_named(s->set, hash);
    for (; key && afford_scan(s); key = ia_ca_key_next_named(key)) {
        if (hint_of_issuer_key(key, x509) != hint)
            continue;
        const struct ia_ca *ca = best_of_key(s, key, x509);
        if (verify_signature(s, x509, ca->cert->x509))
            return ca;
        s->forged = s->forged || (hint > IA_HINT_CONTRADICTS && !names_match(x509, x509));
    }
    return NULL;
}

/* ---- the guess */

/* The one registered key whose identifiers fit best; NULL for none.  *ambiguous: several. */
static const struct ia_ca_key *guess_registered(struct path_search *s, X509 *x509, int *hint, bool *ambiguous)
{
    uint32_t hash;
    const struct ia_ca_key *found = NULL;
    const ASN1_OCTET_STRING *key_id = X509_get0_authority_key_id(x509);
    *hint = -1;
    if (!ia_x509_name_hash(X509_get_issuer_name(x509), &hash))
        return NULL;
    /* Thousands of tenants may all have called their CA 'Root CA': the identifier finds the right one at once. */
    struct ia_ca *ca = key_id ? ia_ca_set_first_key_id(s->set, hash, key_id) : NULL;
    for (; ca && !*ambiguous; ca = ia_ca_next_key_id(ca)) {
        if (!ia_x509_may_have_issued(ca->cert->x509, x509))
            continue;
        *ambiguous = found && found != ca->key;
        found = ca->key;
        *hint = IA_HINT_FITS;
    }
    if (found)
        return found;
    struct ia_ca_key *key = ia_ca_set_first_named(s->set, hash);
    for (; key && !*ambiguous; key = ia_ca_key_next_named(key)) {
        int fit = hint_of_issuer_key(key, x509);
        if (fit == IA_HINTS || fit < *hint)
            continue;
        *ambiguous = found && fit == *hint;
        *hint = fit;
        found = key;
    }
    return found;
}

static bool is_on_path(const struct ia_path *path, const X509 *x509)
{
    for (size_t i = 0; i < path->n; i++)
        if (path->certs[i] == x509)
            return true;
    return false;
}

/* The one certificate among those sent; what names itself as its issuer is left to the search.  Only one that fits
 * better than `hint` counts. */
static X509 *guess_sent(struct path_search *s, const struct ia_path *path, X509 *x509, int hint, bool *ambiguous)
{
    X509 *found = NULL;
    for (size_t i = 0; i < s->n_sent; i++) {
        X509 *sent = s->sent[i].x509;
        if (!names_match(sent, x509) || names_match(sent, sent) || is_on_path(path, sent))
            continue;
        int fit = (int)ia_issuer_hint(sent, x509);
        if (fit <= hint)
            continue;
        *ambiguous = *ambiguous || found;
        found = sent;
    }
    return found;
}

/* True: the path ends in a registered CA, no signature verified yet. */
static bool guess_path(struct path_search *s, struct ia_path *path)
{
    for (path->n = 1; path->n < IA_CHAIN_MAX;) {
        X509 *x509 = path->certs[path->n - 1];
        int hint;
        bool ambiguous = false;
        const struct ia_ca_key *key = guess_registered(s, x509, &hint, &ambiguous);
        X509 *sent = guess_sent(s, path, x509, hint, &ambiguous);
        if (ambiguous || (!key && !sent))
            return false;
        if (!sent) {
            path->anchor = best_of_key(s, key, x509);
            return true;
        }
        if (path->n == IA_CHAIN_MAX - 1)
            return false;
        path->certs[path->n++] = sent;
    }
    return false;
}

/* From the registered CA down to the leaf. */
static bool verify_guess(struct path_search *s, const struct ia_path *path)
{
    X509 *issuer = path->anchor->cert->x509;
    for (size_t i = path->n; i-- > 0;) {
        if (!verify_signature(s, path->certs[i], issuer))
            return false;
        issuer = path->certs[i];
    }
    return true;
}

/* ---- the search */

static void mark_reachable(struct path_search *s, X509 *x509)
{
    for (size_t i = 0; i < s->n_sent; i++)
        if (names_match(s->sent[i].x509, x509))
            s->sent[i].reachable = true;
}

/* SENT_MAX rounds reach whatever can be reached. */
static void mark_all_reachable(struct path_search *s)
{
    mark_reachable(s, s->leaf);
    for (size_t round = 0; round < s->n_sent; round++)
        for (size_t i = 0; i < s->n_sent; i++)
            if (s->sent[i].reachable)
                mark_reachable(s, s->sent[i].x509);
}

/* Certificates within their validity first: of two that fit, the first is taken. */
static void order_by_validity(struct path_search *s)
{
    struct path_candidate ordered[SENT_MAX] = {0};
    size_t n = 0;
    for (int want = 1; want >= 0; want--)
        for (size_t i = 0; i < s->n_sent; i++)
            if (is_valid_at(s->sent[i].x509, s->now) == want)
                ordered[n++] = s->sent[i];
    memcpy(s->sent, ordered, n * sizeof *ordered);
}

static const struct path_candidate *sent_signer(struct path_search *s, X509 *x509, size_t height, int hint)
{
    for (size_t i = 0; i < s->n_sent; i++) {
        struct path_candidate *c = &s->sent[i];
        if (c->height == height && c->x509 != x509 && names_match(c->x509, x509) &&
            (int)ia_issuer_hint(c->x509, x509) == hint && verify_signature(s, x509, c->x509))
            return c;
    }
    return NULL;
}

/* Find the certificates that a registered CA (height 1) or one at the height below vouches for.  Those whose
 * identifiers fit come first, for all of them: the cost is spent on what is likely. */
static void raise_to_height(struct path_search *s, size_t height)
{
    for (int hint = IA_HINTS - 1; hint >= 0; hint--) {
        for (size_t i = 0; i < s->n_sent; i++) {
            struct path_candidate *c = &s->sent[i];
            if (!c->reachable || c->height != 0)
                continue;
            c->anchor = height == 1 ? registered_signer(s, c->x509, hint) : NULL;
            c->via = height > 1 ? sent_signer(s, c->x509, height - 1, hint) : NULL;
            c->height = c->anchor || c->via ? height : 0;
        }
    }
}

static void set_path(struct ia_path *path, X509 *leaf, const struct path_candidate *c)
{
    path->certs[0] = leaf;
    path->n = 1;
    for (; c; c = c->via) {
        path->certs[path->n++] = c->x509;
        path->anchor = c->anchor;
    }
}

static bool search_from_leaf(struct path_search *s, struct ia_path *path, size_t height)
{
    for (int hint = IA_HINTS - 1; hint >= 0; hint--) {
        const struct ia_ca *anchor = height == 0 ? registered_signer(s, s->leaf, hint) : NULL;
        const struct path_candidate *c = height > 0 ? sent_signer(s, s->leaf, height, hint) : NULL;
        if (!anchor && !c)
            continue;
        set_path(path, s->leaf, c);
        if (anchor)
            path->anchor = anchor;
        return true;
    }
    return false;
}

static bool search_path(struct path_search *s, struct ia_path *path)
{
    path->anchor = NULL;
    path->n = 1;
    if (search_from_leaf(s, path, 0))
        return true;
    order_by_validity(s);
    mark_all_reachable(s);
    for (size_t height = 1; height <= IA_CHAIN_MAX - 2; height++) {
        raise_to_height(s, height);
        if (search_from_leaf(s, path, height))
            return true;
    }
    return false;
}

static void refuse_path(struct ia_path *out, enum ia_reason reason, int x509_error, const char *detail)
{
    out->anchor = NULL;
    out->reason = reason;
    out->x509_error = x509_error;
    out->detail = detail;
}

static void explain_no_path(const struct path_search *s, struct ia_path *out)
{
    if (s->cost_exceeded)
        refuse_path(out, IA_R_CHAIN_INVALID, X509_V_ERR_CERT_REJECTED,
                    "limit on signature checks reached (too many or slow keys): register the issuing CA itself");
    else if (s->problem)
        refuse_path(out, IA_R_CHAIN_INVALID, X509_V_ERR_CERT_REJECTED, s->problem);
    else if (s->forged)
        refuse_path(out, IA_R_CHAIN_INVALID, X509_V_ERR_CERT_SIGNATURE_FAILURE,
                    "a registered CA has the issuer's name, but did not sign it");
    else
        refuse_path(out, IA_R_CA_UNKNOWN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
                    "no registered CA signed it or an intermediate that was sent");
}

void ia_path_find(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_path *out)
{
    struct path_search s = {.set = set, .leaf = leaf, .now = now};
    *out = (struct ia_path){.certs = {leaf}, .n = 1};
    if (has_too_many_names(leaf)) {
        refuse_path(out, IA_R_CHAIN_INVALID, X509_V_ERR_CERT_REJECTED,
                    "the authority key identifier has more than 8 issuer names");
        return;
    }
    for (int i = 0; i < sk_X509_num(sent); i++)
        add_sent(&s, sk_X509_value(sent, i));
    (void)afford_cost(&s, ia_key_cost(X509_get0_pubkey(leaf))); /* TLS verifies the handshake's signature with it */
    bool found = (guess_path(&s, out) && verify_guess(&s, out)) || search_path(&s, out);
    if (!found)
        explain_no_path(&s, out);
}
