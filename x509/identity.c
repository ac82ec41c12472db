// SPDX-License-Identifier: ISC
#include "x509/identity.h"

#include "x509/identity_private.h"

#include <openssl/err.h>
#include <string.h>

static const char no_value[] = "the certificate has no value for this field";
static const char several_values[] = "the certificate has more than one value for this field";
static const char several_with_prefix[] = "the certificate has more than one value with this prefix";

static const struct {
    const char *name;
    ia_identity_field *read;
} fields[] = {
    {"cert.cn", ia_field_cn},
    {"cert.serial", ia_field_serial},
    {"cert.fingerprint", ia_field_fingerprint},
    {"cert.subject", ia_field_subject},
    {"cert.subject.O", ia_field_o},
    {"cert.subject.OU", ia_field_ou},
    {"cert.subject.serialNumber", ia_field_serial_number},
    {"cert.subject.UID", ia_field_uid},
    {"cert.san.dns", ia_field_dns},
    {"cert.san.uri", ia_field_uri},
    {"cert.san.email", ia_field_email},
    {"cert.san.ip", ia_field_ip},
    {"cert.san.hwserial", ia_field_hwserial},
    {"cert.san.othername.", ia_field_othername}, /* the last: its name is followed by an OID */
};
#define FIELDS    (unsigned)(sizeof fields / sizeof fields[0])
#define OTHERNAME (FIELDS - 1)

/* ---- the grammar */

/* Dotted decimal, two arcs at least, no leading zeros, the first 0 to 2. */
static bool is_oid(const char *text, size_t len)
{
    size_t arcs = 0, at = 0;
    if (len == 0 || len > IA_OID_MAX || text[0] > '2')
        return false;
    while (at < len) {
        size_t digits = 0;
        while (at + digits < len && text[at + digits] >= '0' && text[at + digits] <= '9')
            digits++;
        if (digits == 0 || (digits > 1 && (text[at] == '0' || arcs == 0)))
            return false;
        arcs++;
        at += digits;
        if (at < len && (text[at] != '.' || ++at == len))
            return false;
    }
    return arcs >= 2;
}

static bool parse_field_name(const char *text, size_t len, struct ia_identity_query *out)
{
    const size_t prefix = strlen(fields[OTHERNAME].name);
    for (unsigned i = 0; i < OTHERNAME; i++) {
        if (strlen(fields[i].name) != len || strncmp(fields[i].name, text, len) != 0)
            continue;
        out->field = i;
        return true;
    }
    if (len <= prefix || strncmp(text, fields[OTHERNAME].name, prefix) != 0 || !is_oid(text + prefix, len - prefix))
        return false;
    out->field = OTHERNAME;
    memcpy(out->oid, text + prefix, len - prefix);
    out->oid[len - prefix] = '\0';
    return true;
}

/* 1 to 999. */
static bool parse_index(const char *text, unsigned *out)
{
    size_t len = strlen(text);
    if (len < 1 || len > 3 || text[0] == '0' || strspn(text, "0123456789") != len)
        return false;
    *out = 0;
    for (size_t i = 0; i < len; i++)
        *out = *out * 10 + (unsigned)(text[i] - '0');
    return true;
}

static bool has_forbidden_byte(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F || *text == '{' || *text == '}')
            return true;
    return false;
}

static bool parse_splitter(const char *text, struct ia_identity_query *out)
{
    if (has_forbidden_byte(text))
        return false;
    if (strncmp(text, "prefix:", 7) == 0) {
        out->splitter = IA_SPLIT_PREFIX;
        out->text = text + 7;
        out->len = strlen(out->text);
        return out->len > 0;
    }
    if (strncmp(text, "path:", 5) == 0) {
        out->splitter = IA_SPLIT_PATH;
        return parse_index(text + 5, &out->n);
    }
    const char *comma = strrchr(text, ',');
    if (strncmp(text, "field:", 6) != 0 || !comma || comma < text + 7)
        return false;
    out->splitter = IA_SPLIT_FIELD;
    out->text = text + 6;
    out->len = (size_t)(comma - out->text);
    return parse_index(comma + 1, &out->n);
}

static bool parse_identity_query(const char *variable, struct ia_identity_query *out)
{
    size_t len = strcspn(variable, "|");
    *out = (struct ia_identity_query){.splitter = IA_SPLIT_NONE};
    return parse_field_name(variable, len, out) && (variable[len] == '\0' || parse_splitter(variable + len + 1, out));
}

bool ia_identity_knows(const char *variable)
{
    struct ia_identity_query query;
    return parse_identity_query(variable, &query);
}

const char *ia_identity_name(size_t n)
{
    return n < OTHERNAME ? fields[n].name : NULL;
}

/* ---- values */

/* With a prefix only values that have it count; a value that cannot be read does not. */
static bool value_counts(const struct ia_identity_query *query, const struct ia_raw_value *value)
{
    if (query->splitter != IA_SPLIT_PREFIX)
        return true;
    return !value->why && value->len >= query->len && memcmp(value->text, query->text, query->len) == 0;
}

void ia_collect_value(struct ia_identity_collector *c, const struct ia_raw_value *value)
{
    if (!value_counts(c->query, value))
        return;
    if (c->n++ == 0)
        c->value = *value;
    else
        c->value.why = c->query->splitter == IA_SPLIT_PREFIX ? several_with_prefix : several_values;
}

void ia_identity_read(X509 *leaf, struct ia_identity *out)
{
    *out = (struct ia_identity){.leaf = leaf};
}

static const char *take_value(struct ia_identity *id, struct ia_identity_collector *c, const char **why)
{
    if (c->n == 0)
        c->value.why =
            c->query->splitter == IA_SPLIT_PREFIX ? "the certificate has no value with this prefix" : no_value;
    if (!c->value.why)
        ia_split_value(c->query, &c->value);
    *why = c->value.why;
    if (*why || !ia_value_valid(c->value.text, c->value.len, why))
        return NULL;
    memcpy(id->value, c->value.text, c->value.len);
    id->value[c->value.len] = '\0';
    return id->value;
}

const char *ia_identity_get(struct ia_identity *id, const char *variable, const char **why)
{
    struct ia_identity_query query;
    struct ia_identity_collector c = {.query = &query};
    if (!parse_identity_query(variable, &query)) {
        *why = "there is no such field of a certificate";
        return NULL;
    }
    ERR_set_mark();
    fields[query.field].read(id->leaf, &c);
    ERR_pop_to_mark();
    return take_value(id, &c, why);
}
