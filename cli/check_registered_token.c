// SPDX-License-Identifier: ISC
/* check token --issuer NAME: would a broker admit an app with this access token now?  The steps of CONNECT. */
#include "cli/check_registry.h"
#include "cli/decision.h"
#include "cli/input.h"
#include "common/json_out.h"
#include "common/rfc3339.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct question {
    struct ia_decision decision;
    const char *issuer; /* name of its row */
    char *token;
    size_t len;
};

static bool is_registered(const struct question *q)
{
    for (size_t i = 0; i < q->decision.rows->n_issuers; i++)
        if (strcmp(q->decision.rows->issuers[i].name, q->issuer) == 0)
            return true;
    return false;
}

static const char *no_conflict(void *ctx, const char *username)
{
    (void)ctx; /* only brokers know who is connected */
    (void)username;
    return NULL;
}

/* ---- the answer */

static int print_refusal(const struct question *q, const struct ia_admission *a, enum ia_reason reason)
{
    char text[4096];
    struct ia_json_out json;
    const struct {
        const char *name, *value;
    } members[] = {{"claimed_iss", a->claimed.iss},
                   {"claimed_aud", a->claimed.aud},
                   {"claimed_azp", a->claimed.azp},
                   {"claimed_kid", a->claimed.kid},
                   {"claimed_typ", a->claimed.typ}};
    ia_json_out_begin(&json, text, sizeof text);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (*members[i].value)
            ia_json_out_text(&json, members[i].name, members[i].value);
    ia_json_out_text(&json, "client_id", a->client_id);
    const char *claimed = ia_json_out_end(&json);
    int status = ia_decision_refuse(&q->decision, a, reason, claimed);
    if (claimed && !a->token)
        printf("claimed: %s\n", claimed); /* as JSON, so that no claim can forge a line */
    return status;
}

static int print_admission(const struct question *q, const struct ia_admission *a)
{
    char at[IA_RFC3339_SIZE];
    if (strcmp(a->token->issuer, q->issuer) != 0) {
        printf("deny: token_issuer the token is of issuer '%s', not of '%s'\n", a->token->issuer, q->issuer);
        return IA_EXIT_DENY;
    }
    printf("allow app=%s\nclient_id=%s\nexp=%s\n", a->token->principal, a->client_id,
           ia_rfc3339_seconds(a->token->exp, at));
    ia_decision_print_roles(&q->decision, a);
    return IA_EXIT_ALLOW;
}

/* Without --client-id it is the app's name, which the default templates admit: the steps before the client id find it
 * out. */
static enum ia_reason decide_admission(struct ia_admission *a, char *principal, size_t size)
{
    enum ia_reason reason = ia_admission_decide(a);
    if (a->client_id || !a->token)
        return reason;
    (void)snprintf(principal, size, "%s", a->token->principal);
    a->client_id = principal;
    ia_token_free(a->token);
    a->token = NULL;
    return ia_admission_decide(a);
}

static int decide_question(const struct question *q, struct ia_token_cache *tokens)
{
    const struct ia_admission_hooks hooks = {.client_id_conflict = no_conflict};
    struct ia_presented presented;
    struct ia_err err = {0};
    char principal[2 * IA_VALUE_MAX + 16];
    struct ia_admission a = {.context = IA_ADMIT_APP, .presented = &presented, .tokens = tokens, .hooks = &hooks};
    if (ia_decision_begin(&q->decision, &a, &err) != IA_OK)
        return ia_decision_fail(q->decision.call, &err);
    ia_presented_init(&presented, q->token, q->len);
    ia_presented_parse(&presented);
    enum ia_reason reason = decide_admission(&a, principal, sizeof principal);
    int status = reason == IA_R_NONE ? print_admission(q, &a) : print_refusal(q, &a, reason);
    ia_token_free(a.token);
    ia_presented_clear(&presented);
    return status;
}

static int decide_token(const struct question *q)
{
    struct ia_token_cache *tokens = NULL;
    struct ia_err err = {0};
    if (!is_registered(q))
        return ia_call_fail(q->decision.call, IA_EXIT_REFUSED, "issuer '%s' is not registered", q->issuer);
    if (ia_token_cache_new(2, &tokens, &err) != IA_OK)
        return ia_decision_fail(q->decision.call, &err);
    int status = decide_question(q, tokens);
    ia_token_cache_free(tokens);
    return status;
}

int ia_check_registered_token(const struct ia_call *call)
{
    struct question q = {.issuer = ia_call_get(call, "issuer")};
    struct ia_err err = {0};
    if (!q.issuer || ia_call_has(call, "alg") || ia_call_has(call, "audience") || ia_call_has(call, "signature-only"))
        return ia_call_fail(call, IA_EXIT_USAGE, "needs --issuer NAME; or --jwks with --alg, --issuer and --audience");
    if (ia_call_has(call, "at"))
        return ia_call_fail(call, IA_EXIT_USAGE, "--at requires --jwks: the registry is read as it is now");
    enum ia_rc rc = ia_input_token(&q.token, &q.len, &err);
    if (rc == IA_OK)
        rc = ia_decision_load(&q.decision, call, q.issuer, &err);
    int status = rc == IA_OK ? decide_token(&q) : ia_decision_fail_loaded(&q.decision, call, &err);
    if (q.token)
        OPENSSL_cleanse(q.token, q.len);
    free(q.token);
    ia_decision_clear(&q.decision);
    return status;
}
