// SPDX-License-Identifier: ISC
/* How many devices a second the worker registers:  bench_register CONNINFO CA_ID DEVICES AT_A_TIME
 *
 * Keeps AT_A_TIME registrations under way until DEVICES are registered, as a storm of connects does.  Prints the rate per
 * second, how long each waited in milliseconds (median, 99 %), and how many were refused.  bench/worker_rows.py runs it
 * beside a PostgreSQL that is some milliseconds away. */
#include "worker/worker.h"

#include "bench/bench.h"
#include "common/clock.h"
#include "jitr/device.h"

#include <string.h>

static struct ia_worker *worker;
static int64_t *sent_us, *waited_us;

static void ask(unsigned i, int64_t ca_id)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_REGISTER, NULL);
    bench_need(request != NULL, "memory");
    struct ia_register_request *r = &request->registration;
    memcpy(r->info.fingerprint, &i, sizeof i);
    (void)snprintf(r->info.serial, sizeof r->info.serial, "01");
    (void)snprintf(r->device_id, sizeof r->device_id, "device-%u", i);
    r->info.not_after = ia_wall_s() + 86400;
    r->ca_id = ca_id;
    sent_us[i] = ia_monotonic_us();
    bench_need(ia_worker_ask(worker, request), "a request");
}

static struct ia_reply *next(enum ia_reply_kind kind)
{
    for (;;) {
        struct ia_reply *reply = ia_worker_reply_wait(worker, 30000000);
        bench_need(reply != NULL, "a reply in time");
        if (reply->kind == kind)
            return reply;
        ia_reply_free(reply);
    }
}

static int compare_waits(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void run_storm(unsigned n, unsigned at_a_time, int64_t ca_id)
{
    unsigned asked = 0, done = 0, refused = 0;
    int64_t begun = ia_monotonic_us();
    for (; asked < n && asked < at_a_time; asked++)
        ask(asked, ca_id);
    for (; done < n; done++) {
        struct ia_reply *reply = next(IA_REPLY_ANSWER);
        unsigned i;
        memcpy(&i, reply->answer.fingerprint, sizeof i);
        waited_us[done] = ia_monotonic_us() - sent_us[i];
        refused += !reply->answer.registered;
        ia_reply_free(reply);
        if (asked < n)
            ask(asked++, ca_id);
    }
    double seconds = (double)(ia_monotonic_us() - begun) / 1e6;
    qsort(waited_us, n, sizeof *waited_us, compare_waits);
    (void)printf("%.0f %.1f %.1f %u\n", n / seconds, (double)waited_us[n / 2] / 1e3,
                 (double)waited_us[n - n / 100 - 1] / 1e3, refused);
}

int main(int argc, char **argv)
{
    bench_need(argc == 5, "arguments: CONNINFO CA_ID DEVICES AT_A_TIME; that");
    struct ia_worker_options options = {.db_conninfo = argv[1], .node_name = (char *)"bench"};
    struct ia_err err = {0};
    unsigned n = (unsigned)strtoul(argv[3], NULL, 10), at_a_time = (unsigned)strtoul(argv[4], NULL, 10);
    sent_us = calloc(n, sizeof *sent_us);
    waited_us = calloc(n, sizeof *waited_us);
    bench_need(n > 0 && sent_us && waited_us, "a number of devices");
    bench_need(ia_worker_start(&options, &worker, &err) == IA_OK, err.msg);
    ia_reply_free(next(IA_REPLY_RESYNC_END));
    run_storm(n, at_a_time, strtoll(argv[2], NULL, 10));
    bench_need(ia_worker_stop(worker), "the stop");
    return 0;
}
