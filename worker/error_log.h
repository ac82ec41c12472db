// SPDX-License-Identifier: ISC
/* The worker's errors in the log.  The worker retries for as long as the broker runs, so each error is logged once,
 * however often it occurs, until everything works again.  Worker thread. */
#pragma once

#include "common/error.h"
#include "worker/sink.h"

struct ia_error_log;

struct ia_error_log *ia_error_log_new(const struct ia_sink *sink); /* borrows the sink; NULL: out of memory */
void ia_error_log_free(struct ia_error_log *log);

/* Log "<context>: <err's text>", unless an error of that text was logged since the last recovery. */
void ia_error_log_report(struct ia_error_log *log, enum ia_log_level level, const char *context,
                         const struct ia_err *err);

/* Everything works again: log `text`, if an error was logged, and log the same errors again when they return. */
void ia_error_log_recovered(struct ia_error_log *log, const char *text);
