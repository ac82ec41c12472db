// SPDX-License-Identifier: ISC
/* The lines that the plugin writes to Mosquitto's log: text, or one JSON object each (`log_format`).  Broker thread. */
#pragma once

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <stdbool.h>

#define IA_LOG_JSON_MAX 960 /* Mosquitto cuts a line at 1,000 bytes, and a JSON object that is cut is none */

/* How lines are written from now on.  `node` is borrowed; NULL: not known yet. */
void ia_log_begin(bool json, const char *node);

/* Is each line a JSON object? */
bool ia_log_is_json(void);

/* The word for a level of Mosquitto's: "error", "warning", "notice" or "info". */
const char *ia_log_level_word(int level);

/* A line for people.  In JSON it is the member "message", beside "level", "node" and "at". */
void ia_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
