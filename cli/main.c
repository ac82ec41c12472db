// SPDX-License-Identifier: ISC
/* iot-auth: one command to administer the registry with.  As iot-auth-check it is the verbs below "check" alone. */
#include "cli/call.h"
#include "cli/cell.h"
#include "cli/check.h"
#include "cli/configuration.h"
#include "cli/document.h"
#include "cli/events.h"
#include "cli/help.h"
#include "cli/import.h"
#include "cli/migrate.h"
#include "cli/run.h"
#include "cli/setup.h"
#include "cli/status.h"
#include "cli/try_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The verbs that SQL alone does not do. */
static const struct program {
    const char *words;
    int (*run)(const struct ia_call *call);
} programs[] = {
    {"setup", ia_setup_run},
    {"export", ia_configuration_export},
    {"import", ia_configuration_import},
    {"issuer add", ia_try_out_add},
    {"token make", ia_try_out_token},
    {"device import", ia_import_devices},
    {"cert import", ia_import_certificates},
    {"status", ia_status_run},
    {"events", ia_events_run},
    {"migrate", ia_migrate_run},
    {"documentation", ia_document_run},
    {"check cert", ia_check_cert},
    {"check chain", ia_check_chain},
    {"check token", ia_check_token},
    {"check topic", ia_check_topic},
    {"check device", ia_check_device},
};

static int run_program(const struct ia_call *call)
{
    for (size_t i = 0; i < IA_COUNT(programs); i++)
        if (strcmp(programs[i].words, call->verb->words) == 0)
            return programs[i].run(call);
    return ia_run_verb(call);
}

/* Output that could not be written must not look like a result: exit with an error instead. */
static int flush_output(const char *program, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "%s: cannot write to standard output\n", program);
    return IA_EXIT_USAGE;
}

static int show_help(const char *program, const char *path)
{
    ia_help_print(stdout, program, path);
    return IA_EXIT_DONE;
}

/* The same arguments with "check" in front. */
static char **check_arguments(int argc, char **argv)
{
    char **longer = calloc((size_t)argc + 2, sizeof *longer);
    if (!longer)
        return NULL;
    longer[0] = argv[0];
    longer[1] = "check";
    for (int i = 1; i < argc; i++)
        longer[i + 1] = argv[i];
    return longer;
}

static int run_call(struct ia_call *call, int argc, char **argv)
{
    struct ia_err err = {0};
    enum ia_ask ask;
    char path[64];
    if (ia_call_parse(argc, argv, call, &ask, path, sizeof path, &err) != IA_OK)
        return ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    if (ask == IA_ASK_HELP)
        return show_help(call->program, path);
    if (ask == IA_ASK_VERSION)
        return printf("%s %s\n", call->program, IA_VERSION) < 0;
    return run_program(call);
}

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = argc > 0 ? (slash ? slash + 1 : argv[0]) : "iot-auth";
    bool is_check = strcmp(name, "iot-auth-check") == 0;
    struct ia_call call = {.program = is_check ? "iot-auth-check" : "iot-auth"};
    char **arguments = is_check ? check_arguments(argc, argv) : argv;
    if (!arguments) {
        fputs(IA_NOMEM_TEXT "\n", stderr);
        return IA_EXIT_USAGE;
    }
    ia_cell_setup();
    if (argc < 2) {
        ia_help_print(stderr, call.program, is_check ? "check" : "");
        return IA_EXIT_USAGE;
    }
    int status = run_call(&call, argc + is_check, arguments);
    if (is_check)
        free(arguments);
    const char *program = call.program;
    ia_call_clear(&call);
    return flush_output(program, status);
}
