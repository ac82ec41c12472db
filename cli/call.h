// SPDX-License-Identifier: ISC
/* One invocation: the verb and the values of its parameters, as read from the command line. */
#pragma once

#include "cli/verb.h"
#include "common/error.h"

struct ia_values {
    bool given; /* also with n = 0: an empty list */
    size_t n;
    const char **items; /* owned array; the texts belong to the command line or to `owned` */
};

struct ia_call {
    const char *program; /* for messages: "iot-auth" or "iot-auth-check" */
    const struct ia_verb *verb;
    struct ia_values values[IA_VERB_PARAMS_MAX]; /* beside verb->params */
    const char *conninfo;                        /* NULL: not given */
    bool json, quiet, utc, yes;
    char **owned; /* texts that were made while reading; NULL-terminated, owned */
    size_t n_owned;
};

/* What the command line asks for. */
enum ia_ask { IA_ASK_RUN, IA_ASK_HELP, IA_ASK_VERSION };

/* Read argv[1]… into *call (zeroed by the caller, who clears it in any case).  With IA_ASK_HELP, `path` (size bytes) gets
 * the words that help is wanted for, "" for all.  IA_USAGE: err says what is wrong and, where something is misspelt, what
 * the nearest word is; then call->verb is the verb as far as it was recognized, else NULL. */
IA_MUST_USE enum ia_rc ia_call_parse(int argc, char **argv, struct ia_call *call, enum ia_ask *ask, char *path,
                                     size_t size, struct ia_err *err);
void ia_call_clear(struct ia_call *call);

/* The value of a parameter by its name; NULL where it was not given.  The first of several. */
const char *ia_call_get(const struct ia_call *call, const char *name);
const struct ia_values *ia_call_list(const struct ia_call *call, const char *name);
bool ia_call_has(const struct ia_call *call, const char *name);

/* Is a parameter with this flag of enum ia_param_flags given?  Its place in the table, or n_params. */
size_t ia_call_flagged(const struct ia_call *call, unsigned flag);

/* The words of the verb as the user typed them: without "check" where the program is iot-auth-check. */
const char *ia_call_words(const struct ia_call *call);

/* Print "PROGRAM VERB: MESSAGE" to stderr and return `status`. */
int ia_call_fail(const struct ia_call *call, int status, const char *fmt, ...) IA_PRINTF(3, 4);
