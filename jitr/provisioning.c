// SPDX-License-Identifier: ISC
#include "jitr/provisioning.h"

#include "common/json_out.h"
#include "common/str.h"
#include "jitr/certificate_variables.h"

#include <stdlib.h>
#include <string.h>

/* 64 attributes, names and values of 128 bytes each, which escapes may double, beside the variables of a certificate. */
#define FILLED_MAX 81920

struct attribute {
    char *name;
    struct ia_template *value;
};

struct ia_provisioning {
    struct ia_template *tenant; /* NULL: none */
    size_t n;
    struct attribute attributes[];
};

/* ---- compiling */

void ia_provisioning_free(struct ia_provisioning *provisioning)
{
    if (!provisioning)
        return;
    for (size_t i = 0; i < provisioning->n; i++) {
        free(provisioning->attributes[i].name);
        ia_template_free(provisioning->attributes[i].value);
    }
    ia_template_free(provisioning->tenant);
    free(provisioning);
}

static enum ia_rc parse_text(const char *what, const char *text, struct ia_template **out, struct ia_err *err)
{
    struct ia_err cause = {0};
    enum ia_rc rc = ia_template_parse(text, false, ia_certificate_variable_known, out, &cause);
    return rc == IA_OK ? rc : ia_fail(err, rc, "provisioning, %.80s: %s", what, cause.msg);
}

static enum ia_rc parse_attributes(struct ia_provisioning *p, const struct ia_texts *texts, struct ia_err *err)
{
    for (size_t i = 0; i + 1 < texts->n; i += 2) {
        struct attribute *attribute = &p->attributes[p->n++];
        attribute->name = strdup(texts->items[i]);
        if (!attribute->name)
            return ia_nomem(err);
        enum ia_rc rc = parse_text(attribute->name, texts->items[i + 1], &attribute->value, err);
        if (rc != IA_OK)
            return rc;
    }
    return IA_OK;
}

enum ia_rc ia_provisioning_parse(const struct ia_ca_row *row, struct ia_provisioning **out, struct ia_err *err)
{
    size_t n = row->template_attributes.n / 2;
    struct ia_provisioning *p = calloc(1, sizeof *p + n * sizeof p->attributes[0]);
    if (!p)
        return ia_nomem(err);
    enum ia_rc rc = parse_attributes(p, &row->template_attributes, err);
    if (rc == IA_OK && row->template_tenant)
        rc = parse_text("tenant", row->template_tenant, &p->tenant, err);
    if (rc == IA_OK)
        *out = p;
    else
        ia_provisioning_free(p);
    return rc;
}

/* ---- filling in */

/* A text of the template and what became of it. */
struct filled {
    char value[IA_VALUE_MAX + 1];
    struct ia_err missing; /* why there is no value */
};

/* The whole must be a value, as each variable in it is (DESIGN's rule for values from outside). */
static bool fill_text(const struct ia_template *t, struct ia_certificate_variables *variables, struct filled *out)
{
    const char *why = NULL;
    if (ia_template_fill(t, ia_certificate_variable, variables, out->value, sizeof out->value, &out->missing) != IA_OK)
        return false;
    if (ia_value_valid(out->value, strlen(out->value), &why))
        return true;
    (void)ia_fail(&out->missing, IA_FORMAT, "the value cannot be used: %s", why);
    return false;
}

static void write_attributes(struct ia_json_out *j, const struct ia_provisioning *p,
                             struct ia_certificate_variables *variables, bool present)
{
    struct filled filled;
    ia_json_out_open(j, present ? "attributes" : "missing");
    for (size_t i = 0; i < p->n; i++) {
        const struct attribute *attribute = &p->attributes[i];
        if (fill_text(attribute->value, variables, &filled) == present)
            ia_json_out_text(j, attribute->name, present ? filled.value : filled.missing.msg);
    }
    ia_json_out_close(j);
}

static void write_tenant(struct ia_json_out *j, const struct ia_template *tenant,
                         struct ia_certificate_variables *variables)
{
    struct filled filled;
    if (fill_text(tenant, variables, &filled))
        ia_json_out_text(j, "tenant", filled.value);
    else
        ia_json_out_text(j, "missing_tenant", filled.missing.msg);
}

static void write_identity(struct ia_json_out *j, struct ia_identity *identity)
{
    const char *name, *value, *why;
    ia_json_out_open(j, "identity");
    for (size_t i = 0; (name = ia_identity_name(i)) != NULL; i++)
        if ((value = ia_identity_get(identity, name, &why)) != NULL)
            ia_json_out_text(j, name, value);
    ia_json_out_close(j);
}

enum ia_rc ia_provisioning_fill(const struct ia_ca_settings *ca, struct ia_identity *identity, bool with_identity,
                                char **out, struct ia_err *err)
{
    const struct ia_provisioning *p = ca->provisioning;
    struct ia_certificate_variables variables = {.ca = ca, .identity = identity};
    struct ia_json_out j;
    *out = NULL;
    if (!p && !with_identity)
        return IA_OK;
    char *text = malloc(FILLED_MAX);
    if (!text)
        return ia_nomem(err);
    ia_json_out_begin(&j, text, FILLED_MAX);
    if (p) {
        write_attributes(&j, p, &variables, true);
        write_attributes(&j, p, &variables, false);
    }
    if (p && p->tenant)
        write_tenant(&j, p->tenant, &variables);
    if (with_identity)
        write_identity(&j, identity);
    char *kept = ia_json_out_end(&j) ? realloc(text, strlen(text) + 1) : NULL;
    if (!kept) {
        free(text);
        return ia_nomem(err);
    }
    *out = kept;
    return IA_OK;
}
