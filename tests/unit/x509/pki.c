// SPDX-License-Identifier: ISC
#include "tests/unit/x509/pki.h"

#include "tests/unit/x509/make_cert.h"

#include <inttypes.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64

/* An extension that nobody knows, critical. */
#define UNKNOWN  "1.3.6.1.4.1.99999.1=critical,ASN1:UTF8String:x"
#define CA_BASIC "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign"
#define DEV_KU   "keyUsage=critical,digitalSignature"

/* Whatever is not given: a leaf's and CA's usual extensions are written out, so that each row can be read alone. */
static const struct {
    const char *name, *issuer, *subject, *key, *ext;
    struct mc_cert more;
} certs[] = {
    {"root", NULL, "/CN=Root", "p256:root", MC_ROOT, {.serial = 1}},
    {"inter", "root", "/CN=Inter", "p256:inter", MC_CA, {.serial = 2}},
    {"sub", "inter", "/CN=Sub", "p256:sub", MC_CA, {.serial = 3}},
    {"leaf", "inter", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.serial = 100}},
    {"leaf_of_root", "root", "/CN=dev-2", "p256:leaf", MC_DEVICE, {.serial = 101}},
    {"leaf_of_sub", "sub", "/CN=dev-3", "p256:leaf", MC_DEVICE, {.serial = 102}},
    /* other keys */
    {"rsa_root", NULL, "/CN=RSA Root", "rsa2048:root", MC_ROOT, {0}},
    {"rsa_leaf", "rsa_root", "/CN=dev-1", "rsa2048:leaf", MC_DEVICE, {0}},
    {"ed_root", NULL, "/CN=Ed Root", "ed25519:root", MC_ROOT, {0}},
    {"ed_leaf", "ed_root", "/CN=dev-1", "ed25519:leaf", MC_DEVICE, {0}},
    {"ed_leaf_of_rsa", "rsa_root", "/CN=dev-1", "ed25519:leaf", MC_DEVICE, {0}},
    {"rsa_leaf_of_ed", "ed_root", "/CN=dev-1", "rsa2048:leaf", MC_DEVICE, {0}},
    {"p384_leaf", "root", "/CN=dev-1", "p384:leaf", MC_DEVICE, {.md = "SHA384"}},
    /* leaves of every kind, under the root */
    {"plain_leaf", "root", "/CN=dev-1", "p256:leaf", NULL, {0}},
    {"v1_leaf", "root", "/CN=dev-1", "p256:leaf", NULL, {.version = 1}},
    {"ku_only_leaf", "root", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"both_eku_leaf", "root", "/CN=dev-1", "p256:leaf", DEV_KU "|extendedKeyUsage=serverAuth,clientAuth", {0}},
    {"server_leaf", "root", "/CN=dev-1", "p256:leaf", DEV_KU "|extendedKeyUsage=serverAuth", {0}},
    {"any_eku_leaf", "root", "/CN=dev-1", "p256:leaf", DEV_KU "|extendedKeyUsage=anyExtendedKeyUsage", {0}},
    {"encipher_leaf", "root", "/CN=dev-1", "rsa2048:leaf", "keyUsage=critical,keyEncipherment", {0}},
    {"agreement_leaf", "root", "/CN=dev-1", "p256:leaf", "keyUsage=critical,keyAgreement", {0}},
    {"ca_leaf", "root", "/CN=dev-1", "p256:leaf", "basicConstraints=critical,CA:TRUE", {0}},
    {"certsign_leaf", "root", "/CN=dev-1", "p256:leaf", "keyUsage=critical,digitalSignature,keyCertSign", {0}},
    {"critical_leaf", "root", "/CN=dev-1", "p256:leaf", UNKNOWN, {0}},
    {"policy_leaf", "root", "/CN=dev-1", "p256:leaf", "2.5.29.32=critical,DER:3007300506032A0304", {0}},
    {"proxy_leaf",
     "root",
     "/CN=dev-1",
     "p256:leaf",
     "1.3.6.1.5.5.7.1.14=critical,DER:300C300A06082B06010505071501",
     {0}},
    {"sha1_leaf", "root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.md = "SHA1"}},
    {"rsa1024_leaf", "root", "/CN=dev-1", "rsa1024:leaf", MC_DEVICE, {0}},
    {"expired_leaf", "root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.to = MC_NOW - 1}},
    {"future_leaf", "root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.from = MC_NOW + 60}},
    {"first_second_leaf", "root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.from = MC_NOW}},
    {"last_second_leaf", "root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.to = MC_NOW}},
    {"self_leaf", NULL, "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"nameless_leaf", "root", "", "p256:leaf", MC_DEVICE "|subjectAltName=critical,DNS:dev-1", {0}},
    {"forged_leaf", "root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.issuer_key = "p256:attacker"}},
    {"forged_leaf_no_ids", "root", "/CN=dev-1", "p256:leaf", DEV_KU, {.issuer_key = "p256:attacker"}},
    {"root_key_leaf", "inter", "/CN=Root", "p256:root", MC_DEVICE, {0}},
    /* CAs that are no good */
    {"old_root", NULL, "/CN=Old Root", "p256:old", MC_ROOT, {.to = MC_NOW - 1}},
    {"leaf_of_old", "old_root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"last_second_root", NULL, "/CN=Last Root", "p256:last", MC_ROOT, {.to = MC_NOW}},
    {"leaf_of_last", "last_second_root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"next_root", NULL, "/CN=Next Root", "p256:next", MC_ROOT, {.from = MC_NOW + 60}},
    {"leaf_of_next", "next_root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"expired_inter", "root", "/CN=Expired", "p256:expired", MC_CA, {.to = MC_NOW - 1}},
    {"leaf_of_expired", "expired_inter", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"no_ca", "root", "/CN=No CA", "p256:noca", MC_DEVICE, {0}},
    {"leaf_of_no_ca", "no_ca", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"v1_ca", NULL, "/CN=V1 CA", "p256:v1", NULL, {.version = 1}},
    {"leaf_of_v1", "v1_ca", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"no_sign_ca", NULL, "/CN=No Sign", "p256:nosign", "basicConstraints=critical,CA:TRUE|keyUsage=cRLSign", {0}},
    {"leaf_of_no_sign", "no_sign_ca", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"server_ca", "root", "/CN=Server CA", "p256:server", CA_BASIC "|extendedKeyUsage=serverAuth", {0}},
    {"leaf_of_server", "server_ca", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"critical_ca", "root", "/CN=Critical CA", "p256:critical", CA_BASIC "|" UNKNOWN, {0}},
    {"leaf_of_critical", "critical_ca", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"sha1_inter", "root", "/CN=SHA-1", "p256:sha1", MC_CA, {.md = "SHA1"}},
    {"leaf_of_sha1", "sha1_inter", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"sha1_root", NULL, "/CN=SHA-1 Root", "p256:sha1root", MC_ROOT, {.md = "SHA1"}},
    {"leaf_of_sha1_root", "sha1_root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"sha1_leaf_of_sha1_root", "sha1_root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.md = "SHA1"}},
    {"any_eku_ca", "root", "/CN=Any CA", "p256:any", CA_BASIC "|extendedKeyUsage=anyExtendedKeyUsage", {0}},
    {"leaf_of_any_eku", "any_eku_ca", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"rsa1024_ca", NULL, "/CN=Small", "rsa1024:ca", MC_ROOT, {0}},
    {"leaf_of_rsa1024", "rsa1024_ca", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"rsa1024_inter", "root", "/CN=Small Inter", "rsa1024:ca", MC_CA, {0}},
    {"leaf_of_rsa1024_inter", "rsa1024_inter", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    /* constraints */
    {"pathlen0",
     NULL,
     "/CN=Short",
     "p256:short",
     "basicConstraints=critical,CA:TRUE,pathlen:0|keyUsage=keyCertSign",
     {0}},
    {"leaf_of_pathlen0", "pathlen0", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"sub_of_pathlen0", "pathlen0", "/CN=Short Sub", "p256:short2", CA_BASIC, {0}},
    {"leaf_too_deep", "sub_of_pathlen0", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"permits_acme",
     NULL,
     "/CN=Acme only",
     "p256:nc",
     CA_BASIC "|nameConstraints=critical,permitted;DNS:acme.example",
     {0}},
    {"leaf_in_acme", "permits_acme", "/CN=dev-1", "p256:leaf", "subjectAltName=DNS:d.acme.example", {0}},
    {"leaf_outside", "permits_acme", "/CN=dev-1", "p256:leaf", "subjectAltName=DNS:d.other.example", {0}},
    {"host_leaf_of_acme", "permits_acme", "/CN=sensor-1.plant-7", "p256:leaf", DEV_KU, {0}},
    {"host_leaf_with_san",
     "permits_acme",
     "/CN=sensor-1.plant-7",
     "p256:leaf",
     "subjectAltName=DNS:d.other.example",
     {0}},
    {"host_leaf_evil", "excludes_evil", "/CN=d.evil.example", "p256:leaf", DEV_KU, {0}},
    {"sub_of_acme", "permits_acme", "/CN=Acme sub", "p256:ncsub", CA_BASIC, {0}},
    {"leaf_outside_deep", "sub_of_acme", "/CN=dev-1", "p256:leaf", "subjectAltName=DNS:d.other.example", {0}},
    {"excludes_evil",
     "root",
     "/CN=No evil",
     "p256:nc2",
     CA_BASIC "|nameConstraints=critical,excluded;DNS:evil.example",
     {0}},
    {"leaf_evil", "excludes_evil", "/CN=dev-1", "p256:leaf", "subjectAltName=DNS:d.evil.example", {0}},
    /* the same names: roll-over without key identifiers */
    {"roll_a", NULL, "/CN=Roll", "p256:roll_a", CA_BASIC, {.serial = 1}},
    {"roll_b", NULL, "/CN=Roll", "p256:roll_b", CA_BASIC, {.serial = 2}},
    {"roll_c", NULL, "/CN=Roll", "ed25519:roll_c", CA_BASIC, {.serial = 3}},
    {"leaf_a", "roll_a", "/CN=dev-1", "p256:leaf", DEV_KU, {.serial = 100}},
    {"leaf_b", "roll_b", "/CN=dev-1", "p256:leaf", DEV_KU, {.serial = 101}},
    {"leaf_c", "roll_c", "/CN=dev-1", "p256:leaf", DEV_KU, {.serial = 102}},
    {"forged_leaf_of_roll", "roll_a", "/CN=dev-1", "p256:leaf", DEV_KU, {.issuer_key = "p256:attacker"}},
    {"no_crl_ca", NULL, "/CN=No lists", "p256:nolists", "basicConstraints=critical,CA:TRUE|keyUsage=keyCertSign", {0}},
    {"roll_b_by_a", "roll_a", "/CN=Roll", "p256:roll_b", CA_BASIC, {.serial = 4}}, /* new with old: issues itself */
    {"old_key", NULL, "/CN=Keyed", "p256:keyed_a", MC_ROOT, {.serial = 1}},
    {"new_key", NULL, "/CN=Keyed", "p256:keyed_b", MC_ROOT, {.serial = 2}},
    {"new_with_old", "old_key", "/CN=Keyed", "p256:keyed_b", MC_CA, {.serial = 4}},
    {"leaf_of_new_key", "new_key", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.serial = 4}},
    {"mid_a", "root", "/CN=Mid", "p256:mid_a", CA_BASIC, {.serial = 50}},
    {"mid_b", "root", "/CN=Mid", "p256:mid_b", CA_BASIC, {.serial = 51}},
    {"leaf_mid_b", "mid_b", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    {"fake_root", NULL, "/CN=Root", "p256:attacker", MC_ROOT, {0}},
    {"fake_roll", NULL, "/CN=Roll", "p256:attacker", CA_BASIC, {0}},
    {"leaf_of_fake", "fake_root", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"leaf_of_fake_roll", "fake_roll", "/CN=dev-1", "p256:leaf", DEV_KU, {0}},
    /* one key in several certificates */
    {"root2", NULL, "/CN=Root Two", "p256:root2", MC_ROOT, {0}},
    {"inter_by_root2", "root2", "/CN=Inter", "p256:inter", MC_CA, {.serial = 7}},
    {"inter_other_case", "root2", "/CN=INTER", "p256:inter", CA_BASIC "|subjectKeyIdentifier=01:02:03", {.serial = 8}},
    {"leaf_of_other_case", "inter_other_case", "/CN=dev-1", "p256:leaf", DEV_KU "|authorityKeyIdentifier=keyid", {0}},
    {"inter_renewed", "root", "/CN=Inter", "p256:inter", MC_CA, {.serial = 9, .to = MC_NOW + 900 * MC_DAY}},
    {"inter_expired", "root", "/CN=Inter", "p256:inter", MC_CA, {.serial = 10, .to = MC_NOW - 1}},
    {"root_newskid", NULL, "/CN=Root", "p256:root", CA_BASIC "|subjectKeyIdentifier=01:02:03", {.serial = 13}},
    {"rsa_by_root2", "root2", "/CN=RSA Root", "rsa2048:root", MC_CA, {.loose_key = true}},
    {"leaf_of_loose", "rsa_by_root2", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"root_by_root2", "root2", "/CN=Root", "p256:root", MC_CA, {.serial = 11}},
    {"root2_by_root", "root", "/CN=Root Two", "p256:root2", MC_CA, {.serial = 12}},
    {"leaf_of_root2", "root2", "/CN=dev-1", "p256:leaf", MC_DEVICE, {.serial = 103}},
    /* long chains */
    {"d1", "root", "/CN=D1", "p256:d1", MC_CA, {0}},
    {"d2", "d1", "/CN=D2", "p256:d2", MC_CA, {0}},
    {"d3", "d2", "/CN=D3", "p256:d3", MC_CA, {0}},
    {"d4", "d3", "/CN=D4", "p256:d4", MC_CA, {0}},
    {"d5", "d4", "/CN=D5", "p256:d5", MC_CA, {0}},
    {"d6", "d5", "/CN=D6", "p256:d6", MC_CA, {0}},
    {"d7", "d6", "/CN=D7", "p256:d7", MC_CA, {0}},
    {"d8", "d7", "/CN=D8", "p256:d8", MC_CA, {0}},
    {"leaf_of_d6", "d6", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"leaf_of_d7", "d7", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
    {"leaf_of_d8", "d8", "/CN=dev-1", "p256:leaf", MC_DEVICE, {0}},
};

static const int64_t revokes_leaf[] = {50, 100, 999, 0}, revokes_inter[] = {2, 0}, revokes_other[] = {77, 0};

static const struct {
    const char *name, *issuer;
    struct mc_crl more;
} crls[] = {
    {"revokes_leaf", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_leaf}},
    {"empty", "inter", {.issuer_key = "p256:inter", .number = 4}},
    {"newer_empty", "inter", {.issuer_key = "p256:inter", .number = 6}},
    {"other", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_other}},
    {"unnumbered", "inter", {.issuer_key = "p256:inter", .revoked = revokes_leaf, .from = MC_NOW - 3 * MC_DAY}},
    {"unnumbered_newer", "inter", {.issuer_key = "p256:inter", .from = MC_NOW - MC_DAY}},
    {"stale", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_leaf, .to = MC_NOW - 1}},
    {"early", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_leaf, .from = MC_NOW + 60}},
    {"no_next", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_leaf, .to = -1}},
    {"forged", "inter", {.issuer_key = "p256:attacker", .number = 99}},
    {"held", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_leaf, .reason = 6}},
    {"removed", "inter", {.issuer_key = "p256:inter", .number = 5, .revoked = revokes_leaf, .reason = 8}},
    {"indirect",
     "inter",
     {.issuer_key = "p256:inter", .number = 9, .ext = "issuingDistributionPoint=critical,indirectCRL:TRUE"}},
    {"attributes",
     "inter",
     {.issuer_key = "p256:inter", .number = 9, .ext = "issuingDistributionPoint=critical,onlyAA:TRUE"}},
    {"users_only",
     "inter",
     {.issuer_key = "p256:inter",
      .number = 9,
      .revoked = revokes_leaf,
      .ext = "issuingDistributionPoint=critical,onlyuser:TRUE"}},
    {"delta", "inter", {.issuer_key = "p256:inter", .number = 9, .ext = "deltaCRL=critical,ASN1:INTEGER:5"}},
    {"critical", "inter", {.issuer_key = "p256:inter", .number = 9, .ext = UNKNOWN}},
    {"entry_critical",
     "inter",
     {.issuer_key = "p256:inter",
      .number = 9,
      .revoked = revokes_leaf,
      .entry_ext = "2.5.29.29=critical,DER:3003820161"}},
    {"of_root", "root", {.issuer_key = "p256:root", .number = 1, .revoked = revokes_inter}},
    {"root_empty", "root", {.issuer_key = "p256:root", .number = 1}},
    {"root_stale", "root", {.issuer_key = "p256:root", .number = 1, .to = MC_NOW - 1}},
    {"of_no_crl_ca", "no_crl_ca", {.issuer_key = "p256:nolists", .number = 1}},
    {"of_roll_a", "roll_a", {.issuer_key = "p256:roll_a", .number = 1, .revoked = revokes_leaf}},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

_Noreturn static void unknown(const char *name)
{
    fprintf(stderr, "pki: no '%s'\n", name);
    abort();
}

static X509 *make(size_t i)
{
    struct mc_cert spec = certs[i].more;
    spec.subject = certs[i].subject;
    spec.key = certs[i].key;
    spec.ext = certs[i].ext;
    for (size_t k = 0; certs[i].issuer && k < COUNT(certs); k++) {
        if (strcmp(certs[k].name, certs[i].issuer) != 0)
            continue;
        spec.issuer = pki_cert(certs[i].issuer);
        if (!spec.issuer_key)
            spec.issuer_key = certs[k].key;
    }
    return mc_cert(&spec);
}

X509 *pki_cert(const char *name)
{
    static X509 *kept[COUNT(certs)];
    for (size_t i = 0; i < COUNT(certs); i++) {
        if (strcmp(certs[i].name, name) != 0)
            continue;
        if (!kept[i])
            kept[i] = make(i);
        return kept[i];
    }
    unknown(name);
}

X509_CRL *pki_crl(const char *name)
{
    static X509_CRL *kept[COUNT(crls)];
    for (size_t i = 0; i < COUNT(crls); i++) {
        if (strcmp(crls[i].name, name) != 0)
            continue;
        struct mc_crl spec = crls[i].more;
        spec.issuer = pki_cert(crls[i].issuer);
        if (!kept[i])
            kept[i] = mc_crl(&spec);
        return kept[i];
    }
    unknown(name);
}

static size_t split(char *text, const char *at, char *out[WORDS_MAX])
{
    size_t n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, at, &rest); word && n < WORDS_MAX; word = strtok_r(NULL, at, &rest))
        out[n++] = word;
    return n;
}

static struct ia_cert *parsed_cert(const char *name)
{
    struct ia_cert *cert = NULL;
    struct ia_err err;
    char *pem = mc_pem(pki_cert(name));
    if (ia_cert_parse_pem(pem, &cert, &err) != IA_OK)
        unknown(err.msg);
    free(pem);
    return cert;
}

static struct ia_crl_spec parsed_crl(const char *name)
{
    struct ia_crl_spec spec = {.pem = mc_crl_pem(pki_crl(name))};
    struct ia_err err;
    if (ia_crl_parse_pem(spec.pem, &spec.crl, &err) != IA_OK)
        unknown(err.msg);
    return spec;
}

static char problems[4096];

static void note_problem(void *ctx, int64_t ca_id, const char *text)
{
    (void)ctx;
    size_t used = strlen(problems);
    (void)snprintf(problems + used, sizeof problems - used, "%" PRId64 ": %s\n", ca_id, text);
}

const char *pki_problems(void)
{
    return problems;
}

static void fill_spec(struct ia_ca_spec *spec, struct ia_crl_spec *list, char *word, int64_t ca_id)
{
    char *parts[WORDS_MAX] = {0};
    size_t n = split(word, "+", parts);
    if (n == 0)
        unknown(word);
    bool active = parts[0][0] != '-';
    for (size_t i = 1; i < n; i++)
        list[i - 1] = parsed_crl(parts[i]);
    *spec = (struct ia_ca_spec){.ca_id = ca_id, .active = active, .cert = parsed_cert(parts[0] + !active)};
    spec->crls = list;
    spec->n_crls = n - 1;
}

struct ia_ca_set *pki_set(const char *list, int64_t now)
{
    char *copy = strdup(list), *words[WORDS_MAX];
    struct ia_ca_spec specs[WORDS_MAX];
    static struct ia_crl_spec lists[WORDS_MAX][8];
    struct ia_ca_set *set = NULL;
    struct ia_err err;
    size_t n = split(copy, " ", words);
    for (size_t i = 0; i < n; i++)
        fill_spec(&specs[i], lists[i], words[i], (int64_t)i + 1);
    problems[0] = '\0';
    const struct ia_problem_callback callback = {.report = note_problem};
    const struct ia_ca_set_input input = {.cas = specs, .n = n, .now = now, .problems = &callback};
    if (ia_ca_set_build(&input, &set, &err) != IA_OK)
        unknown(err.msg);
    for (size_t i = 0; i < n; i++) {
        ia_cert_free(specs[i].cert);
        for (size_t k = 0; k < specs[i].n_crls; k++) {
            ia_crl_free(lists[i][k].crl);
            free((char *)lists[i][k].pem);
        }
    }
    free(copy);
    return set;
}

STACK_OF(X509) * pki_stack(const char *list)
{
    char *copy = strdup(list), *words[WORDS_MAX];
    STACK_OF(X509) *stack = sk_X509_new_null();
    size_t n = split(copy, " ", words);
    for (size_t i = 0; i < n; i++)
        (void)sk_X509_push(stack, pki_cert(words[i]));
    free(copy);
    return stack;
}
