// SPDX-License-Identifier: ISC
#include "cli/help.h"

#include "cli/cell.h"
#include "cli/describe.h"

#include <string.h>

#define LINE_MAX_  100 /* columns of help texts */
#define TEXT_AT    34  /* where the explanation of a parameter begins */
#define SYNOPSIS_N 2048

struct page {
    FILE *to;
    const char *program, *path;
    size_t skipped; /* characters of a verb's words that are not shown: "check " of iot-auth-check */
};

/* Print `text` from column `at` on, broken at spaces; further lines begin at `indent`. */
static void print_wrapped(FILE *to, const char *text, size_t at, size_t indent)
{
    while (*text) {
        size_t len = strcspn(text, " ");
        char word[256];
        (void)snprintf(word, sizeof word, "%.*s", (int)len, text);
        size_t width = ia_cell_width(word);
        if (at > indent && at + 1 + width > LINE_MAX_) {
            fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', to);
            at++;
        }
        fputs(word, to);
        at += width;
        text += len + strspn(text + len, " ");
    }
    fputc('\n', to);
}

static bool is_on_page(const struct page *page, const struct ia_verb *verb)
{
    size_t len = strlen(page->path);
    return len == 0 || (strncmp(verb->words, page->path, len) == 0 && (verb->words[len] == ' ' || !verb->words[len]));
}

static void print_usage(const struct page *page, const struct ia_verb *verb)
{
    char synopsis[SYNOPSIS_N];
    const char *text = ia_describe_synopsis(verb, synopsis, sizeof synopsis);
    int n = fprintf(page->to, "  %s %s", page->program, verb->words + page->skipped);
    print_wrapped(page->to, text, (size_t)n, 6);
}

static void print_param(FILE *to, const struct ia_param *param)
{
    char text[160];
    size_t width = ia_cell_width(ia_describe_param(param, text, sizeof text));
    fprintf(to, "  %s", text);
    if (width + 4 > TEXT_AT)
        fprintf(to, "\n%*s", TEXT_AT, "");
    else
        fprintf(to, "%*s", (int)(TEXT_AT - width - 2), "");
    print_wrapped(to, param->help, TEXT_AT, TEXT_AT);
}

static void print_params(FILE *to, const char *title, const struct ia_param *params, size_t n, unsigned flag)
{
    bool is_first = true;
    for (size_t i = 0; i < n; i++) {
        if ((params[i].flags & IA_P_ARGUMENT) != flag)
            continue;
        if (is_first)
            fprintf(to, "\n%s:\n", title);
        is_first = false;
        print_param(to, &params[i]);
    }
}

static void print_exit_statuses(FILE *to)
{
    const char *meaning;
    fputs("\nexit status:\n", to);
    for (int status = 0; (meaning = ia_exit_meaning(status)) != NULL; status++)
        fprintf(to, "  %d  %s\n", status, meaning);
}

static void print_verb(const struct page *page, const struct ia_verb *verb)
{
    fputs("usage:\n", page->to);
    print_usage(page, verb);
    fputc('\n', page->to);
    print_wrapped(page->to, verb->help, 0, 0);
    if (verb->more)
        print_wrapped(page->to, verb->more, 0, 0);
    print_params(page->to, "arguments", verb->params, verb->n_params, IA_P_ARGUMENT);
    print_params(page->to, "options", verb->params, verb->n_params, 0);
}

static void print_verbs(const struct page *page)
{
    const struct ia_verb *verb;
    fputs("usage:\n", page->to);
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++) {
        if (!is_on_page(page, verb))
            continue;
        if (page->path[0]) {
            print_usage(page, verb);
            continue;
        }
        int n = fprintf(page->to, "  %s %s", page->program, verb->words);
        fprintf(page->to, "%*s", n < TEXT_AT ? TEXT_AT - n : 1, "");
        print_wrapped(page->to, verb->help, TEXT_AT, TEXT_AT);
    }
}

void ia_help_print(FILE *to, const char *program, const char *path)
{
    struct page page = {.to = to, .program = program, .path = path};
    const struct ia_verb *verb, *only = NULL;
    if (strcmp(program, "iot-auth-check") == 0)
        page.skipped = strlen("check ");
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++)
        if (strcmp(verb->words, path) == 0)
            only = verb;
    if (only)
        print_verb(&page, only);
    else
        print_verbs(&page);
    print_params(to, "options of every command", ia_global_params, ia_n_global_params, 0);
    print_exit_statuses(to);
}
