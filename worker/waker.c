// SPDX-License-Identifier: ISC
#include "worker/waker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SOON_NS 1000000

static struct {
    atomic_bool open;
    pthread_t broker;
    timer_t timer;
} waker;

static void ignore_signal(int signal)
{
    (void)signal; /* the signal has interrupted the wait, which is its only purpose */
}

static bool signal_is_free(void)
{
    struct sigaction now;
    return sigaction(SIGURG, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL;
}

void ia_waker_open(void)
{
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGURG};
    event._sigev_un._tid = gettid(); /* sigev_notify_thread_id, which older C libraries do not name */
    if (atomic_load(&waker.open) || !signal_is_free() || timer_create(CLOCK_MONOTONIC, &event, &waker.timer) != 0)
        return;
    sigemptyset(&action.sa_mask);
    waker.broker = pthread_self();
    if (sigaction(SIGURG, &action, NULL) == 0)
        atomic_store(&waker.open, true);
    else
        timer_delete(waker.timer);
}

void ia_waker_close(void)
{
    if (!atomic_exchange(&waker.open, false))
        return;
    timer_delete(waker.timer);
    signal(SIGURG, SIG_DFL); /* ignored, also a signal that is pending */
}

void ia_waker_wake(void)
{
    if (atomic_load(&waker.open))
        pthread_kill(waker.broker, SIGURG);
}

void ia_waker_wake_soon(void)
{
    struct itimerspec soon = {.it_value = {.tv_nsec = SOON_NS}};
    if (atomic_load(&waker.open))
        (void)timer_settime(waker.timer, 0, &soon, NULL);
}
