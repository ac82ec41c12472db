// SPDX-License-Identifier: ISC
#include "cli/describe.h"

#include <stdio.h>
#include <string.h>

const char *ia_describe_param(const struct ia_param *param, char *text, size_t size)
{
    bool is_argument = param->flags & IA_P_ARGUMENT;
    const char *more = param->flags & IA_P_SPLIT                                                    ? ",…"
                       : param->flags & IA_P_LIST && (is_argument || param->flags & IA_P_FOLLOWING) ? "…"
                                                                                                    : "";
    (void)snprintf(text, size, "%s%s%s%s%s", is_argument ? "" : "--", is_argument ? "" : param->name,
                   !is_argument && param->value ? " " : "", param->value ? param->value : "", more);
    return text;
}

/* One parameter of the synopsis; alternatives stand in one pair of brackets or braces. */
static void append_param(const struct ia_param *param, const char *before, const char *after, char *text, size_t size)
{
    char one[160];
    size_t len = strlen(text);
    ia_describe_param(param, one, sizeof one);
    (void)snprintf(text + len, size - len, "%s%s%s", before, one, after);
}

/* All parameters of one alternative: {--ca NAME | --device ID}, or of one group: [--pem FILE --ca NAME]. */
static void append_alternatives(const struct ia_verb *verb, unsigned flag, char *text, size_t size)
{
    bool is_first = true;
    for (size_t i = 0; i < verb->n_params; i++) {
        if (!(verb->params[i].flags & flag))
            continue;
        const char *open = flag == IA_P_ONE_OF ? " {" : " [";
        append_param(&verb->params[i], is_first ? open : flag == IA_P_TOGETHER ? " " : " | ", "", text, size);
        is_first = false;
    }
    size_t len = strlen(text);
    if (!is_first)
        (void)snprintf(text + len, size - len, "%s", flag == IA_P_ONE_OF ? "}" : "]");
}

const char *ia_describe_synopsis(const struct ia_verb *verb, char *text, size_t size)
{
    const unsigned alternatives = IA_P_ONE_OF | IA_P_EXCLUSIVE | IA_P_TOGETHER;
    *text = '\0';
    for (size_t i = 0; i < verb->n_params; i++)
        if (!(verb->params[i].flags & alternatives) && verb->params[i].flags & IA_P_REQUIRED)
            append_param(&verb->params[i], " ", "", text, size);
    append_alternatives(verb, IA_P_ONE_OF, text, size);
    append_alternatives(verb, IA_P_EXCLUSIVE, text, size);
    append_alternatives(verb, IA_P_TOGETHER, text, size);
    for (size_t i = 0; i < verb->n_params; i++)
        if (!(verb->params[i].flags & (alternatives | IA_P_REQUIRED)))
            append_param(&verb->params[i], " [", "]", text, size);
    return text + (*text == ' ');
}
