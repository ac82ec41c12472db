// SPDX-License-Identifier: ISC
/* The worker's thread: a thread of the broker's process that handles none of the broker's signals and, where the kernel
 * allows it, shares none of the broker's file descriptors. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Start a thread with all signals blocked: they are for the broker's thread.  False: the thread cannot be created. */
bool ia_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* Wait at most wait_ms for the end of the thread; false: it is still running. */
bool ia_thread_join(pthread_t thread, int64_t wait_ms);

/* Give the calling thread a table of file descriptors of its own, which holds stdin, stdout, stderr and `kept_fd`.
 * While threads share a table, the kernel counts references in each of their system calls, which costs the broker 5 % of
 * its CPU per message.  From here on the thread itself has to close what it opens.  A kernel (before 5.9) or sandbox
 * that refuses leaves the table shared, which is only slower. */
void ia_thread_unshare_files(int kept_fd);
