// SPDX-License-Identifier: ISC
#include "worker/error_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 16 /* different errors logged between two recoveries */

struct ia_error_log {
    const struct ia_sink *sink;
    char logged[ERRORS_MAX][sizeof((struct ia_err *)NULL)->msg]; /* since the last recovery */
    size_t n;
};

struct ia_error_log *ia_error_log_new(const struct ia_sink *sink)
{
    struct ia_error_log *log = calloc(1, sizeof *log);
    if (log)
        log->sink = sink;
    return log;
}

void ia_error_log_free(struct ia_error_log *log)
{
    free(log);
}

static bool remember_error(struct ia_error_log *log, const char *text)
{
    for (size_t i = 0; i < log->n; i++)
        if (strcmp(log->logged[i], text) == 0)
            return false;
    if (log->n == ERRORS_MAX)
        return false;
    (void)snprintf(log->logged[log->n++], sizeof log->logged[0], "%s", text);
    return true;
}

void ia_error_log_report(struct ia_error_log *log, enum ia_log_level level, const char *context,
                         const struct ia_err *err)
{
    char line[sizeof err->msg + 64];
    (void)snprintf(line, sizeof line, "%s: %s", context, err->msg);
    if (remember_error(log, err->msg))
        ia_sink_log(log->sink, level, line);
}

void ia_error_log_recovered(struct ia_error_log *log, const char *text)
{
    if (log->n)
        ia_sink_log(log->sink, IA_LOG_NOTICE, text);
    log->n = 0;
}
