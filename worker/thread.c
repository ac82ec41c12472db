// SPDX-License-Identifier: ISC
#include "worker/thread.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

bool ia_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

bool ia_thread_join(pthread_t thread, int64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* pthread_clockjoin_np is unknown to GCC 12's ThreadSanitizer */
    int64_t ns = until.tv_nsec + wait_ms % 1000 * 1000000;
    until.tv_sec += wait_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

void ia_thread_unshare_files(int kept_fd)
{
    unsigned kept = (unsigned)kept_fd, first = STDERR_FILENO + 1;
    if (close_range(kept + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 && kept > first)
        (void)close_range(first, kept - 1, 0);
}
