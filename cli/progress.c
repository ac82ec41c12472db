// SPDX-License-Identifier: ISC
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SILENT_MS   2000
#define INTERVAL_MS 500

static int64_t monotonic_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void ia_progress_begin(struct ia_progress *progress, const char *what, int64_t total, bool quiet)
{
    *progress = (struct ia_progress){
        .what = what, .total = total, .started_ms = monotonic_ms(), .enabled = !quiet && isatty(STDERR_FILENO)};
}

void ia_progress_show(struct ia_progress *progress, int64_t done)
{
    int64_t now = monotonic_ms(), elapsed = now - progress->started_ms;
    if (!progress->enabled || elapsed < SILENT_MS || now - progress->shown_ms < INTERVAL_MS)
        return;
    progress->shown_ms = now;
    progress->visible = true;
    int64_t rate = done * 1000 / elapsed;
    fprintf(stderr, "\r\033[K%" PRId64, done);
    if (progress->total > 0)
        fprintf(stderr, " of %" PRId64, progress->total);
    fprintf(stderr, " %s, %" PRId64 "/s", progress->what, rate);
    if (progress->total > done && rate > 0)
        fprintf(stderr, ", %" PRId64 " s left", (progress->total - done) / rate + 1);
    (void)fflush(stderr);
}

void ia_progress_end(struct ia_progress *progress)
{
    if (progress->visible)
        fputs("\r\033[K", stderr);
}
