// SPDX-License-Identifier: ISC
/* A token as it comes from the network, and the payload of one whose signature is good: whatever it says, it must end
 * in a decision, keep to its bounds, and pass only with every value valid.  What begins with a brace is a payload. */
#include "common/str.h"
#include "oauth/bearer.h"
#include "oauth/claims.h"
#include "oauth/token.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1300000000 /* the token of RFC 7515 appendix A.3 is good then */
#define KEY                                                                                                            \
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k1\","                                                     \
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"

static void must(bool ok)
{
    if (!ok)
        abort();
}

static struct ia_issuer_set *issuers(void)
{
    static const char *const audience[] = {"mqtt"}, *const algorithms[] = {"ES256"}, *const types[] = {"at+jwt", "JWT"},
                             *const templates[] = {"app:${issuer}:${app_id}"};
    static struct ia_issuer_set *set;
    struct ia_issuer_spec spec = {.name = "idp",
                                  .issuer = "joe",
                                  .audience = audience,
                                  .n_audience = 1,
                                  .algorithms = algorithms,
                                  .n_algorithms = 1,
                                  .jwks = KEY,
                                  .client_id_templates = templates,
                                  .n_client_id_templates = 1,
                                  .token_types = types,
                                  .n_token_types = 2,
                                  .active = true};
    if (!set)
        must(ia_issuer_set_build(&spec, 1, NULL, &set, NULL) == IA_OK);
    return set;
}

/* Nobody here has the private key: nothing can pass. */
static void from_the_network(const char *text, size_t len)
{
    struct ia_token *token = NULL;
    struct ia_token_refusal refusal;
    struct ia_presented presented;
    ia_presented_init(&presented, text, len);
    const struct ia_token_check check = {.issuers = issuers(), .presented = &presented, .now = NOW};
    must(ia_token_verify(&check, &token, &refusal) != IA_R_NONE && !token);
    ia_presented_clear(&presented);
    must(ia_utf8_valid(refusal.claimed.iss, strlen(refusal.claimed.iss)));
    must(ia_utf8_valid(refusal.claimed.aud, strlen(refusal.claimed.aud)));
    must(refusal.detail[0] && strlen(refusal.detail) < sizeof refusal.detail);
    const char *bare;
    size_t bare_len;
    if (ia_bearer_token(text, len, &bare, &bare_len))
        must(bare >= text && bare_len > 0 && bare + bare_len <= text + len);
}

/* What jansson takes by itself must be taken unchanged; what is taken beyond that holds a replaced value. */
static void compare_with_jansson(const void *text, size_t len, const json_t *payload)
{
    json_auto_t *strict = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    must(!strict || !payload || json_equal(strict, payload));
    must(strict || !payload || !ia_json_readable(payload));
}

static void signed_payload(const void *text, size_t len)
{
    struct ia_claims claims;
    char detail[IA_DETAIL_MAX] = "";
    const struct ia_issuer *issuer = ia_issuer_by_name(issuers(), "idp");
    json_auto_t *payload = ia_json_load(text, len, NULL);
    compare_with_jansson(text, len, payload);
    if (!payload)
        return;
    enum ia_reason reason = ia_claims_validate(payload, issuer, NOW, &claims, detail);
    must((reason == IA_R_NONE) == (detail[0] == '\0'));
    if (reason != IA_R_NONE)
        return;
    must(claims.exp > NOW && ia_value_valid(claims.app_id, strlen(claims.app_id), NULL));
    must(claims.n_scopes <= IA_SCOPE_VALUES_MAX && claims.n_audience <= IA_AUDIENCE_MAX &&
         claims.n_claims <= IA_CLAIMS_MAX);
    for (size_t i = 0; i < claims.n_claims; i++)
        must(!claims.claims[i].text || ia_value_valid(claims.claims[i].text, strlen(claims.claims[i].text), NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == '{')
        signed_payload(data, size);
    else
        from_the_network((const char *)data, size);
    must(ERR_peek_error() == 0);
    return 0;
}
