// SPDX-License-Identifier: ISC
/* The table of verbs: every command that iot-auth understands, with its arguments, its options, their texts and the SQL
 * that it stands for.  Parsing, --help, suggestions, manual pages, completion and docs/reference/iot-auth.md are all made
 * from this table, so none of them can say anything else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define IA_VERB_PARAMS_MAX 32

/* Exit status of every command. */
enum ia_exit {
    IA_EXIT_DONE = 0,
    IA_EXIT_ALLOW = 0,
    IA_EXIT_DENY = 1,          /* also: --diff found a difference */
    IA_EXIT_USAGE = 2,         /* wrong usage, or input that cannot be read: nothing was done */
    IA_EXIT_REFUSED = 3,       /* the registry refused */
    IA_EXIT_DISCONNECTED = 4,  /* no connection to the registry */
    IA_EXIT_NOT_CONFIRMED = 5, /* the question was not answered with yes */
};

enum ia_param_flags {
    IA_P_ARGUMENT = 1,    /* an argument by its place; else an option --name */
    IA_P_REQUIRED = 2,    /* must be given */
    IA_P_LIST = 4,        /* may be given several times, for SQL an array */
    IA_P_SPLIT = 8,       /* commas separate values, for SQL an array */
    IA_P_FILE = 16,       /* the value names a file whose content counts; - is standard input */
    IA_P_FOLLOWING = 32,  /* with IA_P_LIST, an option: words that follow its value are further values */
    IA_P_ONE_OF = 64,     /* exactly one of the parameters with this flag must be given */
    IA_P_EXCLUSIVE = 128, /* at most one of the parameters with this flag may be given */
    IA_P_TOGETHER = 256,  /* all of the parameters with this flag must be given, or none */
    IA_P_ALONE = 512      /* may be given only without those of IA_P_TOGETHER */
};

struct ia_param {
    const char *name;  /* of an option, without dashes; of an argument, in capitals */
    const char *value; /* what stands for the value in help; words separated by | are the only values; NULL: a flag */
    const char *sql;   /* name and type of the SQL function's argument, "max_devices bigint"; NULL: not an argument */
    const char *help;
    unsigned flags;
};

/* One query that shows something; parameter $n is the verb's n-th parameter as text, NULL where it was not given. */
struct ia_query {
    const char *title; /* over the table, and the key in JSON; NULL where the verb has one query */
    const char *sql;
    bool record; /* it shows one row: one line for each column */
};

enum ia_verb_flags {
    IA_V_STATEMENT = 1, /* `sql` is a statement, not the name of a function */
};

/* A row of the table.  A verb without sql and without queries is a program of its own: main.c says which. */
struct ia_verb {
    const char *words; /* "ca add" */
    const char *help;  /* one sentence */
    const struct ia_param *params;
    size_t n_params;
    /* Run first: a function of schema iot_auth that gets the parameters which have an `sql` name, by name; or with
     * IA_V_STATEMENT a statement that gets all of them as $1…  NULL: nothing.  Its result is one more parameter of the
     * queries. */
    const char *sql;
    const char
        *otherwise;    /* the function that takes the place of `sql` without the parameters of IA_P_TOGETHER; or NULL */
    const char *fixed; /* further arguments of the function, SQL text of this table; NULL: none */
    const struct ia_query *queries;
    size_t n_queries;
    const char *question;     /* asked before a change that cannot be undone; %s is the first argument; or NULL */
    const char *question_for; /* asked only where the last argument has this value; NULL: always */
    unsigned flags;
    const char *more; /* further text for manual pages; NULL: none */
};

/* The verbs of one kind of object, as their file defines them; ia_verb_at puts them together. */
struct ia_verb_group {
    const struct ia_verb *verbs;
    size_t n;
};
extern const struct ia_verb_group ia_verbs_ca, ia_verbs_device, ia_verbs_rights, ia_verbs_issuer, ia_verbs_observe,
    ia_verbs_registry, ia_verbs_setup, ia_verbs_check;

#define IA_COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* A verb with more parameters than a call has room for does not compile: the array has a negative length. */
#define IA_PARAMS(array)                                                                                               \
    .params = (array), .n_params = IA_COUNT(array) + 0 * sizeof(char[IA_COUNT(array) <= IA_VERB_PARAMS_MAX ? 1 : -1])
#define IA_QUERIES(array) .queries = (array), .n_queries = IA_COUNT(array)

/* All verbs, in the order of the documentation. */
const struct ia_verb *ia_verb_at(size_t i); /* NULL past the last */

/* The options that every verb takes. */
extern const struct ia_param ia_global_params[];
extern const size_t ia_n_global_params;

/* Exit statuses with their meaning, for help and documentation. */
const char *ia_exit_meaning(int status); /* NULL past the last */
