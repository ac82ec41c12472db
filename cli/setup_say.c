// SPDX-License-Identifier: ISC
#include "cli/setup.h"

#include "common/str.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *state_word(const struct ia_setup *setup, enum ia_setup_state state)
{
    static const char *const words[] = {[IA_SETUP_MADE] = "made",
                                        [IA_SETUP_KEPT] = "kept",
                                        [IA_SETUP_FOUND] = "found",
                                        [IA_SETUP_WARNING] = "warning",
                                        [IA_SETUP_PROBLEM] = "problem"};
    return state == IA_SETUP_MADE && setup->dry_run ? "would make" : words[state];
}

void ia_setup_print_json(const char *state, const char *text)
{
    json_t *line = json_pack("{s:s, s:s}", "state", state, "text", text);
    char *out = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (out)
        puts(out);
    free(out);
    json_decref(line);
}

void ia_setup_say(struct ia_setup *setup, enum ia_setup_state state, const char *fmt, ...)
{
    ia_autofree char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    const char *word = state_word(setup, state), *words = text ? text : IA_NOMEM_TEXT;
    setup->problems += state == IA_SETUP_PROBLEM;
    setup->made += state == IA_SETUP_MADE;
    if (state == IA_SETUP_PROBLEM)
        (void)ia_call_fail(setup->call, 0, "%s", words);
    else if (setup->call->json && !setup->call->quiet)
        ia_setup_print_json(word, words);
    else if (!setup->call->quiet)
        printf("%s: %s\n", word, words);
}
