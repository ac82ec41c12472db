// SPDX-License-Identifier: ISC
/* The grammar of RFC 4180, section 2:
 *
 *   record      = field *(COMMA field)
 *   field       = (escaped / non-escaped)
 *   escaped     = DQUOTE *(TEXTDATA / COMMA / CR / LF / 2DQUOTE) DQUOTE
 *   non-escaped = *TEXTDATA
 *
 * with LF alone as a line end, too. */
#include "cli/csv.h"

#include "common/str.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct scan {
    struct ia_csv *csv;
    size_t starts[IA_CSV_FIELDS_MAX];
    bool failed; /* out of memory */
};

void ia_csv_begin(struct ia_csv *csv, FILE *in)
{
    *csv = (struct ia_csv){.in = in, .next_line = 1};
}

void ia_csv_end(struct ia_csv *csv)
{
    free(csv->text);
    csv->text = NULL;
}

static void fail_record(struct ia_csv *csv, const char *problem)
{
    if (!csv->problem)
        csv->problem = problem;
}

static void append_octet(struct scan *s, int c)
{
    struct ia_csv *csv = s->csv;
    if (csv->used >= IA_CSV_RECORD_MAX) {
        fail_record(csv, "the record is longer than 1 MiB");
        csv->text[csv->used - 1] = '\0'; /* each field ends within the record */
        return;
    }
    if (csv->used == csv->size) {
        size_t size = csv->size ? csv->size * 2 : 4096;
        char *grown = realloc(csv->text, size);
        if (!grown) {
            s->failed = true;
            return;
        }
        csv->text = grown;
        csv->size = size;
    }
    csv->text[csv->used++] = (char)c;
}

static int next_octet(struct ia_csv *csv)
{
    int c = getc_unlocked(csv->in);
    if (c == '\n')
        csv->next_line++;
    if (c == '\0')
        fail_record(csv, "it contains a NUL");
    return c;
}

/* The rest of a quoted field; returns the octet behind its closing quote. */
static int scan_quoted(struct scan *s)
{
    for (;;) {
        int c = next_octet(s->csv);
        if (c == EOF) {
            fail_record(s->csv, "a quoted field has no end");
            return c;
        }
        if (c == '"') {
            c = next_octet(s->csv);
            if (c != '"')
                return c;
        }
        append_octet(s, c);
    }
}

/* One field that begins with `c`; returns the octet that ends it: ',', '\n' or EOF. */
static int scan_field(struct scan *s, int c)
{
    if (c == '"') {
        c = scan_quoted(s);
        if (c == '\r')
            c = next_octet(s->csv);
        if (c != ',' && c != '\n' && c != EOF)
            fail_record(s->csv, "text follows the closing quote of a field");
    }
    for (; c != ',' && c != '\n' && c != EOF; c = next_octet(s->csv)) {
        if (c == '"')
            fail_record(s->csv, "a quote stands within a field without quotes");
        append_octet(s, c);
    }
    if (c != ',' && s->csv->used > s->starts[s->csv->n - 1] && s->csv->text[s->csv->used - 1] == '\r')
        s->csv->used--;
    append_octet(s, '\0');
    return c;
}

static void begin_field(struct scan *s)
{
    if (s->csv->n == IA_CSV_FIELDS_MAX) {
        fail_record(s->csv, "it has too many fields");
        s->csv->n--;
    }
    s->starts[s->csv->n++] = s->csv->used;
}

/* A record that begins with `c`. */
static void scan_record(struct scan *s, int c)
{
    struct ia_csv *csv = s->csv;
    csv->n = csv->used = 0;
    do {
        begin_field(s);
        c = scan_field(s, c);
        if (c == ',') {
            c = next_octet(csv);
            if (c != '\n' && c != EOF)
                continue;
            begin_field(s); /* an empty field at the end */
            append_octet(s, '\0');
        }
        break;
    } while (!s->failed);
    for (size_t i = 0; !s->failed && i < csv->n; i++) {
        csv->fields[i] = csv->used > s->starts[i] ? csv->text + s->starts[i] : "";
        if (!ia_utf8_valid(csv->fields[i], strlen(csv->fields[i])))
            fail_record(csv, "it is not UTF-8");
    }
}

enum ia_csv_result ia_csv_next(struct ia_csv *csv)
{
    struct scan s = {.csv = csv};
    for (;;) {
        csv->line = csv->next_line;
        csv->problem = NULL;
        int c = next_octet(csv);
        if (c == EOF)
            return ferror(csv->in) ? IA_CSV_FAILED : IA_CSV_END;
        if (c == '\n')
            continue;
        scan_record(&s, c);
        if (s.failed || ferror(csv->in))
            return IA_CSV_FAILED;
        if (csv->n > 1 || csv->fields[0][0] || csv->problem)
            return IA_CSV_RECORD;
    }
}
