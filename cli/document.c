// SPDX-License-Identifier: ISC
/* docs/reference/iot-auth.md and the manual pages. */
#include "cli/document.h"

#include "cli/completion.h"
#include "cli/describe.h"

#include <stdio.h>
#include <string.h>

#define SYNOPSIS_MAX 2048

/* ---- Markdown */

/* Text in a cell of a table: '|' would end it. */
static void print_cell_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            putchar('\\');
        putchar(*text);
    }
}

static void print_md_params(const struct ia_param *params, size_t n)
{
    char text[160];
    if (n == 0)
        return;
    puts("\n| parameter | meaning |\n| --- | --- |");
    for (size_t i = 0; i < n; i++) {
        fputs("| `", stdout);
        print_cell_text(ia_describe_param(&params[i], text, sizeof text));
        fputs("` | ", stdout);
        print_cell_text(params[i].help);
        puts(" |");
    }
}

static void print_md_verb(const struct ia_verb *verb)
{
    char synopsis[SYNOPSIS_MAX];
    const char *text = ia_describe_synopsis(verb, synopsis, sizeof synopsis);
    printf("\n### %s\n\n", verb->words);
    printf("```\niot-auth %s%s%s\n```\n\n", verb->words, *text ? " " : "", text);
    printf("%c%s", verb->help[0] - 'a' + 'A', verb->help + 1);
    puts(verb->help[strlen(verb->help) - 1] == '.' ? "" : ".");
    if (verb->more)
        printf("%s\n", verb->more);
    if (verb->question)
        printf("Asks before it does so%s%s, unless `--yes` is given.\n", verb->question_for ? " with " : "",
               verb->question_for ? verb->question_for : "");
    if (verb->sql && !strchr(verb->sql, ' '))
        printf("SQL: `iot_auth.%s`%s%s%s.\n", verb->sql, verb->otherwise ? ", or `iot_auth." : "",
               verb->otherwise ? verb->otherwise : "", verb->otherwise ? "`" : "");
    print_md_params(verb->params, verb->n_params);
}

static void print_markdown(void)
{
    const struct ia_verb *verb;
    const char *meaning;
    puts(
        "<!-- SPDX-License-Identifier: ISC -->\n"
        "<!-- Made by `iot-auth documentation markdown` from the table of verbs in cli/; a test compares both. -->\n"
        "# iot-auth\n\n"
        "One command to administer the registry with. Words and options are never guessed: a word that the command does\n"
        "not know is an error with the nearest one, and nothing was done. `iot-auth-check WORDS` is the same as\n"
        "`iot-auth check WORDS`.\n\n"
        "Every command takes these options:");
    print_md_params(ia_global_params, ia_n_global_params);
    puts("\n| exit status | meaning |\n| --- | --- |");
    for (int status = 0; (meaning = ia_exit_meaning(status)) != NULL; status++)
        printf("| %d | %s |\n", status, meaning);
    puts(
        "\nWith `--json` a list is one object a line; a command with several tables prints one object with an array for\n"
        "each. Keys are the names of SQL's columns, times are RFC 3339 with a zone. Errors go to standard error as text.\n\n"
        "## Commands");
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++)
        print_md_verb(verb);
}

/* ---- manual pages */

/* Text of a manual page: a backslash and a leading dot mean something to roff, and so does a hyphen in an option. */
static void print_roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void print_man_params(const struct ia_param *params, size_t n)
{
    char text[160];
    for (size_t i = 0; i < n; i++) {
        fputs(".TP\n.B ", stdout);
        print_roff(ia_describe_param(&params[i], text, sizeof text));
        putchar('\n');
        print_roff(params[i].help);
        putchar('\n');
    }
}

static void print_man_verb(const char *program, const struct ia_verb *verb, size_t skipped)
{
    char synopsis[SYNOPSIS_MAX];
    printf(".SS %s\n.B %s %s\n", verb->words + skipped, program, verb->words + skipped);
    print_roff(ia_describe_synopsis(verb, synopsis, sizeof synopsis));
    puts("\n.PP");
    print_roff(verb->help);
    putchar('\n');
    if (verb->more) {
        puts(".PP");
        print_roff(verb->more);
        putchar('\n');
    }
    print_man_params(verb->params, verb->n_params);
}

/* The verbs that begin with `group`, "" for all. */
static void print_man_page(const char *program, const char *what, const char *group)
{
    const struct ia_verb *verb;
    const char *meaning;
    size_t len = strlen(group);
    printf(".\\\" SPDX-License-Identifier: ISC\n.TH %s 1 \"\" \"mosquitto-iot-auth %s\"\n", program, IA_VERSION);
    printf(".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n.I COMMAND\n[ARGUMENTS] [OPTIONS]\n", program, what, program);
    puts(".SH COMMANDS");
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++)
        if (strncmp(verb->words, group, len) == 0)
            print_man_verb(program, verb, len);
    puts(".SH OPTIONS OF EVERY COMMAND");
    print_man_params(ia_global_params, ia_n_global_params);
    puts(".SH EXIT STATUS");
    for (int status = 0; (meaning = ia_exit_meaning(status)) != NULL; status++)
        printf(".TP\n.B %d\n%s\n", status, meaning);
    puts(".SH SEE ALSO\n.BR iot\\-auth (1),\n.BR iot\\-auth\\-check (1),\n.BR mosquitto_iot_auth (5),\n.BR psql (1)");
}

static void print_man(void)
{
    print_man_page("iot-auth", "administer the registry of mosquitto-iot-auth", "");
}

static void print_man_check(void)
{
    print_man_page("iot-auth-check", "decide as mosquitto-iot-auth does, without a broker", "check ");
}

int ia_document_run(const struct ia_call *call)
{
    static const struct {
        const char *format;
        void (*print)(void);
    } formats[] = {{"markdown", print_markdown},
                   {"man", print_man},
                   {"man-check", print_man_check},
                   {"bash", ia_completion_bash},
                   {"zsh", ia_completion_zsh}};
    const char *wanted = ia_call_get(call, "FORMAT");
    for (size_t i = 0; i < IA_COUNT(formats); i++)
        if (strcmp(formats[i].format, wanted) == 0)
            formats[i].print();
    return IA_EXIT_DONE;
}
