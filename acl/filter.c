// SPDX-License-Identifier: ISC
#include "acl/levels.h"

#include "common/pointer_text.h"
#include "common/str.h"
#include "common/template.h"

#include <ctype.h>
#include <string.h>

/* The variables that a rule may use: a whole name, or the prefix of a name that the administrator chooses. */
static const struct {
    const char *name;
    bool prefix;
} variables[] = {
    {"device_id", false}, {"client_id", false}, {"tenant", false}, {"ca", false},
    {"app_id", false},    {"issuer", false},    {"claim.", true},  {"attr.", true},
};

/* `claim:/a/b`: a claim by its JSON Pointer. */
#define POINTER_PREFIX "claim:"
#define POINTER_START  (sizeof POINTER_PREFIX - 1)

static bool is_pointer_variable(const char *name, size_t len)
{
    if (len <= POINTER_START || memcmp(name, POINTER_PREFIX, POINTER_START) != 0)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] && strchr("+#*${}", name[i]))
            return false;
    return !ia_pointer_text_fault(name + POINTER_START, len - POINTER_START);
}

static bool variable_known(const char *name, size_t len)
{
    if (is_pointer_variable(name, len))
        return true;
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
        return "it contains a ${variable} that does not exist";
    level->kind = IA_LEVEL_VARIABLE;
    level->text = text + 2;
    level->len = (uint32_t)(len - 3);
    return NULL;
}

static bool begins_pointer(const struct ia_level *level)
{
    static const char begin[] = "${" POINTER_PREFIX;
    return level->kind == IA_LEVEL_LITERAL && level->len >= sizeof begin - 1 &&
           memcmp(level->text, begin, sizeof begin - 1) == 0 && !memchr(level->text, '}', level->len);
}

/* The slashes of a pointer are no level separators: make `${claim:/a/b}` one level again.  Its end is the first level
 * with a brace; without one everything stays as it is, and parse_variable refuses it. */
static void join_pointer(struct ia_levels *levels, size_t first)
{
    size_t last = first + 1;
    while (last < levels->n && !memchr(levels->at[last].text, '}', levels->at[last].len))
        last++;
    if (last >= levels->n)
        return;
    levels->at[first].len = (uint32_t)ia_levels_bytes(&levels->at[first], &levels->at[last]);
    memmove(&levels->at[first + 1], &levels->at[last + 1], (levels->n - last - 1) * sizeof levels->at[0]);
    levels->n -= last - first;
}

/* The first levels that only requests have, or only other brokers. */
static const struct {
    const char *level, *error;
} refused_first_levels[] = {
    {"$share", "it begins with $share: rules are matched without $share/<group>/"},
    {"$queue", "it begins with $queue, which Mosquitto does not have"},
    {"$exclusive", "it begins with $exclusive, which Mosquitto does not have"},
    {"$delayed", "it begins with $delayed, which Mosquitto does not have"},
    {"$oshare", "it begins with $oshare, which Mosquitto does not have"},
    {"$local", "it begins with $local, which Mosquitto does not have"},
};

static bool level_equals(const struct ia_level *level, const char *text)
{
    return level->len == strlen(text) && memcmp(level->text, text, level->len) == 0;
}

static const char *check_first_level(const struct ia_level *level)
{
    for (size_t i = 0; i < sizeof refused_first_levels / sizeof refused_first_levels[0]; i++)
        if (level_equals(level, refused_first_levels[i].level))
            return refused_first_levels[i].error;
    return NULL;
}

static bool is_identifier(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '.')
            return false;
    return len > 0 && !isdigit((unsigned char)text[0]);
}

/* `{name}` as a whole level, or the name of a variable in braces anywhere: other brokers' templates. */
static bool has_brace_placeholder(const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *open = text; (open = memchr(open, '{', (size_t)(end - open))) != NULL; open++) {
        const char *close = memchr(open, '}', (size_t)(end - open));
        if (!close)
            return false;
        const char *name = open + 1;
        size_t name_len = (size_t)(close - name);
        if (variable_known(name, name_len) || (open == text && close + 1 == end && is_identifier(name, name_len)))
            return true;
    }
    return false;
}

/* `$device_id`, `<device_id>`, `%device_id%`, `:device_id` and the like: a variable, misspelt. */
static bool is_decorated_variable(const char *text, size_t len)
{
    size_t first = 0, end = len;
    while (first < end && strchr("$%<([:", text[first]))
        first++;
    while (end > first && strchr(">)]%", text[end - 1]))
        end--;
    return first > 0 && variable_known(text + first, end - first);
}

/* A level that can never match what was meant is refused: in a DENY it would leave open what should be closed. */
static const char *check_literal(const struct ia_level *level)
{
    if (ia_has_percent_placeholder(level->text, level->len))
        return "it contains %u, %c or %m, which is not replaced: a variable is written ${name}";
    if (has_brace_placeholder(level->text, level->len))
        return "it contains {name}, which is not replaced: a variable is written ${name}";
    if (is_decorated_variable(level->text, level->len))
        return "it contains a variable that is not written ${name}";
    return NULL;
}

/* Mosquitto closes the connection of a client whose topic contains a control character or a Unicode non-character, so
 * such a filter matches nothing. */
static const char *check_characters(const char *text)
{
    size_t len = strlen(text);
    uint32_t cp;
    for (size_t i = 0, n; i < len && (n = ia_utf8_next(text + i, len - i, &cp)) > 0; i += n) {
        if (ia_is_control(cp))
            return "it contains a control character";
        if ((cp >= 0xFDD0 && cp <= 0xFDEF) || (cp & 0xFFFE) == 0xFFFE)
            return "it contains a Unicode non-character";
    }
    return text[0] == ' ' || text[len - 1] == ' ' ? "it begins or ends with a space" : NULL;
}

const char *ia_filter_parse(struct ia_levels *out, const char *text)
{
    const char *error = ia_levels_split(out, text, IA_TOPIC_FILTER);
    if (!error)
        error = check_characters(text);
    if (!error)
        error = check_first_level(&out->at[0]);
    if (!error && !strpbrk(text, "$%{<([:")) /* none of what the rest looks for: most filters of a large role */
        return NULL;
    for (size_t i = 0; !error && i < out->n; i++) {
        if (begins_pointer(&out->at[i]))
            join_pointer(out, i);
        error = parse_variable(&out->at[i]);
        if (!error && out->at[i].kind == IA_LEVEL_LITERAL)
            error = check_literal(&out->at[i]);
    }
    return error;
}
