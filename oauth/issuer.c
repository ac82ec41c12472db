// SPDX-License-Identifier: ISC
#include "common/str.h"
#include "oauth/issuer_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TEXT_MAX  1024 /* bytes of an issuer, audience, scope or role */
#define TEXTS_MAX 1000 /* entries of a list */

static void mark_invalid(struct ia_issuer *issuer, struct ia_remarks *problems, const char *text)
{
    issuer->invalid = true;
    ia_remarks_add(problems, "%s", text);
}

static bool text_valid(const char *text)
{
    return text && *text && strlen(text) <= TEXT_MAX;
}

bool ia_issuer_name_valid(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t len = strlen(name);
    return len > 0 && len <= IA_VALUE_MAX && strspn(name, allowed) == len;
}

/* Copy texts[0..n); false without memory. */
static bool copy_texts(struct ia_text_list *out, const char *const *texts, size_t n)
{
    out->items = calloc(n ? n : 1, sizeof *out->items);
    if (!out->items)
        return false;
    for (; out->n < n; out->n++) {
        out->items[out->n] = strdup(texts[out->n] ? texts[out->n] : "");
        if (!out->items[out->n])
            return false;
    }
    return true;
}

static void clear_texts(struct ia_text_list *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        free(texts->items[i]);
    free(texts->items);
}

static bool texts_valid(const struct ia_text_list *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        if (!text_valid(texts->items[i]))
            return false;
    return texts->n > 0 && texts->n <= TEXTS_MAX;
}

bool ia_text_list_has(const struct ia_text_list *list, const char *text)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

bool ia_texts_differ_by_slash(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b), shorter = a_len < b_len ? a_len : b_len;
    return a_len + b_len == 2 * shorter + 1 && memcmp(a, b, shorter) == 0 && (a_len > b_len ? a : b)[shorter] == '/';
}

static const char *without_application(const char *typ)
{
    return strncasecmp(typ, "application/", 12) == 0 ? typ + 12 : typ;
}

bool ia_issuer_accepts_type(const struct ia_issuer *issuer, const char *typ)
{
    const char *wanted = without_application(*typ ? typ : "JWT");
    for (size_t i = 0; i < issuer->token_types.n; i++)
        if (strcasecmp(without_application(issuer->token_types.items[i]), wanted) == 0)
            return true;
    return false;
}

static bool common_variable_known(const char *name)
{
    return strcmp(name, "issuer") == 0 || strcmp(name, "tenant") == 0 || (strncmp(name, "claim.", 6) == 0 && name[6]) ||
           (strncmp(name, "claim:", 6) == 0 && !ia_pointer_text_fault(name + 6, strlen(name + 6)));
}

static bool app_variable_known(const char *name)
{
    return strcmp(name, "app_id") == 0 || common_variable_known(name);
}

static bool device_variable_known(const char *name)
{
    return strcmp(name, "device_id") == 0 || common_variable_known(name);
}

static bool parse_templates(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_remarks *problems)
{
    issuer->templates = calloc(spec->n_client_id_templates + 1, sizeof(struct ia_template *));
    if (!issuer->templates)
        return false;
    if (spec->n_client_id_templates == 0)
        mark_invalid(issuer, problems, "client_id_templates: none, so no client id is allowed");
    for (size_t i = 0; i < spec->n_client_id_templates; i++) {
        struct ia_err err = {0};
        const char *text = spec->client_id_templates[i];
        enum ia_rc rc =
            ia_template_parse(text ? text : "", true, issuer->devices ? device_variable_known : app_variable_known,
                              &issuer->templates[issuer->n_templates], &err);
        if (rc == IA_NOMEM)
            return false;
        if (rc == IA_OK)
            issuer->n_templates++;
        else
            mark_invalid(issuer, problems, err.msg);
    }
    return true;
}

static void read_algorithms(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_remarks *problems)
{
    if (spec->n_algorithms == 0)
        mark_invalid(issuer, problems, "algorithms: no entry");
    for (size_t i = 0; i < spec->n_algorithms; i++) {
        enum ia_alg alg = ia_alg_from_name(spec->algorithms[i] ? spec->algorithms[i] : "");
        issuer->algorithms |= ia_alg_set(alg);
        if (alg == IA_ALG_NONE)
            mark_invalid(issuer, problems, "algorithms: an entry that is not supported (none and HS… never are)");
    }
}

static int compare_roles(const void *a, const void *b)
{
    return strcmp(((const struct ia_scope_role *)a)->role, ((const struct ia_scope_role *)b)->role);
}

static bool copy_scopes(struct ia_issuer *issuer, const struct ia_issuer_spec *spec)
{
    issuer->scopes = calloc(spec->n_scopes + 1, sizeof *issuer->scopes);
    if (!issuer->scopes)
        return false;
    for (; issuer->n_scopes < spec->n_scopes; issuer->n_scopes++) {
        struct ia_scope_role *to = &issuer->scopes[issuer->n_scopes];
        const struct ia_scope_role *from = &spec->scopes[issuer->n_scopes];
        to->scope = strdup(from->scope);
        to->role = to->scope ? strdup(from->role) : NULL;
        if (!to->role) {
            free((char *)to->scope);
            return false;
        }
    }
    qsort(issuer->scopes, issuer->n_scopes, sizeof *issuer->scopes, compare_roles);
    return true;
}

static void add_key_problem(void *ctx, int64_t index, const char *text)
{
    (void)index;
    struct ia_issuer_findings *findings = ctx;
    ia_remarks_add(&findings->problems, "%s", text);
}

static void add_key_note(void *ctx, int64_t index, const char *text)
{
    (void)index;
    struct ia_issuer_findings *findings = ctx;
    ia_remarks_add(&findings->notes, "%s", text);
}

static bool parse_keys(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_issuer_findings *findings)
{
    const struct ia_jwks_report report = {.problem = {add_key_problem, findings}, .note = {add_key_note, findings}};
    struct ia_remarks *problems = &findings->problems;
    struct ia_err err = {0};
    if (!spec->jwks)
        return true;
    enum ia_rc rc = ia_jwks_parse(spec->jwks, strlen(spec->jwks), &report, &issuer->jwks, &err);
    if (rc == IA_NOMEM)
        return false;
    if (rc != IA_OK)
        ia_remarks_add(problems, "%s", err.msg);
    else if (ia_jwks_listed(issuer->jwks) == 0)
        ia_remarks_add(problems, "no key: the key set is empty, all keys are withdrawn");
    else if (ia_jwks_count(issuer->jwks) == 0)
        ia_remarks_add(problems, "no key of the set can be used");
    return true;
}

static bool copy_optional(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return *out || !text;
}

static bool copy_row(struct ia_issuer *issuer, const struct ia_issuer_spec *spec)
{
    issuer->leeway_s = spec->leeway_s;
    issuer->active = spec->active;
    issuer->devices = spec->principals && strcmp(spec->principals, "device") == 0;
    issuer->name = strdup(spec->name);
    issuer->issuer = strdup(spec->issuer ? spec->issuer : "");
    return issuer->name && issuer->issuer && copy_optional(&issuer->tenant, spec->tenant) &&
           copy_optional(&issuer->app_id_claim, spec->app_id_claim) &&
           copy_texts(&issuer->audience, spec->audience, spec->n_audience) &&
           copy_texts(&issuer->token_types, spec->token_types, spec->n_token_types) &&
           copy_texts(&issuer->roles, spec->roles, spec->n_roles) && copy_scopes(issuer, spec);
}

/* Is the character at p a blank, a control character or invisible: ASCII, C1 and no-break space, general punctuation's
 * spaces and marks, ideographic space, byte order mark? */
static bool is_blank_at(const unsigned char *p)
{
    if (*p <= ' ' || *p == 0x7F)
        return true;
    if (p[0] == 0xC2)
        return p[1] >= 0x80 && p[1] <= 0xA0;
    if (p[0] == 0xE2 && p[1] == 0x80)
        return (p[2] >= 0x80 && p[2] <= 0x8F) || (p[2] >= 0xA8 && p[2] <= 0xAF);
    return strncmp((const char *)p, "\xE2\x81\x9F", 3) == 0 || strncmp((const char *)p, "\xE3\x80\x80", 3) == 0 ||
           strncmp((const char *)p, "\xEF\xBB\xBF", 3) == 0;
}

/* `iss` is a URL, or a name in the form of one (RFC 7519 section 2: StringOrURI): a blank in it is a mistake. */
static bool has_blank(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (is_blank_at(p))
            return true;
    return false;
}

static bool any_padded(const struct ia_text_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *text = list->items[i];
        // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): copy_row has copied each text
        size_t len = strlen(text);
        if (len > 0 && ((unsigned char)text[0] <= ' ' || (unsigned char)text[len - 1] <= ' '))
            return true;
    }
    return false;
}

static void validate_row(struct ia_issuer *issuer, struct ia_remarks *problems)
{
    if (!ia_issuer_name_valid(issuer->name))
        mark_invalid(issuer, problems, "name: must be 1 to 128 of A-Z a-z 0-9 _ . -");
    if (!text_valid(issuer->issuer))
        mark_invalid(issuer, problems, "issuer: must be 1 to 1024 bytes");
    if (has_blank(issuer->issuer))
        mark_invalid(issuer, problems, "issuer: holds a blank or control character, so no token can match it");
    if (any_padded(&issuer->audience))
        mark_invalid(issuer, problems, "audience: an entry begins or ends with a blank");
    if (!texts_valid(&issuer->audience))
        mark_invalid(issuer, problems, "audience: no entry, or an entry that is empty or too long");
    if (!texts_valid(&issuer->token_types))
        mark_invalid(issuer, problems, "token_types: no entry, or an entry that is empty or too long");
    if (issuer->app_id_claim && !text_valid(issuer->app_id_claim))
        mark_invalid(issuer, problems, "app_id_claim: empty or too long");
    if (issuer->leeway_s < 0 || issuer->leeway_s > IA_LEEWAY_MAX)
        mark_invalid(issuer, problems, "leeway_s: must be 0 to 3600");
    if (issuer->tenant && !ia_value_valid(issuer->tenant, strlen(issuer->tenant), NULL))
        mark_invalid(issuer, problems, "tenant: not a valid value");
}

const char *ia_issuer_problem(const struct ia_issuer *issuer)
{
    if (!issuer->active)
        return "the issuer is not ACTIVE";
    return issuer->invalid ? "the issuer's row is invalid: see oauth_issuer.problem" : NULL;
}

bool ia_issuer_load(struct ia_issuer *issuer, const struct ia_issuer_spec *spec, struct ia_issuer_findings *findings)
{
    struct ia_remarks *problems = &findings->problems;
    if (!copy_row(issuer, spec))
        return false;
    validate_row(issuer, problems);
    if (!issuer->devices && spec->principals && strcmp(spec->principals, "app") != 0)
        mark_invalid(issuer, problems, "principals: must be app or device");
    read_algorithms(issuer, spec, problems);
    return ia_issuer_load_claims(issuer, spec, problems) && parse_templates(issuer, spec, problems) &&
           parse_keys(issuer, spec, findings);
}

void ia_issuer_clear(struct ia_issuer *issuer)
{
    free(issuer->name);
    free(issuer->issuer);
    free(issuer->tenant);
    free(issuer->app_id_claim);
    ia_issuer_clear_claims(issuer);
    clear_texts(&issuer->audience);
    clear_texts(&issuer->token_types);
    clear_texts(&issuer->roles);
    for (size_t i = 0; i < issuer->n_templates; i++)
        ia_template_free(issuer->templates[i]);
    free(issuer->templates);
    for (size_t i = 0; i < issuer->n_scopes; i++) {
        free((char *)issuer->scopes[i].scope);
        free((char *)issuer->scopes[i].role);
    }
    free(issuer->scopes);
    ia_jwks_free(issuer->jwks);
}
