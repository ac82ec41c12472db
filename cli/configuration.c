// SPDX-License-Identifier: ISC
#include "cli/configuration.h"

#include "cli/input.h"
#include "cli/registry.h"
#include "cli/run.h"
#include "common/str.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* $1: the configuration; $2: not NULL: also what only the registry has. */
#define DIFFERENCES "FROM iot_auth.compare_configuration($1::jsonb) d WHERE d.change <> 'keep' OR $2 IS NOT NULL"

static const struct ia_query differences = {.sql = "SELECT d.kind, d.name, d.change, d.settings " DIFFERENCES};

/* Sorted and indented, so that two exports can be compared line by line. */
static int print_sorted(const struct ia_call *call, const char *text)
{
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    char *sorted = json ? json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    if (sorted)
        puts(sorted);
    free(sorted);
    json_decref(json);
    return sorted ? IA_EXIT_DONE : ia_call_fail(call, IA_EXIT_REFUSED, "the configuration cannot be shown as JSON");
}

int ia_configuration_export(const struct ia_call *call)
{
    int status = IA_EXIT_DONE;
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (!registry)
        return status;
    ia_autofree char *text = ia_registry_value(registry, "SELECT iot_auth.export_configuration()", NULL, 0);
    status = ia_registry_status(registry);
    ia_registry_close(registry);
    return text ? print_sorted(call, text) : status;
}

/* A member that is there twice would be lost in silence. */
static enum ia_rc check_document(const char *path, const char *text, struct ia_err *err)
{
    json_error_t where = {.line = 1, .text = "another value"};
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    bool is_object = json_is_object(json);
    json_decref(json);
    if (is_object)
        return IA_OK;
    return ia_fail(err, IA_FORMAT, "%.80s: line %d: it is not a JSON object: %.60s", path, where.line, where.text);
}

static int show_differences(struct ia_registry *registry, const struct ia_call *call, const char *const *values)
{
    ia_autofree char *count = ia_registry_value(registry, "SELECT nullif(count(*), 0) " DIFFERENCES, values, 2);
    int status = ia_registry_status(registry);
    if (status != IA_EXIT_DONE || !count)
        return status;
    status = ia_run_query(registry, call, &differences, values, 2);
    return status == IA_EXIT_DONE ? IA_EXIT_DENY : status;
}

/* What changes is shown in the transaction that changes it. */
static int apply_document(struct ia_registry *registry, const struct ia_call *call, const char *const *values)
{
    if (!ia_registry_do(registry, "BEGIN ISOLATION LEVEL REPEATABLE READ") ||
        ia_run_query(registry, call, &differences, values, 2) != IA_EXIT_DONE)
        return ia_registry_status(registry);
    free(ia_registry_value(registry, "SELECT iot_auth.import_configuration($1::jsonb)", values, 2));
    if (ia_registry_status(registry) == IA_EXIT_DONE)
        (void)ia_registry_do(registry, "COMMIT");
    return ia_registry_status(registry);
}

int ia_configuration_import(const struct ia_call *call)
{
    const char *path = ia_call_get(call, "FILE.json");
    ia_autofree char *text = NULL;
    struct ia_err err = {0};
    int status = IA_EXIT_DONE;
    if (ia_input_document(path, &text, &err) != IA_OK || check_document(path, text, &err) != IA_OK)
        return ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (!registry)
        return status;
    bool is_diff = ia_call_has(call, "diff");
    const char *const values[] = {text, is_diff ? "all" : NULL};
    status = is_diff ? show_differences(registry, call, values) : apply_document(registry, call, values);
    ia_registry_close(registry);
    return status;
}
