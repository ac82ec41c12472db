// SPDX-License-Identifier: ISC
#include "oauth/claims.h"

#include "common/str.h"
#include "oauth/base64url.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TIME_MAX 253402300799.0 /* the last second of the year 9999; milliseconds by mistake lie beyond it */

int64_t ia_claims_expiry(int64_t exp, const struct ia_issuer *issuer)
{
    return exp + issuer->leeway_s;
}

/* ---- times */

/* A NumericDate (RFC 7519 section 2), fractions dropped; false when it is none, or too far away. */
static bool read_time(const json_t *value, int64_t *out)
{
    double seconds = json_number_value(value);
    if (!json_is_number(value) || !(seconds > -TIME_MAX && seconds <= TIME_MAX))
        return false;
    *out = (int64_t)seconds;
    if ((double)*out > seconds) /* a negative one: down, not towards zero */
        (*out)--;
    return true;
}

/* The refusal of a claim that counts: malformed where JSON holds what this program cannot, else of a wrong value. */
static enum ia_reason refuse_claim(const json_t *value, const char *name, const char *text, char detail[IA_DETAIL_MAX])
{
    if (!ia_json_readable(value))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "%s holds a NUL, a lone surrogate or a number out of range",
                              name);
    return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "%s %s", name, text);
}

static enum ia_reason check_times(const json_t *payload, const struct ia_issuer *issuer, int64_t now,
                                  struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    static const char not_a_time[] = "is not a time in seconds before the year 10000";
    const json_t *exp = ia_json_get(payload, "exp");
    const json_t *nbf = ia_json_get(payload, "nbf");
    const json_t *iat = ia_json_get(payload, "iat");
    int64_t from = 0;
    if (!exp)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "exp is missing");
    if (!read_time(exp, &out->exp))
        return refuse_claim(exp, "exp", not_a_time, detail);
    if (nbf && !read_time(nbf, &from))
        return refuse_claim(nbf, "nbf", not_a_time, detail);
    if (iat && !json_is_number(iat))
        return refuse_claim(iat, "iat", "is not a number", detail);
    out->not_before = nbf ? from - issuer->leeway_s : INT64_MIN;
    if (now >= ia_claims_expiry(out->exp, issuer))
        return ia_refusal_set(detail, IA_R_TOKEN_EXPIRED, "the token has expired: exp plus leeway is in the past");
    if (now < out->not_before)
        return ia_refusal_set(detail, IA_R_TOKEN_NOT_YET_VALID, "nbf minus leeway is in the future");
    return IA_R_NONE;
}

/* ---- audience */

static struct ia_slice slice_of(const json_t *text)
{
    return (struct ia_slice){json_string_value(text), json_string_length(text)};
}

/* Append a string, or the strings of an array, to out[max].  NULL, or why not in a static text. */
static const char *read_texts(const json_t *value, struct ia_slice *out, size_t max, size_t *n)
{
    size_t i;
    json_t *entry;
    if (json_is_string(value) && *n < max) {
        out[(*n)++] = slice_of(value);
        return NULL;
    }
    if (!json_is_array(value))
        return "is neither a string nor an array of strings";
    if (json_array_size(value) > max - *n)
        return "has too many entries";
    json_array_foreach(value, i, entry) {
        if (!json_is_string(entry))
            return "is neither a string nor an array of strings";
        out[(*n)++] = slice_of(entry);
    }
    return NULL;
}

static bool audience_differs_by_slash(const struct ia_issuer *issuer, const struct ia_claims *claims)
{
    for (size_t i = 0; i < claims->n_audience; i++)
        for (size_t k = 0; k < issuer->audience.n; k++)
            if (ia_texts_differ_by_slash(claims->audience[i].at, issuer->audience.items[k]))
                return true;
    return false;
}

static enum ia_reason check_audience(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *out,
                                     char detail[IA_DETAIL_MAX])
{
    const json_t *aud = ia_json_get(payload, "aud");
    if (!aud)
        return ia_refusal_set(detail, IA_R_TOKEN_AUDIENCE, "aud is missing");
    const char *why = read_texts(aud, out->audience, IA_AUDIENCE_MAX, &out->n_audience);
    if (json_array_size(aud) > IA_AUDIENCE_MAX)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "aud has more than %d entries", IA_AUDIENCE_MAX);
    if (why || !ia_json_readable(aud))
        return refuse_claim(aud, "aud", why, detail);
    for (size_t i = 0; i < out->n_audience; i++)
        if (ia_text_list_has(&issuer->audience, out->audience[i].at))
            return IA_R_NONE;
    return ia_refusal_set(detail, IA_R_TOKEN_AUDIENCE, "aud contains none of the issuer's audiences%s",
                          audience_differs_by_slash(issuer, out) ? ": it differs by a slash at its end" : "");
}

/* ---- who it is for */

static size_t count_members(const json_t *object)
{
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        n += !json_is_null(value);
    }
    return n;
}

/* `cnf` (RFC 7800, RFC 8705 section 3.1).  A proof that is not checked here must not count as given. */
static enum ia_reason read_binding(const json_t *payload, struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    bool wrong;
    size_t len;
    uint8_t hash[IA_BASE64URL_BYTES(43)];
    const json_t *cnf = ia_json_get(payload, "cnf");
    if (!cnf)
        return IA_R_NONE;
    const char *text = json_is_object(cnf) ? ia_json_text(cnf, "x5t#S256", &wrong) : NULL;
    if (!text || count_members(cnf) != 1)
        return ia_refusal_set(detail, IA_R_TOKEN_UNBOUND, "cnf requires a proof other than x5t#S256");
    if (strlen(text) != 43 || !ia_base64url_decode(text, 43, hash, &len))
        return ia_refusal_set(detail, IA_R_TOKEN_UNBOUND, "cnf x5t#S256 is not a SHA-256 in base64url");
    memcpy(out->cert_sha256, hash, IA_CERT_HASH_LEN);
    out->bound = true;
    return IA_R_NONE;
}

/* The claim that names the app: the issuer's app_id_claim, or the first of the usual claims that is present.  The next
 * is not tried when that claim is invalid: a client must not choose its name by spoiling another claim. */
static const json_t *find_app_id(const json_t *payload, const struct ia_issuer *issuer)
{
    static const char *const usual[] = {"client_id", "azp", "sub"};
    if (issuer->app_id_pointer)
        return ia_pointer_get(issuer->app_id_pointer, payload);
    if (issuer->app_id_claim)
        return ia_json_get(payload, issuer->app_id_claim);
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        const json_t *value = ia_json_get(payload, usual[i]);
        if (value)
            return value;
    }
    return NULL;
}

static enum ia_reason read_app_id(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *out,
                                  char detail[IA_DETAIL_MAX])
{
    const char *why = NULL;
    const json_t *value = find_app_id(payload, issuer);
    if (!value)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "no claim that names the app");
    if (!json_is_string(value) || !ia_json_readable(value))
        return refuse_claim(value, "the claim that names the app", "is not a string", detail);
    out->app_id = json_string_value(value);
    if (ia_value_valid(out->app_id, json_string_length(value), &why))
        return IA_R_NONE;
    return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "the claim that names the app is invalid: %s", why);
}

/* ---- scopes */

/* The scopes of a string, separated by spaces (RFC 6749 section 3.3).  False when they are too many. */
static bool split_scopes(const char *text, struct ia_claims *out)
{
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (out->n_scopes == IA_SCOPES_MAX)
            return false;
        out->scopes[out->n_scopes++] = (struct ia_slice){p, len};
        p += len;
    }
    return true;
}

/* `scope` and `scp`, each a string or an array of strings: RFC 8693 says a string, but Spring Authorization Server and
 * IdentityServer4 write an array into `scope`, Okta into `scp`, and Entra ID a string into `scp`. */
static enum ia_reason read_scopes(const json_t *payload, struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    static const char *const names[] = {"scope", "scp"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = ia_json_get(payload, names[i]);
        const char *why = NULL;
        if (!value)
            continue;
        if (json_array_size(value) > IA_SCOPES_MAX - out->n_scopes ||
            (json_is_string(value) && !split_scopes(json_string_value(value), out)))
            return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "more than %d scopes in scope and scp", IA_SCOPES_MAX);
        if (!json_is_string(value))
            why = read_texts(value, out->scopes, IA_SCOPES_MAX, &out->n_scopes);
        if (why || !ia_json_readable(value))
            return refuse_claim(value, names[i], why, detail);
    }
    return IA_R_NONE;
}

/* ---- variables */

/* A scalar claim as a value for ${claim.NAME}; false when it counts as unset. */
static bool keep_claim(const char *name, const json_t *value, struct ia_kept_claim *out)
{
    size_t len = strlen(name);
    *out = (struct ia_kept_claim){.name = name};
    if (len == 0 || len > IA_CLAIM_NAME_MAX)
        return false;
    if (json_is_string(value)) {
        out->text = json_string_value(value);
        return ia_value_valid(out->text, json_string_length(value), NULL);
    }
    if (json_is_boolean(value))
        out->text = json_is_true(value) ? "true" : "false";
    else if (json_is_integer(value))
        snprintf(out->number, sizeof out->number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        return false;
    return true;
}

static void read_claims(const json_t *payload, struct ia_claims *out)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)payload, name, value) {
        if (out->n_claims == IA_CLAIMS_MAX)
            return;
        if (keep_claim(name, value, &out->claims[out->n_claims]))
            out->n_claims++;
    }
}

enum ia_reason ia_claims_validate(const json_t *payload, const struct ia_issuer *issuer, int64_t now,
                                  struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    out->n_audience = out->n_scopes = out->n_claims = 0;
    out->bound = false;
    enum ia_reason reason = check_times(payload, issuer, now, out, detail);
    if (reason == IA_R_NONE)
        reason = check_audience(payload, issuer, out, detail);
    if (reason == IA_R_NONE)
        reason = read_binding(payload, out, detail);
    if (reason == IA_R_NONE)
        reason = read_app_id(payload, issuer, out, detail);
    if (reason == IA_R_NONE)
        reason = read_scopes(payload, out, detail);
    if (reason == IA_R_NONE)
        read_claims(payload, out);
    return reason;
}
