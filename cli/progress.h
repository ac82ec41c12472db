// SPDX-License-Identifier: ISC
/* Progress of what takes more than two seconds: rate and remaining time, on standard error where that is a terminal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ia_progress {
    const char *what; /* "lines", "migrations" */
    int64_t total;    /* 0: not known */
    int64_t started_ms, shown_ms;
    bool enabled, visible;
};

void ia_progress_begin(struct ia_progress *progress, const char *what, int64_t total, bool quiet);
void ia_progress_show(struct ia_progress *progress, int64_t done); /* at most a few times a second */
void ia_progress_end(struct ia_progress *progress);                /* clears the line */
