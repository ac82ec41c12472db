// SPDX-License-Identifier: ISC
#include "cli/run.h"

#include "cli/input.h"
#include "cli/table.h"
#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SQL_MAX 2048 /* a call of a function with all its arguments */

/* The parameters of the verb as text for SQL. */
struct arguments {
    int n;
    const char *values[IA_VERB_PARAMS_MAX + 1]; /* the last: the result of verb->sql */
    char *owned[IA_VERB_PARAMS_MAX + 1];
};

static void clear_arguments(struct arguments *a)
{
    for (size_t i = 0; i < sizeof a->owned / sizeof a->owned[0]; i++)
        free(a->owned[i]);
}

/* An array literal of PostgreSQL: {"a","b"}. */
static char *array_literal(const struct ia_values *values)
{
    size_t size = 3;
    for (size_t i = 0; i < values->n; i++)
        size += strlen(values->items[i]) * 2 + 3;
    char *out = malloc(size), *end = out;
    if (!out)
        return NULL;
    *end++ = '{';
    for (size_t i = 0; i < values->n; i++) {
        if (i > 0)
            *end++ = ',';
        *end++ = '"';
        for (const char *c = values->items[i]; *c; c++) {
            if (*c == '"' || *c == '\\')
                *end++ = '\\';
            *end++ = *c;
        }
        *end++ = '"';
    }
    *end++ = '}';
    *end = '\0';
    return out;
}

static enum ia_rc fill_argument(const struct ia_call *call, size_t i, struct arguments *a, struct ia_err *err)
{
    const struct ia_values *values = &call->values[i];
    unsigned flags = call->verb->params[i].flags;
    if (!values->given)
        return IA_OK;
    if (flags & (IA_P_LIST | IA_P_SPLIT)) {
        a->owned[i] = array_literal(values);
        a->values[i] = a->owned[i];
        return a->owned[i] ? IA_OK : ia_nomem(err);
    }
    a->values[i] = values->items[0];
    if (!(flags & IA_P_FILE))
        return IA_OK;
    enum ia_rc rc = ia_input_document(values->items[0], &a->owned[i], err);
    a->values[i] = a->owned[i];
    return rc;
}

static enum ia_rc fill_arguments(const struct ia_call *call, struct arguments *a, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    for (size_t i = 0; rc == IA_OK && i < call->verb->n_params; i++)
        rc = fill_argument(call, i, a, err);
    a->n = (int)call->verb->n_params + 1;
    return rc;
}

/* SELECT iot_auth.f(name => $1::text, …) of the parameters that are given.  Only words of the table become SQL. */
static void build_call(const struct ia_call *call, const struct arguments *a, char *sql, size_t size)
{
    const struct ia_verb *verb = call->verb;
    bool is_other = verb->otherwise && ia_call_flagged(call, IA_P_TOGETHER) == verb->n_params;
    int len = snprintf(sql, size, "SELECT iot_auth.%s(", is_other ? verb->otherwise : verb->sql);
    const char *comma = "";
    for (size_t i = 0; i < verb->n_params; i++) {
        const char *argument = verb->params[i].sql;
        if (!argument || !a->values[i])
            continue;
        int name = (int)strcspn(argument, " ");
        len += snprintf(sql + len, size - (size_t)len, "%s%.*s => $%zu::%s", comma, name, argument, i + 1,
                        argument + name + 1);
        comma = ", ";
    }
    (void)snprintf(sql + len, size - (size_t)len, "%s%s)", verb->fixed ? comma : "", verb->fixed ? verb->fixed : "");
}

static int run_change(struct ia_registry *registry, const struct ia_call *call, struct arguments *a)
{
    char sql[SQL_MAX];
    const struct ia_verb *verb = call->verb;
    int last = (int)verb->n_params;
    if (!verb->sql)
        return IA_EXIT_DONE;
    if (!(verb->flags & IA_V_STATEMENT))
        build_call(call, a, sql, sizeof sql);
    a->owned[last] =
        ia_registry_value(registry, verb->flags & IA_V_STATEMENT ? verb->sql : sql, a->values, (int)verb->n_params);
    a->values[last] = a->owned[last];
    return ia_registry_status(registry);
}

/* ---- output */

/* Each row as a JSON object: `before` the first, `between` two of them, `after` the last. */
static int print_json_rows(struct ia_registry *registry, const char *sql, const char *const *values, int n,
                           const char *before, const char *between, const char *after)
{
    ia_autofree char *text = NULL;
    if (asprintf(&text, "SELECT to_json(q) FROM (%s) q", sql) < 0)
        return IA_EXIT_REFUSED;
    PGresult *result = ia_registry_run(registry, text, values, n);
    int rows = result ? PQntuples(result) : 0;
    fputs(before, stdout);
    for (int i = 0; i < rows; i++)
        printf("%s%s", PQgetvalue(result, i, 0), i < rows - 1 ? between : "");
    fputs(rows > 0 || *before ? after : "", stdout);
    PQclear(result);
    return ia_registry_status(registry);
}

static void print_result(const struct ia_call *call, const struct ia_query *query, const PGresult *result)
{
    bool is_empty = PQntuples(result) == 0;
    if (query->title)
        printf("%s:%s\n", query->title, is_empty ? " none" : "");
    if (query->record)
        ia_table_print_record(result, call->utc);
    else if (!query->title || !is_empty)
        ia_table_print(result, call->utc);
}

int ia_run_query(struct ia_registry *registry, const struct ia_call *call, const struct ia_query *query,
                 const char *const *values, int n)
{
    if (call->json && !call->quiet)
        return print_json_rows(registry, query->sql, values, n, "", "\n", "\n");
    PGresult *result = ia_registry_run(registry, query->sql, values, n);
    if (result && !call->quiet)
        print_result(call, query, result);
    PQclear(result);
    return ia_registry_status(registry);
}

static int print_json_object(struct ia_registry *registry, const struct ia_query *queries, size_t n,
                             const char *const *values, int n_values)
{
    int status = IA_EXIT_DONE;
    for (size_t i = 0; status == IA_EXIT_DONE && i < n; i++) {
        printf("%s\"%s\": ", i ? ", " : "{", queries[i].title);
        status = print_json_rows(registry, queries[i].sql, values, n_values, "[", ", ", "]");
    }
    puts("}");
    return status;
}

int ia_run_queries(struct ia_registry *registry, const struct ia_call *call, const struct ia_query *queries, size_t n,
                   const char *const *values, int n_values)
{
    int status = IA_EXIT_DONE;
    if (n > 1 && call->json && !call->quiet)
        return print_json_object(registry, queries, n, values, n_values);
    for (size_t i = 0; status == IA_EXIT_DONE && i < n; i++) {
        if (i > 0 && !call->quiet)
            putchar('\n');
        status = ia_run_query(registry, call, &queries[i], values, n_values);
    }
    return status;
}

/* ---- the question */

/* Ask `text` on the terminal; true: yes (or --yes).  Without a terminal nobody can answer: false, with the reason
 * printed. */
static bool ask_user(const struct ia_call *call, const char *text)
{
    char answer[16];
    if (call->yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        (void)ia_call_fail(call, 0, "%s  There is no terminal to ask on: give --yes", text);
        return false;
    }
    fprintf(stderr, "%s [yes/no] ", text);
    if (!fgets(answer, sizeof answer, stdin))
        return false;
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcmp(answer, "yes") == 0 || strcmp(answer, "y") == 0;
}

/* Some verbs ask only where a chosen value is the one that is final. */
static bool is_question_due(const struct ia_call *call)
{
    const struct ia_verb *verb = call->verb;
    if (!verb->question || !verb->question_for)
        return verb->question != NULL;
    for (size_t i = 0; i < verb->n_params; i++)
        if (strchr(verb->params[i].value, '|') && call->values[i].n &&
            strcmp(call->values[i].items[0], verb->question_for) == 0)
            return true;
    return false;
}

static bool is_confirmed(const struct ia_call *call)
{
    char text[256];
    const struct ia_values *first = &call->values[0];
    if (!is_question_due(call))
        return true;
    const char *question = call->verb->question, *rest = strstr(question, "%s");
    (void)snprintf(text, sizeof text, "%.*s%.80s%s%s", (int)(rest - question), question, first->items[0],
                   first->n > 1 ? " and others" : "", rest + 2);
    return ask_user(call, text);
}

/* ---- all of it */

static int run_connected(const struct ia_call *call, struct arguments *a)
{
    int status = IA_EXIT_DONE;
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (!registry)
        return status;
    status = run_change(registry, call, a);
    if (status == IA_EXIT_DONE)
        status = ia_run_queries(registry, call, call->verb->queries, call->verb->n_queries, a->values, a->n);
    ia_registry_close(registry);
    return status;
}

int ia_run_verb(const struct ia_call *call)
{
    struct arguments a = {0};
    struct ia_err err = {0};
    int status = IA_EXIT_DONE;
    if (fill_arguments(call, &a, &err) != IA_OK)
        status = ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    else if (!is_confirmed(call))
        status = IA_EXIT_NOT_CONFIRMED;
    else
        status = run_connected(call, &a);
    clear_arguments(&a);
    return status;
}
