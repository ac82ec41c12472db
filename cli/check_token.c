// SPDX-License-Identifier: ISC
/* check token: would this access token (or with --signature-only this JWS) be accepted with these keys? */
#include "cli/check.h"
#include "cli/check_registry.h"
#include "cli/input.h"
#include "common/pointer_text.h"
#include "common/rfc3339.h"
#include "common/str.h"
#include "oauth/token.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIST_MAX 64
#define LEEWAY_S 30 /* the default of register_issuer */

struct list {
    size_t n;
    const char *items[LIST_MAX];
};

struct inputs {
    const struct ia_call *call;
    const char *jwks_file;
    const char *issuer;
    struct list audience, algorithms;
    int64_t at;
    bool signature_only;
    char *jwks;
    char *token;
    size_t token_len;
};

static enum ia_rc add_value(struct list *list, const char *value, struct ia_err *err)
{
    if (!*value)
        return ia_fail(err, IA_USAGE, "an option with an empty value");
    if (list->n == LIST_MAX)
        return ia_fail(err, IA_USAGE, "more than %d values of one option", LIST_MAX);
    list->items[list->n++] = value;
    return IA_OK;
}

static enum ia_rc add_algorithm(struct inputs *in, const char *name, struct ia_err *err)
{
    if (ia_alg_from_name(name) == IA_ALG_NONE)
        return ia_fail(err, IA_USAGE, "--alg %.20s: not supported (none and HS… never are)", name);
    return add_value(&in->algorithms, name, err);
}

static enum ia_rc read_arguments(struct inputs *in, const struct ia_call *call, struct ia_err *err)
{
    const struct ia_values *audience = ia_call_list(call, "audience"), *algorithms = ia_call_list(call, "alg");
    const char *at = ia_call_get(call, "at");
    in->call = call;
    in->jwks_file = ia_call_get(call, "jwks");
    in->issuer = ia_call_get(call, "issuer");
    in->signature_only = ia_call_has(call, "signature-only");
    in->at = time(NULL);
    enum ia_rc rc = at ? ia_rfc3339_parse(at, &in->at, err) : IA_OK;
    for (size_t i = 0; rc == IA_OK && i < audience->n; i++)
        rc = add_value(&in->audience, audience->items[i], err);
    for (size_t i = 0; rc == IA_OK && i < algorithms->n; i++)
        rc = add_algorithm(in, algorithms->items[i], err);
    if (rc == IA_OK && in->algorithms.n == 0)
        rc = ia_fail(err, IA_USAGE, "--jwks needs --alg");
    if (rc == IA_OK && (ia_call_has(call, "client-id") || ia_call_has(call, "from")))
        rc = ia_fail(err, IA_USAGE, "--client-id and --from need the registry and cannot be combined with --jwks");
    if (rc == IA_OK && !in->signature_only && (!in->issuer || !*in->issuer || in->audience.n == 0))
        rc = ia_fail(err, IA_USAGE, "needs --issuer and --audience, or --signature-only");
    return rc;
}

static enum ia_rc read_inputs(struct inputs *in, struct ia_err *err)
{
    enum ia_rc rc = ia_cli_read_text(in->jwks_file, IA_JWKS_MAX, &in->jwks, err);
    if (rc == IA_OK)
        rc = ia_input_token(&in->token, &in->token_len, err);
    return rc;
}

static void print_key_remark(void *ctx, int64_t index, const char *text)
{
    const struct inputs *in = ctx;
    (void)index;
    (void)ia_call_fail(in->call, 0, "%s: %s", in->jwks_file, text);
}

/* Text from a token, which must not forge a line. */
static void print_text(const char *name, const char *value)
{
    printf("%s=", name);
    for (size_t n; *value; value += n) {
        bool shown = false;
        n = ia_shown_character(value, strnlen(value, 4), &shown);
        printf("%.*s", shown ? (int)n : 1, shown ? value : "?");
    }
    putchar('\n');
}

static int print_denial(enum ia_reason reason, const char *detail)
{
    printf("deny: %s %s\n", ia_reason_name(reason), detail);
    return IA_EXIT_DENY;
}

/* Is the token's own word about itself worth seeing: is it refused for what it names? */
static bool is_about_names(enum ia_reason reason)
{
    switch (reason) {
    case IA_R_TOKEN_ISSUER:
    case IA_R_TOKEN_AUDIENCE:
    case IA_R_TOKEN_KEY_UNKNOWN:
    case IA_R_TOKEN_SIGNATURE:
    case IA_R_TOKEN_ALGORITHM:
    case IA_R_TOKEN_TYPE:
        return true;
    default:
        return false;
    }
}

/* What a refused token claims; not verified. */
static void print_claimed(const struct ia_token_claimed *claimed)
{
    const struct {
        const char *name, *value;
    } rows[] = {{"claimed_iss", claimed->iss},
                {"claimed_aud", claimed->aud},
                {"claimed_azp", claimed->azp},
                {"claimed_kid", claimed->kid},
                {"claimed_typ", claimed->typ}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (*rows[i].value)
            print_text(rows[i].name, rows[i].value);
}

static int print_refusal(enum ia_reason reason, const struct ia_token_refusal *refusal)
{
    int status = print_denial(reason, refusal->detail);
    if (is_about_names(reason))
        print_claimed(&refusal->claimed);
    return status;
}

static enum ia_reason check_signature(const struct inputs *in, const struct ia_jwks *jwks, const struct ia_jws *jws,
                                      char detail[IA_DETAIL_MAX])
{
    const struct ia_jwk *key = NULL;
    unsigned algs = 0;
    for (size_t i = 0; i < in->algorithms.n; i++)
        algs |= ia_alg_set(ia_alg_from_name(in->algorithms.items[i]));
    algs &= ia_alg_set(jws->alg);
    if (algs == 0)
        return ia_refusal_set(detail, IA_R_TOKEN_ALGORITHM, "alg is not one of those given");
    enum ia_jwks_found found = ia_jwks_find(jwks, jws->has_kid ? jws->kid : NULL, algs, &key);
    if (!jws->has_kid && found != IA_JWKS_FOUND)
        return ia_refusal_set(detail, IA_R_TOKEN_KEY_UNKNOWN, "the header has no kid, and %s fits alg",
                              found == IA_JWKS_AMBIGUOUS ? "more than one key" : "no key");
    if (found == IA_JWKS_NO_ALG)
        return ia_refusal_set(detail, IA_R_TOKEN_ALGORITHM, "alg is not for the key of that kid");
    if (found != IA_JWKS_FOUND)
        return ia_refusal_set(detail, IA_R_TOKEN_KEY_UNKNOWN,
                              found == IA_JWKS_AMBIGUOUS ? "several of the keys have that kid and fit alg"
                                                         : "kid is not one of the keys");
    return ia_signature_verify(jws, key, detail);
}

static int run_signature_only(struct inputs *in, const struct ia_jwks *jwks)
{
    struct ia_jws jws = {0};
    char detail[IA_DETAIL_MAX];
    enum ia_reason reason = ia_jws_parse(in->token, in->token_len, &jws, detail);
    if (reason == IA_R_NONE)
        reason = check_signature(in, jwks, &jws, detail);
    int status = IA_EXIT_ALLOW;
    if (reason == IA_R_NONE) {
        print_text("allow alg", ia_alg_name(jws.alg));
        print_text("kid", jws.kid);
    } else {
        status = print_denial(reason, detail);
    }
    ia_jws_clear(&jws);
    return status;
}

/* The token's own members by their names. */
static void print_claim(const struct ia_claim *claim)
{
    char name[IA_POINTER_MAX + 8];
    const char *from = claim->pointer + 1;
    if (strchr(from, '/'))
        return;
    size_t len = 6;
    memcpy(name, "claim.", len);
    for (; *from; from++) {
        name[len] = *from;
        if (*from == '~' && *++from != '0') /* ~1; ~0 stands for ~ itself */
            name[len] = '/';
        len++;
    }
    name[len] = '\0';
    print_text(name, claim->value);
}

static void print_time(const char *name, int64_t at)
{
    struct tm tm;
    char text[32];
    time_t seconds = (time_t)at;
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        printf("%s=%s\n", name, text);
}

static int print_token(const struct ia_token *token)
{
    printf("allow app_id=%s\n", token->app_id);
    print_text("iss", token->iss);
    for (size_t i = 0; i < token->n_audience; i++)
        print_text("aud", token->audience[i]);
    print_time("exp", token->exp);
    if (token->not_before != INT64_MIN)
        print_time("nbf", token->not_before + LEEWAY_S);
    print_text("alg", ia_alg_name(token->alg));
    if (token->kid)
        print_text("kid", token->kid);
    print_text("typ", *token->typ ? token->typ : "JWT");
    for (size_t i = 0; i < token->n_scopes; i++)
        print_text("scope", token->scopes[i]);
    for (size_t i = 0; i < token->n_claims; i++)
        print_claim(&token->claims[i]);
    return IA_EXIT_ALLOW;
}

static enum ia_rc build_set(const struct inputs *in, struct ia_issuer_set **out, struct ia_err *err)
{
    static const char *const types[] = {"at+jwt", "JWT"}, *const templates[] = {"*"};
    const struct ia_issuer_spec spec = {.name = "check",
                                        .issuer = in->issuer,
                                        .audience = in->audience.items,
                                        .n_audience = in->audience.n,
                                        .algorithms = in->algorithms.items,
                                        .n_algorithms = in->algorithms.n,
                                        .jwks = in->jwks,
                                        .client_id_templates = templates,
                                        .n_client_id_templates = 1,
                                        .token_types = types,
                                        .n_token_types = 2,
                                        .leeway_s = LEEWAY_S,
                                        .active = true};
    return ia_issuer_set_build(&spec, 1, NULL, out, err);
}

static int run_token(struct inputs *in)
{
    struct ia_err err = {0};
    struct ia_issuer_set *set = NULL;
    struct ia_token *token = NULL;
    struct ia_token_refusal refusal;
    struct ia_presented presented;
    if (build_set(in, &set, &err) != IA_OK)
        return ia_call_fail(in->call, IA_EXIT_USAGE, "%s", err.msg);
    ia_presented_init(&presented, in->token, in->token_len);
    enum ia_reason reason = ia_token_verify(
        &(struct ia_token_check){.issuers = set, .presented = &presented, .now = in->at}, &token, &refusal);
    int status = reason == IA_R_NONE ? print_token(token) : print_refusal(reason, &refusal);
    ia_presented_clear(&presented);
    ia_token_free(token);
    ia_issuer_set_free(set);
    return status;
}

static int run_checks(struct inputs *in, struct ia_err *err)
{
    const struct ia_jwks_report report = {.problem = {print_key_remark, in}, .note = {print_key_remark, in}};
    struct ia_jwks *jwks = NULL;
    if (ia_jwks_parse(in->jwks, strlen(in->jwks), &report, &jwks, err) != IA_OK)
        return ia_call_fail(in->call, IA_EXIT_USAGE, "%s: %s", in->jwks_file, err->msg);
    int status = in->signature_only ? run_signature_only(in, jwks) : run_token(in);
    ia_jwks_free(jwks);
    return status;
}

int ia_check_token(const struct ia_call *call)
{
    struct inputs in = {0};
    struct ia_err err = {0};
    int status;
    if (!ia_call_has(call, "jwks"))
        return ia_check_registered_token(call);
    if (read_arguments(&in, call, &err) != IA_OK || read_inputs(&in, &err) != IA_OK)
        status = ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    else
        status = run_checks(&in, &err);
    if (in.token)
        OPENSSL_cleanse(in.token, in.token_len);
    free(in.token);
    free(in.jwks);
    return status;
}
