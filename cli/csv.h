// SPDX-License-Identifier: ISC
/* Comma-separated values (RFC 4180), in UTF-8, read record by record. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define IA_CSV_FIELDS_MAX 32
#define IA_CSV_RECORD_MAX (1 << 20) /* bytes of one record */

struct ia_csv {
    FILE *in;
    int64_t line;                          /* where the record begins; lines count from 1 */
    int64_t next_line;                     /* internal */
    size_t n;                              /* fields of the record */
    const char *fields[IA_CSV_FIELDS_MAX]; /* NUL-terminated, until the next call */
    const char *problem;                   /* why the record cannot be used; NULL: it can */
    char *text;                            /* internal, owned */
    size_t used, size;
};

enum ia_csv_result { IA_CSV_RECORD, IA_CSV_END, IA_CSV_FAILED /* out of memory, or errno: the file cannot be read */ };

/* Begin with `in`, which stays the caller's. */
void ia_csv_begin(struct ia_csv *csv, FILE *in);

/* The next record; empty lines are left out.  A record with a problem ends with its line, and the next may be read. */
enum ia_csv_result ia_csv_next(struct ia_csv *csv);
void ia_csv_end(struct ia_csv *csv);
