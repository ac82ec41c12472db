// SPDX-License-Identifier: ISC
#include "acl/levels.h"

#include "common/str.h"

#include <string.h>

/* The variables that a rule may use: a whole name, or the prefix of a name that the administrator chooses. */
static const struct {
    const char *name;
    bool prefix;
} variables[] = {
    {"device_id", false}, {"client_id", false}, {"tenant", false}, {"ca", false},
    {"app_id", false},    {"issuer", false},    {"claim.", true},  {"attr.", true},
};

static bool variable_known(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        size_t fixed = strlen(variables[i].name);
        if (len < fixed || memcmp(name, variables[i].name, fixed) != 0)
            continue;
        if (variables[i].prefix ? ia_value_valid(name + fixed, len - fixed, NULL) : len == fixed)
            return true;
    }
    return false;
}

static bool holds_variable(const char *text, size_t len)
{
    for (size_t i = 0; i + 1 < len; i++)
        if (text[i] == '$' && text[i + 1] == '{')
            return true;
    return false;
}

/* `${` anywhere is meant as a variable: reading a misspelt variable as a literal would lose a DENY. */
static const char *parse_variable(struct ia_level *level)
{
    const char *text = level->text;
    size_t len = level->len;
    if (level->kind != IA_LEVEL_LITERAL || !holds_variable(text, len))
        return NULL;
    if (text[0] != '$' || text[1] != '{' || memchr(text, '}', len) != text + len - 1)
        return "a ${variable} must be a whole level";
    if (!variable_known(text + 2, len - 3))
        return "it holds a ${variable} that does not exist";
    level->kind = IA_LEVEL_VARIABLE;
    level->text = text + 2;
    level->len = (uint32_t)(len - 3);
    return NULL;
}

const char *ia_filter_parse(struct ia_levels *out, const char *text)
{
    const char *error = ia_levels_split(out, text, IA_TOPIC_FILTER);
    for (size_t i = 0; !error && i < out->n; i++)
        error = parse_variable(&out->at[i]);
    return error;
}
