// SPDX-License-Identifier: ISC
#include "cli/try_out.h"

#include "cli/registry.h"
#include "cli/run.h"
#include "common/str.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/encoder.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define P256_LEN 32 /* octets of a coordinate */

struct try_out {
    const struct ia_call *call;
    const char *name, *folder, *audience, *scope, *role;
    EVP_PKEY *key;
    unsigned char *pem; /* the private key; OpenSSL's memory */
    size_t pem_len;
    char kid[2 * 8 + 1];
    char *jwks, *issuer; /* the public half, and IA_TRY_OUT_ISSUER's text */
    bool has_made_folder;
    size_t n_made; /* of try_out_files: written by this run */
};

/* ---- the key pair */

static bool make_key(struct try_out *t)
{
    t->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    OSSL_ENCODER_CTX *encoder =
        t->key ? OSSL_ENCODER_CTX_new_for_pkey(t->key, EVP_PKEY_KEYPAIR, "PEM", "PrivateKeyInfo", NULL) : NULL;
    bool made = encoder && OSSL_ENCODER_to_data(encoder, &t->pem, &t->pem_len);
    OSSL_ENCODER_CTX_free(encoder);
    return made;
}

/* One coordinate of the public key, base64url of 32 octets (RFC 7518 6.2.1.2), as a JSON string. */
static json_t *coordinate(const struct try_out *t, const char *name)
{
    unsigned char octets[P256_LEN];
    char text[2 * P256_LEN];
    BIGNUM *number = NULL;
    if (!EVP_PKEY_get_bn_param(t->key, name, &number))
        return NULL;
    bool fits = BN_bn2binpad(number, octets, sizeof octets) == (int)sizeof octets;
    BN_free(number);
    if (!fits)
        return NULL;
    int len = EVP_EncodeBlock((unsigned char *)text, octets, sizeof octets);
    for (int i = 0; i < len; i++)
        text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    return json_stringn(text, strcspn(text, "="));
}

/* The texts that leave the program: a JWK set (RFC 7517), and what token make has to know. */
static bool describe_key(struct try_out *t)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    json_t *x = coordinate(t, OSSL_PKEY_PARAM_EC_PUB_X), *y = coordinate(t, OSSL_PKEY_PARAM_EC_PUB_Y);
    if (!x || !y || !EVP_Digest(t->pem, t->pem_len, hash, NULL, EVP_sha256(), NULL)) {
        json_decref(x);
        json_decref(y);
        return false;
    }
    ia_hex(hash, 8, t->kid);
    json_t *jwks = json_pack("{s:[{s:s, s:s, s:s, s:s, s:s, s:o, s:o}]}", "keys", "kty", "EC", "crv", "P-256", "use",
                             "sig", "alg", "ES256", "kid", t->kid, "x", x, "y", y);
    json_t *issuer = json_pack("{s:s, s:s+, s:s, s:s}", "name", t->name, "issuer", IA_TRY_OUT_PREFIX, t->name,
                               "audience", t->audience, "kid", t->kid);
    t->jwks = jwks ? json_dumps(jwks, JSON_COMPACT) : NULL;
    t->issuer = issuer ? json_dumps(issuer, JSON_INDENT(2)) : NULL;
    json_decref(jwks);
    json_decref(issuer);
    return t->jwks && t->issuer;
}

/* ---- the files */

static const char *const try_out_files[] = {IA_TRY_OUT_KEY, IA_TRY_OUT_ISSUER}; /* in the order of their writing */

static void remove_file(const struct try_out *t, const char *name)
{
    ia_autofree char *path = NULL;
    if (asprintf(&path, "%s/%s", t->folder, name) > 0)
        (void)unlink(path);
}

/* Without the issuer's row the key is of no use, and would be in the way of the next run. */
static void remove_made(struct try_out *t)
{
    while (t->n_made > 0)
        remove_file(t, try_out_files[--t->n_made]);
    if (t->has_made_folder)
        (void)rmdir(t->folder);
}

/* A new file that nobody else can read; one that exists is not touched. */
static bool write_file(struct try_out *t, const char *name, const void *text, size_t len)
{
    ia_autofree char *path = NULL;
    if (asprintf(&path, "%s/%s", t->folder, name) < 0)
        return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    t->n_made += fd >= 0;
    bool written = fd >= 0 && write(fd, text, len) == (ssize_t)len;
    if (!written)
        (void)ia_call_fail(t->call, 0, "%s: %s", path, strerror(errno));
    if (fd >= 0 && close(fd) != 0)
        written = false;
    return written;
}

static bool write_files(struct try_out *t)
{
    t->has_made_folder = mkdir(t->folder, 0700) == 0;
    if (!t->has_made_folder && errno != EEXIST) {
        (void)ia_call_fail(t->call, 0, "%s: %s", t->folder, strerror(errno));
        return false;
    }
    return write_file(t, IA_TRY_OUT_KEY, t->pem, t->pem_len) &&
           write_file(t, IA_TRY_OUT_ISSUER, t->issuer, strlen(t->issuer));
}

/* ---- the registry */

/* $1 name, $2 issuer, $3 audience, $4 jwks, $5 scope, $6 role: a role that does not exist yet may read devices/#. */
static const char register_sql[] =
    "SELECT iot_auth.register_issuer(name => $1, issuer => $2, audience => ARRAY[$3], algorithms => ARRAY['ES256'], "
    "jwks => $4::jsonb), CASE WHEN NOT EXISTS (SELECT FROM iot_auth.role r WHERE r.role = $6) THEN "
    "iot_auth.create_role($6)::text || iot_auth.add_rule($6, 'ALLOW', ARRAY['SUBSCRIBE', 'RECEIVE'], 'devices/#') END";
static const char map_sql[] = "SELECT iot_auth.map_scope($1, $5, $6)";

static const struct ia_query shown = {
    .sql =
        "SELECT i.name, i.issuer, i.status, i.audience::text[] AS audience, s.scope, s.role FROM iot_auth.oauth_issuer i "
        "JOIN iot_auth.scope_role s ON s.issuer_name = i.name WHERE i.name = $1",
    .record = true};

static bool run_statement(struct ia_registry *registry, const char *sql, const char *const *values)
{
    PGresult *result = ia_registry_run(registry, sql, values, 6);
    PQclear(result);
    return result != NULL;
}

static int register_try_out(struct try_out *t, struct ia_registry *registry)
{
    char issuer[256];
    const char *const values[] = {t->name, issuer, t->audience, t->jwks, t->scope, t->role};
    (void)snprintf(issuer, sizeof issuer, IA_TRY_OUT_PREFIX "%s", t->name);
    if (!ia_registry_do(registry, "BEGIN") || !run_statement(registry, register_sql, values) ||
        !run_statement(registry, map_sql, values))
        return ia_registry_status(registry);
    bool written = write_files(t);
    if (!written || !ia_registry_do(registry, "COMMIT")) {
        remove_made(t);
        return written ? ia_registry_status(registry) : IA_EXIT_USAGE; /* the transaction ends with the connection */
    }
    if (!t->call->quiet)
        fprintf(stderr,
                "%s: whoever can read %s/%s is every app of this issuer: delete the issuer's row when you have tried "
                "it out\n",
                t->call->program, t->folder, IA_TRY_OUT_KEY);
    return ia_run_query(registry, t->call, &shown, values, 6);
}

static const char *or_else(const char *value, const char *fallback)
{
    return value ? value : fallback;
}

static int add_try_out(const struct ia_call *call)
{
    struct try_out t = {.call = call,
                        .name = ia_call_get(call, "NAME"),
                        .folder = ia_call_get(call, "try-out"),
                        .audience = or_else(ia_call_get(call, "audience"), "mqtt"),
                        .scope = or_else(ia_call_get(call, "scope"), "telemetry:read"),
                        .role = or_else(ia_call_get(call, "role"), "try-out")};
    int status = IA_EXIT_DONE;
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (registry && make_key(&t) && describe_key(&t))
        status = register_try_out(&t, registry);
    else if (registry)
        status = ia_call_fail(call, IA_EXIT_USAGE, "no key pair could be made");
    ia_registry_close(registry);
    EVP_PKEY_free(t.key);
    if (t.pem)
        OPENSSL_clear_free(t.pem, t.pem_len);
    free(t.jwks);
    free(t.issuer);
    return status;
}

int ia_try_out_add(const struct ia_call *call)
{
    static const char *const other[] = {
        "issuer",         "jwks",         "jwks-url",       "algorithms",          "required-claims",
        "max-lifetime-s", "tenant",       "token-types",    "client-id-templates", "app-id-claim",
        "leeway-s",       "scope-claims", "audience-claims"};
    bool is_try_out = ia_call_has(call, "try-out");
    for (size_t i = 0; is_try_out && i < IA_COUNT(other); i++)
        if (ia_call_has(call, other[i]))
            return ia_call_fail(
                call, IA_EXIT_USAGE,
                "--try-out makes an issuer with the default settings: --%s does not go with it (issuer set changes it later)",
                other[i]);
    if (is_try_out)
        return add_try_out(call);
    if (ia_call_has(call, "scope") || ia_call_has(call, "role"))
        return ia_call_fail(call, IA_EXIT_USAGE, "--scope and --role go with --try-out; see issuer map");
    if (!ia_call_has(call, "issuer") || !ia_call_has(call, "audience"))
        return ia_call_fail(call, IA_EXIT_USAGE, "--issuer and --audience are required, or --try-out DIR");
    return ia_run_verb(call);
}
