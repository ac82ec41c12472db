// SPDX-License-Identifier: ISC
#include "acl/rule_text.h"

#include <string.h>
#include <strings.h>

#define BLANKS " \t\r\n"

static const struct {
    const char *text;
    int max_qos;      /* -1: the attribute does not set it */
    int allow_retain; /* -1: the attribute does not set it */
} attributes[] = {
    {"max_qos=0", 0, -1}, {"max_qos=1", 1, -1}, {"max_qos=2", 2, -1}, {"retain=no", -1, 0}, {"retain=yes", -1, 1},
};

/* The word at *p, NUL-terminated; *p moves on to the next.  "" at the end of the line. */
static char *next_word(char **p)
{
    char *word = *p + strspn(*p, BLANKS);
    char *end = word + strcspn(word, BLANKS);
    *p = end;
    if (*end) {
        *end = '\0';
        *p = end + 1 + strspn(end + 1, BLANKS);
    }
    return word;
}

static enum ia_rc parse_actions(char *list, unsigned *out, struct ia_err *err)
{
    unsigned all = 0;
    char *rest = NULL;
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        unsigned action = ia_action_from_name(name);
        if (!action)
            return ia_fail(err, IA_FORMAT, "'%.40s' is not an action; expected PUBLISH, SUBSCRIBE or RECEIVE", name);
        all |= action;
    }
    if (!all)
        return ia_fail(err, IA_FORMAT, "no action; expected PUBLISH, SUBSCRIBE or RECEIVE");
    *out = all;
    return IA_OK;
}

static void trim_end(char *text)
{
    size_t len = strlen(text);
    while (len && strchr(BLANKS, text[len - 1]))
        text[--len] = '\0';
}

static bool apply_attribute(const char *text, struct ia_rule *rule)
{
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        if (strcmp(text, attributes[i].text) != 0)
            continue;
        if (attributes[i].max_qos >= 0)
            rule->max_qos = attributes[i].max_qos;
        if (attributes[i].allow_retain >= 0)
            rule->allow_retain = attributes[i].allow_retain != 0;
        return true;
    }
    return false;
}

/* Remove `max_qos=` and `retain=` from the end of the filter and apply them. */
static enum ia_rc parse_attributes(char *filter, struct ia_rule *rule, struct ia_err *err)
{
    for (;;) {
        trim_end(filter);
        char *last = strrchr(filter, ' ');
        char *word = last ? last + 1 : filter;
        if (strncmp(word, "max_qos=", 8) != 0 && strncmp(word, "retain=", 7) != 0)
            return IA_OK;
        if (!apply_attribute(word, rule))
            return ia_fail(err, IA_FORMAT, "'%.40s' is not valid; expected max_qos=0, 1 or 2, or retain=yes or no",
                           word);
        *word = '\0';
    }
}

enum ia_rc ia_rule_parse(char *line, struct ia_rule *rule, struct ia_err *err)
{
    struct ia_rule read = {.rule_id = rule->rule_id, .role = rule->role, .max_qos = 2, .allow_retain = true};
    const char *effect = next_word(&line);
    read.allow = strcasecmp(effect, "ALLOW") == 0;
    if (!read.allow && strcasecmp(effect, "DENY") != 0)
        return ia_fail(err, IA_FORMAT, "'%.40s' is neither ALLOW nor DENY", effect);
    enum ia_rc rc = parse_actions(next_word(&line), &read.actions, err);
    if (rc == IA_OK)
        rc = parse_attributes(line, &read, err);
    if (rc != IA_OK)
        return rc;
    if (line[0] == '\0')
        return ia_fail(err, IA_FORMAT, "no topic filter");
    read.topic_filter = line;
    *rule = read;
    return IA_OK;
}
