// SPDX-License-Identifier: ISC
#include "oauth/claims.h"

#include "common/str.h"
#include "oauth/base64url.h"
#include "oauth/claim_values.h"

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

/* A lifetime that the issuer does not allow makes a leaked token useful for too long.  Without iat it is not known. */
enum ia_reason ia_claims_check_lifetime(const struct ia_issuer *issuer, int64_t iat, int64_t exp,
                                        char detail[IA_DETAIL_MAX])
{
    if (issuer->max_lifetime_s == 0)
        return IA_R_NONE;
    if (iat == INT64_MIN)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "iat is missing, and the issuer has max_lifetime_s");
    if (exp - iat > issuer->max_lifetime_s)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "exp - iat is longer than max_lifetime_s");
    return IA_R_NONE;
}

static enum ia_reason check_times(const json_t *payload, const struct ia_issuer *issuer, int64_t now,
                                  struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    static const char not_a_time[] = "is not a time in seconds before the year 10000";
    const json_t *exp = ia_json_get(payload, "exp");
    const json_t *nbf = ia_json_get(payload, "nbf");
    const json_t *iat = ia_json_get(payload, "iat");
    int64_t from = INT64_MIN;
    if (!exp)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "exp is missing");
    if (!read_time(exp, &out->exp))
        return refuse_claim(exp, "exp", not_a_time, detail);
    if (nbf && !read_time(nbf, &from))
        return refuse_claim(nbf, "nbf", not_a_time, detail);
    out->iat = INT64_MIN;
    if (iat && !read_time(iat, &out->iat))
        return refuse_claim(iat, "iat", not_a_time, detail);
    int64_t latest = from > out->iat ? from : out->iat;
    out->not_before = latest == INT64_MIN ? INT64_MIN : latest - issuer->leeway_s;
    if (now >= ia_claims_expiry(out->exp, issuer))
        return ia_refusal_set(detail, IA_R_TOKEN_EXPIRED, "the token has expired: exp plus leeway is in the past");
    if (now < out->not_before)
        return ia_refusal_set(detail, IA_R_TOKEN_NOT_YET_VALID, "%s minus leeway is in the future",
                              from > out->iat ? "nbf" : "iat");
    return ia_claims_check_lifetime(issuer, out->iat, out->exp, detail);
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
    if (json_is_string(value) && *n == max)
        return "has too many entries";
    if (json_is_string(value)) {
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

/* `aud` for /aud, a deeper pointer as it is. */
static const char *claim_name(const struct ia_pointer *pointer)
{
    const char *text = ia_pointer_text(pointer);
    return strchr(text + 1, '/') || strchr(text, '~') ? text : text + 1;
}

static bool audience_differs_by_slash(const struct ia_issuer *issuer, const struct ia_claims *claims)
{
    for (size_t i = 0; i < claims->n_audience; i++)
        for (size_t k = 0; k < issuer->audience.n; k++)
            if (ia_texts_differ_by_slash(claims->audience[i].at, issuer->audience.items[k]))
                return true;
    return false;
}

/* Read the values under one of the audience_claims. */
static enum ia_reason read_audience_claim(const json_t *payload, const struct ia_pointer *pointer,
                                          struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    const json_t *aud = ia_pointer_get(pointer, payload);
    const char *name = claim_name(pointer);
    if (!aud)
        return IA_R_NONE;
    if (json_array_size(aud) > IA_AUDIENCE_MAX - out->n_audience)
        return ia_refusal_set(detail, IA_R_TOKEN_CLAIMS, "%.100s has more than %d entries", name, IA_AUDIENCE_MAX);
    const char *why = read_texts(aud, out->audience, IA_AUDIENCE_MAX, &out->n_audience);
    return why || !ia_json_readable(aud) ? refuse_claim(aud, name, why, detail) : IA_R_NONE;
}

static enum ia_reason read_audience(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *out,
                                    char detail[IA_DETAIL_MAX])
{
    enum ia_reason reason = IA_R_NONE;
    out->n_audience = 0;
    for (size_t i = 0; i < issuer->audience_claims.n && reason == IA_R_NONE; i++)
        reason = read_audience_claim(payload, issuer->audience_claims.items[i], out, detail);
    return reason;
}

static bool has_audience(const struct ia_issuer *issuer, const struct ia_claims *claims)
{
    for (size_t i = 0; i < claims->n_audience; i++)
        if (ia_text_list_has(&issuer->audience, claims->audience[i].at))
            return true;
    return false;
}

bool ia_claims_fit_audience(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *scratch)
{
    char detail[IA_DETAIL_MAX];
    return read_audience(payload, issuer, scratch, detail) == IA_R_NONE && has_audience(issuer, scratch);
}

static enum ia_reason check_audience(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *out,
                                     char detail[IA_DETAIL_MAX])
{
    enum ia_reason reason = read_audience(payload, issuer, out, detail);
    if (reason != IA_R_NONE || has_audience(issuer, out))
        return reason;
    const char *name = claim_name(issuer->audience_claims.items[0]);
    if (out->n_audience == 0)
        return ia_refusal_set(detail, IA_R_TOKEN_AUDIENCE, "%.100s is missing", name);
    return ia_refusal_set(detail, IA_R_TOKEN_AUDIENCE, "%.100s contains none of the issuer's audiences%s", name,
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

enum ia_reason ia_claims_validate(const json_t *payload, const struct ia_issuer *issuer, int64_t now,
                                  struct ia_claims *out, char detail[IA_DETAIL_MAX])
{
    out->bound = false;
    enum ia_reason reason = check_times(payload, issuer, now, out, detail);
    if (reason == IA_R_NONE)
        reason = check_audience(payload, issuer, out, detail);
    if (reason == IA_R_NONE)
        reason = ia_claims_check_required(payload, issuer, detail);
    if (reason == IA_R_NONE)
        reason = read_binding(payload, out, detail);
    if (reason == IA_R_NONE)
        reason = read_app_id(payload, issuer, out, detail);
    if (reason == IA_R_NONE)
        reason = ia_claims_read_scopes(payload, issuer, out, detail);
    if (reason != IA_R_NONE)
        return reason;
    ia_claims_keep_values(payload, out);
    return out->unmarked ? ia_refusal_set(detail, IA_R_INTERNAL, "the claims cannot be marked") : IA_R_NONE;
}
