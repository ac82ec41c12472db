// SPDX-License-Identifier: ISC
#include "cli/bulk.h"
#include "cli/csv.h"
#include "cli/import.h"
#include "cli/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const struct ia_call *call;
    struct ia_csv csv;
    size_t n;                                       /* columns of the header */
    enum ia_bulk_column columns[IA_CSV_FIELDS_MAX]; /* what each of them is */
};

/* ---- the header */

static int find_column(struct source *in, const char *name)
{
    for (size_t i = 0; i < IA_BULK_COLUMNS; i++)
        if (strcmp(ia_bulk_names[i], name) == 0)
            return (int)i;
    const char *nearest = ia_nearest(name, ia_bulk_names, IA_BULK_COLUMNS);
    (void)ia_call_fail(in->call, 0, "line 1: unknown column '%.60s'%s%s%s", name, nearest ? "; did you mean '" : "",
                       nearest ? nearest : "", nearest ? "'?" : "");
    return -1;
}

static bool take_column(struct source *in, size_t i, const char *name, bool seen[IA_BULK_COLUMNS])
{
    int column = find_column(in, name);
    if (column < 0)
        return false;
    if (seen[column]) {
        (void)ia_call_fail(in->call, 0, "line 1: column '%s' is there twice", name);
        return false;
    }
    seen[column] = true;
    in->columns[i] = (enum ia_bulk_column)column;
    return true;
}

/* The first record names the columns; a byte order mark before it is not part of the first name. */
static bool read_header(struct source *in)
{
    bool seen[IA_BULK_COLUMNS] = {0};
    if (ia_csv_next(&in->csv) != IA_CSV_RECORD || in->csv.problem) {
        (void)ia_call_fail(in->call, 0, "line 1: %s", in->csv.problem ? in->csv.problem : "there is no header");
        return false;
    }
    in->n = in->csv.n;
    for (size_t i = 0; i < in->n; i++) {
        const char *name = in->csv.fields[i];
        if (i == 0 && strncmp(name, "\xEF\xBB\xBF", 3) == 0)
            name += 3;
        if (!take_column(in, i, name, seen))
            return false;
    }
    if (seen[IA_BULK_DEVICE_ID] && seen[IA_BULK_CA_NAME])
        return true;
    (void)ia_call_fail(in->call, 0, "line 1: the columns device_id and ca_name are required");
    return false;
}

/* ---- the lines */

/* JSON is checked here, because a cast that fails would end the whole import. */
static const char *attributes_problem(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    bool is_object = json_is_object(json);
    json_decref(json);
    return is_object ? NULL : "attributes is not a JSON object";
}

/* Colons and upper case are other notations of the same fingerprint. */
static void normalize_fingerprint(const char *text, char out[72])
{
    size_t n = 0;
    for (; *text && n < 71; text++)
        if (*text != ':')
            out[n++] = (char)tolower((unsigned char)*text);
    out[n] = '\0';
}

static bool add_record(struct source *in, struct ia_bulk *bulk)
{
    struct ia_bulk_line line = {.number = in->csv.line, .problem = in->csv.problem};
    char fingerprint[72];
    if (!line.problem && in->csv.n != in->n)
        line.problem = "its number of fields differs from that of the header";
    for (size_t i = 0; !line.problem && i < in->n; i++)
        if (in->csv.fields[i][0])
            line.values[in->columns[i]] = in->csv.fields[i];
    if (line.values[IA_BULK_ATTRIBUTES])
        line.problem = attributes_problem(line.values[IA_BULK_ATTRIBUTES]);
    if (line.values[IA_BULK_FINGERPRINT]) {
        normalize_fingerprint(line.values[IA_BULK_FINGERPRINT], fingerprint);
        line.values[IA_BULK_FINGERPRINT] = fingerprint;
    }
    return ia_bulk_add(bulk, &line);
}

static int import_records(struct source *in, struct ia_registry *registry)
{
    enum ia_csv_result got = IA_CSV_END;
    struct ia_bulk *bulk = ia_bulk_begin(registry, in->call);
    if (!bulk)
        return ia_registry_status(registry);
    bool sent = true;
    while (sent && (got = ia_csv_next(&in->csv)) == IA_CSV_RECORD)
        sent = add_record(in, bulk);
    if (got == IA_CSV_END)
        return ia_bulk_finish(bulk);
    ia_bulk_abort(bulk);
    return sent ? ia_call_fail(in->call, IA_EXIT_USAGE, "line %lld: it cannot be read", (long long)in->csv.line)
                : ia_registry_fail(registry, NULL);
}

static int import_file(struct source *in)
{
    int status = IA_EXIT_USAGE;
    if (!read_header(in))
        return status;
    struct ia_registry *registry = ia_registry_open(in->call, &status);
    if (registry)
        status = import_records(in, registry);
    ia_registry_close(registry);
    return status;
}

int ia_import_devices(const struct ia_call *call)
{
    const char *path = ia_call_get(call, "FILE.csv");
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rbe");
    struct source in = {.call = call};
    if (!file)
        return ia_call_fail(call, IA_EXIT_USAGE, "%s: %s", path, strerror(errno));
    ia_csv_begin(&in.csv, file);
    int status = import_file(&in);
    ia_csv_end(&in.csv);
    if (!is_stdin)
        (void)fclose(file);
    return status;
}
