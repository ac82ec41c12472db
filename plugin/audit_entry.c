// SPDX-License-Identifier: ISC
#include "plugin/audit_entry.h"

#include "common/rfc3339.h"
#include "common/str.h"

#include <stdio.h>
#include <string.h>

const char *ia_harmless_text(const char *text, unsigned char last_bad, char *out, size_t size)
{
    size_t used = 0;
    while (*text) {
        bool shown = false;
        size_t n = ia_shown_character(text, strnlen(text, 4), &shown), add = shown ? n : 1;
        if (used + add >= size)
            break;
        if (!shown || (unsigned char)*text <= last_bad || *text == '"')
            out[used] = '?';
        else
            memcpy(out + used, text, n);
        used += add;
        text += n;
    }
    out[used] = '\0';
    return out;
}

static const char *ca_name(const struct ia_audit_entry *a)
{
    return a->ca ? a->ca->name : NULL;
}

void ia_audit_entry_describe(struct ia_json_out *j, const struct ia_audit_entry *a, const struct ia_entry_context *ctx)
{
    char at[IA_RFC3339_SIZE], hex[2 * IA_FINGERPRINT_LEN + 1];
    ia_json_out_cut(j, a->app ? "app" : ctx->names->device, a->principal, ctx->max);
    if (a->fingerprint) {
        ia_hex(a->fingerprint, IA_FINGERPRINT_LEN, hex);
        ia_json_out_text(j, "fingerprint", hex);
    }
    ia_json_out_cut(j, "ca", ca_name(a), ctx->max);
    if (a->client_id) {
        char cut[IA_VALUE_MAX + 1]; /* it may be 64 KB long, and must not push the rest out */
        (void)snprintf(cut, sizeof cut, "%s", a->client_id);
        ia_json_out_cut(j, ctx->names->client, cut, ctx->max);
    }
    ia_json_out_cut(j, "address", a->address, ctx->max);
    if (ctx->reason != IA_R_NONE)
        ia_json_out_text(j, "reason", ia_reason_name(ctx->reason));
    if (a->detail[0])
        ia_json_out_cut(j, "detail", a->detail, ctx->max);
    ia_json_out_cut(j, "node", ctx->node, ctx->max);
    ia_json_out_text(j, "at", ia_rfc3339(ctx->at_us, at));
}

/* ---- what a refused token or certificate says of itself */

/* The name of a claimed value in log and event; "claimed_" says that it is not verified. */
static const struct {
    const char *name;
    size_t offset;
} claimed_members[] = {
    {"claimed_iss", offsetof(struct ia_token_claimed, iss)}, {"claimed_aud", offsetof(struct ia_token_claimed, aud)},
    {"claimed_azp", offsetof(struct ia_token_claimed, azp)}, {"claimed_kid", offsetof(struct ia_token_claimed, kid)},
    {"claimed_typ", offsetof(struct ia_token_claimed, typ)},
};

/* The claimed value of member i; "" for none. */
static const char *claimed_value(const struct ia_audit_entry *a, size_t i)
{
    return a->claimed ? (const char *)a->claimed + claimed_members[i].offset : "";
}

/* `cn` and `serial` are looked for by iot_auth.why_refused. */
static const struct {
    const char *name;
    size_t offset;
} shown_members[] = {
    {"cn", offsetof(struct ia_shown_certificate, cn)},
    {"serial", offsetof(struct ia_shown_certificate, serial)},
    {"claimed_subject", offsetof(struct ia_shown_certificate, subject)},
    {"claimed_issuer", offsetof(struct ia_shown_certificate, issuer)},
    {"claimed_key_id", offsetof(struct ia_shown_certificate, key_id)},
    {"claimed_authority_key_id", offsetof(struct ia_shown_certificate, authority_key_id)},
    {"claimed_not_after", offsetof(struct ia_shown_certificate, not_after)},
};
#define N_SHOWN (sizeof shown_members / sizeof shown_members[0])

/* The value of member i; "" for none. */
static const char *shown_value(const struct ia_audit_entry *a, size_t i)
{
    return a->shown ? (const char *)a->shown + shown_members[i].offset : "";
}

/* The name of claim i, of pre-shared keys and tokens first, and its value; false: there are no more. */
static bool next_claim(const struct ia_audit_entry *a, size_t i, const char **name, const char **value)
{
    *name = "psk_identity";
    *value = a->psk_identity ? a->psk_identity : "";
    if (i-- == 0)
        return true;
    const size_t n_claimed = sizeof claimed_members / sizeof claimed_members[0];
    if (i >= n_claimed + N_SHOWN)
        return false;
    *name = i < n_claimed ? claimed_members[i].name : shown_members[i - n_claimed].name;
    *value = i < n_claimed ? claimed_value(a, i) : shown_value(a, i - n_claimed);
    return true;
}

void ia_audit_entry_describe_claims(struct ia_json_out *j, const struct ia_audit_entry *a, size_t max)
{
    const char *name = NULL, *value = NULL;
    for (size_t i = 0; next_claim(a, i, &name, &value); i++)
        if (*value)
            ia_json_out_cut(j, name, value, max);
}

const char *ia_audit_entry_claims_text(const struct ia_audit_entry *a, char out[IA_ENTRY_CLAIMS_MAX])
{
    const char *name = NULL, *value = NULL;
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; used < IA_ENTRY_CLAIMS_MAX && next_claim(a, i, &name, &value); i++) {
        char text[IA_SHOWN_TEXT_MAX];
        if (*ia_harmless_text(value, 0x1F, text, sizeof text))
            used += (size_t)snprintf(out + used, IA_ENTRY_CLAIMS_MAX - used, " %s=\"%s\"", name, text);
    }
    return out;
}
