// SPDX-License-Identifier: ISC
/* What a group of clients does together.  The calls that begin something answer when it is done: one line on stdout. */
#pragma once

#include "tests/swarm/client.h"

/* Print one line of answer. */
void answer(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Do what is due, and answer what is done. */
void group_run(struct group *g);

/* `count` connections to that port, at most `parallel` at a time, each until CONNACK, by the clients in turn.
 * → ok ACCEPTED REFUSED FAILED RESUMED TOOK */
void group_storm(struct group *g, int port, size_t parallel, size_t count);

/* Connect each client that is not connected, and stay → ok OPEN REFUSED FAILED RESUMED TOOK */
void group_open(struct group *g, int port, size_t parallel);

/* Each open client subscribes; answered when all SUBACKs are there. */
void group_subscribe(struct group *g, const char *filter);

/* The first open client sends `count` messages, to <topic>/0 … <topic>/<topics - 1> in turn (`topics` 1: to the topic
 * itself). */
void group_publish(const struct group *g, long count, const char *topic, long topics);

/* Until the group has received `count` messages, or `ms` are over → ok RECEIVED */
void group_wait_received(struct group *g, size_t count, long ms);

/* Until no more than `count` connections are open, or `ms` are over → ok OPEN */
void group_wait_open(struct group *g, size_t count, long ms);

/* Of the answers to pings since the last report → ok COUNT P50 P99 LONGEST */
void group_report_pings(struct group *g);

/* → ok OPEN REFUSED FAILED PINGS OPENED FIRST_END LAST_END WAITING SENT:TOOK …
 * with the pings since the last report that took longer than a millisecond; WAITING: of the oldest unanswered one. */
void group_report(struct group *g);

/* Close all connections. */
void group_close(const struct group *g);
