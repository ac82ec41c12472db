// SPDX-License-Identifier: ISC
/* OpenSSL compares each name of a certificate with each name constraint above it, and builds a tree of the policies: a
 * chain of 16 KiB can hold thousands of each.  These limits are far above what CAs issue. */
#include "x509/der.h"
#include "x509/private.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>

#define NAMES_MAX       1024  /* subject attributes and subjectAltNames of one certificate */
#define CONSTRAINTS_MAX 256   /* name constraints of one certificate */
#define POLICIES_MAX    64    /* policies, and policy mappings, of one certificate */
#define NAME_CHECKS_MAX 16384 /* comparisons over the whole path: 0.5 ms */

static struct ia_der_span extension_value(const X509 *x509, int nid)
{
    int at = X509_get_ext_by_NID(x509, nid, -1);
    if (at < 0)
        return (struct ia_der_span){0};
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(x509, at));
    return (struct ia_der_span){ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)};
}

/* Elements of the sequence that an extension consists of; malformed extensions are OpenSSL's to refuse. */
static size_t count_elements(struct ia_der_span value)
{
    struct ia_der_element sequence, element;
    size_t n = 0;
    if (!ia_der_take(&value, &sequence))
        return 0;
    while (ia_der_take(&sequence.content, &element))
        n++;
    return n;
}

static size_t count_names(const X509 *x509)
{
    return (size_t)X509_NAME_entry_count(X509_get_subject_name(x509)) +
           count_elements(extension_value(x509, NID_subject_alt_name));
}

/* NameConstraints ::= SEQUENCE { permittedSubtrees [0], excludedSubtrees [1] } */
static size_t count_constraints(const X509 *x509)
{
    struct ia_der_span value = extension_value(x509, NID_name_constraints);
    struct ia_der_element sequence, subtrees;
    size_t n = 0;
    if (!ia_der_take(&value, &sequence))
        return 0;
    while (ia_der_take(&sequence.content, &subtrees))
        n += count_elements(subtrees.whole);
    return n;
}

static const char *certificate_limit_problem(const X509 *x509)
{
    if (count_names(x509) > NAMES_MAX)
        return "a certificate with more than 1024 names";
    if (count_constraints(x509) > CONSTRAINTS_MAX)
        return "a certificate with more than 256 name constraints";
    if (count_elements(extension_value(x509, NID_certificate_policies)) > POLICIES_MAX ||
        count_elements(extension_value(x509, NID_policy_mappings)) > POLICIES_MAX)
        return "a certificate with more than 64 policies";
    return NULL;
}

const char *ia_path_limit_problem(const struct ia_path *path)
{
    size_t checks = 0, constraints = count_constraints(path->anchor->cert->x509);
    for (size_t i = path->n; i-- > 0;) { /* from the top: each certificate's names against all constraints above it */
        const char *problem = certificate_limit_problem(path->certs[i]);
        if (problem)
            return problem;
        checks += constraints * count_names(path->certs[i]);
        constraints += count_constraints(path->certs[i]);
    }
    return checks > NAME_CHECKS_MAX ? "too many names and name constraints" : NULL;
}
