// SPDX-License-Identifier: ISC
/* token make: an access token of an issuer for trying out, by libjwt.  Its claims are those of RFC 9068; `typ` is at+jwt
 * only by a libjwt that lets it be set (1.10 writes JWT, which issuers accept by default). */
#include "cli/input.h"
#include "cli/try_out.h"
#include "common/clock.h"
#include "common/str.h"

#include <inttypes.h>
#include <jansson.h>
#include <jwt.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX    65536
#define LIFETIME_S 600
#define LONGEST_S  (366 * 86400)

struct mint {
    const struct ia_call *call;
    json_t *issuer; /* IA_TRY_OUT_ISSUER */
    char *key;      /* PEM */
    int64_t lifetime_s;
};

/* "10m": a number with s, m, h or d; seconds without. */
static enum ia_rc parse_lifetime(const char *text, int64_t *out, struct ia_err *err)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'\0', 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end = NULL;
    long long n = strtoll(text, &end, 10);
    for (size_t i = 0; i < IA_COUNT(units); i++)
        if (end != text && *end == units[i].unit && (!*end || !end[1]) && n > 0 && n <= LONGEST_S / units[i].seconds) {
            *out = n * units[i].seconds;
            return IA_OK;
        }
    return ia_fail(err, IA_USAGE, "--expires-in '%.20s' is not a time such as 90s, 10m, 2h or 1d, at most 366d", text);
}

static enum ia_rc read_file(const struct mint *m, const char *name, char **out, struct ia_err *err)
{
    ia_autofree char *path = NULL;
    if (asprintf(&path, "%s/%s", ia_call_get(m->call, "dir"), name) < 0)
        return ia_nomem(err);
    return ia_cli_read_text(path, KEY_MAX, out, err);
}

static enum ia_rc read_folder(struct mint *m, struct ia_err *err)
{
    ia_autofree char *text = NULL;
    const char *name = ia_call_get(m->call, "issuer");
    enum ia_rc rc = read_file(m, IA_TRY_OUT_ISSUER, &text, err);
    if (rc != IA_OK)
        return rc;
    m->issuer = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *of = json_string_value(json_object_get(m->issuer, "name"));
    if (!of || strcmp(of, name) != 0)
        return ia_fail(err, IA_USAGE, "the folder is that of issuer '%.60s', not of '%.60s'", of ? of : "(unreadable)",
                       name);
    return read_file(m, IA_TRY_OUT_KEY, &m->key, err);
}

/* NAME=JSON into the claims. */
static enum ia_rc add_claim(json_t *claims, const char *text, struct ia_err *err)
{
    const char *equals = strchr(text, '=');
    json_error_t error;
    if (!equals || equals == text)
        return ia_fail(err, IA_USAGE, "--claim '%.60s' is not NAME=JSON", text);
    ia_autofree char *name = strndup(text, (size_t)(equals - text));
    json_t *value = json_loads(equals + 1, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value)
        return ia_fail(err, IA_USAGE, "--claim %.60s: the value is not JSON (a text needs its quotes)", text);
    return name && json_object_set_new(claims, name, value) == 0 ? IA_OK : ia_nomem(err);
}

/* The claims of RFC 9068 section 2.2, then those that are asked for, which may replace them. */
static enum ia_rc make_claims(const struct mint *m, json_t **out, struct ia_err *err)
{
    const struct ia_values *scopes = ia_call_list(m->call, "scope"), *more = ia_call_list(m->call, "claim");
    const char *app = ia_call_get(m->call, "app");
    uint8_t random[16];
    char id[33];
    int64_t now = ia_wall_s();
    if (RAND_bytes(random, sizeof random) != 1)
        return ia_fail(err, IA_CRYPTO, "no random numbers");
    ia_hex(random, sizeof random, id);
    json_t *claims = json_pack("{s:O, s:O, s:s, s:s, s:I, s:I, s:s}", "iss", json_object_get(m->issuer, "issuer"),
                               "aud", json_object_get(m->issuer, "audience"), "sub", app, "client_id", app, "iat",
                               (json_int_t)now, "exp", (json_int_t)now + (json_int_t)m->lifetime_s, "jti", id);
    if (!claims)
        return ia_nomem(err);
    json_t *scope = json_string("");
    for (size_t i = 0; scope && i < scopes->n; i++) {
        json_t *longer = json_sprintf("%s%s%s", json_string_value(scope), i ? " " : "", scopes->items[i]);
        json_decref(scope);
        scope = longer;
    }
    enum ia_rc rc = scope && json_object_set_new(claims, "scope", scope) == 0 ? IA_OK : ia_nomem(err);
    for (size_t i = 0; rc == IA_OK && i < more->n; i++)
        rc = add_claim(claims, more->items[i], err);
    *out = claims;
    return rc;
}

static enum ia_rc sign_claims(const struct mint *m, const json_t *claims, char **out, struct ia_err *err)
{
    jwt_t *token = NULL;
    char *text = json_dumps(claims, JSON_COMPACT);
    const char *kid = json_string_value(json_object_get(m->issuer, "kid"));
    bool made = text && kid && m->key && jwt_new(&token) == 0 && jwt_add_grants_json(token, text) == 0 &&
                jwt_set_alg(token, JWT_ALG_ES256, (const unsigned char *)m->key, (int)strlen(m->key)) == 0 &&
                jwt_add_header(token, "typ", "at+jwt") == 0 && jwt_add_header(token, "kid", kid) == 0;
    *out = made ? jwt_encode_str(token) : NULL;
    jwt_free(token);
    free(text);
    return *out ? IA_OK : ia_fail(err, IA_CRYPTO, "libjwt made no token: is %s a private key?", IA_TRY_OUT_KEY);
}

static enum ia_rc print_token(const struct mint *m, struct ia_err *err)
{
    json_t *claims = NULL;
    char *token = NULL;
    enum ia_rc rc = make_claims(m, &claims, err);
    if (rc == IA_OK)
        rc = sign_claims(m, claims, &token, err);
    if (rc == IA_OK)
        puts(token);
    json_decref(claims);
    free(token);
    return rc;
}

int ia_try_out_token(const struct ia_call *call)
{
    struct mint m = {.call = call, .lifetime_s = LIFETIME_S};
    struct ia_err err = {0};
    const char *lifetime = ia_call_get(call, "expires-in");
    enum ia_rc rc = lifetime ? parse_lifetime(lifetime, &m.lifetime_s, &err) : IA_OK;
    if (rc == IA_OK)
        rc = read_folder(&m, &err);
    if (rc == IA_OK)
        rc = print_token(&m, &err);
    if (m.key)
        OPENSSL_cleanse(m.key, strlen(m.key));
    free(m.key);
    json_decref(m.issuer);
    return rc == IA_OK ? IA_EXIT_DONE : ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
}
