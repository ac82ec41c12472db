// SPDX-License-Identifier: ISC
/* Thousands of MQTT clients over TLS in one process, for tests (tests/integration/swarm.py) and scripts/bench.
 *
 * Commands come on stdin, one a line; each is answered by one line on stdout, which begins with "ok" or "error".  Groups of
 * clients are numbered from 0.  Times are CLOCK_MONOTONIC in microseconds.
 *
 *   mint GROUP PREFIX COUNT CA.pem CA.key [LIST]     devices below that CA; LIST gets "id fingerprint" of each
 *   load GROUP ID CHAIN.pem KEY.pem                  one device with that credential
 *   login GROUP ID USER PASSWORD                     one client without a certificate
 *   psk GROUP ID KEY                                 one client with that pre-shared key, whose identity is the id
 *   admitted GROUP LIST                              the devices that have ever received CONNACK 0
 *   set GROUP tls 1.2|1.3                            also: resume on|off, mqtt 4|5
 *   storm GROUP PORT PARALLEL COUNT                  these and the following: see group.h
 *   open GROUP PORT PARALLEL
 *   ping GROUP MS                                    PINGREQ on each open connection, MS after the last answer; 0: no more
 *   subscribe GROUP FILTER
 *   publish GROUP COUNT TOPIC TOPICS
 *   received GROUP COUNT MS
 *   wait GROUP OPEN MS
 *   pings GROUP
 *   report GROUP
 *   close GROUP
 *
 * Stdin's end ends it. */
#include "tests/swarm/credentials.h"
#include "tests/swarm/group.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS    8
#define WORDS_MAX 7

static struct group groups[GROUPS];

static long number(const char *word)
{
    return strtol(word, NULL, 10);
}

/* ---- commands: word[0] is the command, word[1] the group */

static void answer_error(const char *why)
{
    if (why)
        answer("error %s", why);
    else
        answer("ok");
}

static void do_mint(struct group *g, char **word)
{
    answer_error(credentials_mint(g, word[2], number(word[3]), word[4], word[5], word[6]));
}

static void do_load(struct group *g, char **word)
{
    answer_error(credentials_load(g, word[2], word[3], word[4]));
}

static void do_login(struct group *g, char **word)
{
    answer_error(credentials_login(g, word[2], word[3], word[4]));
}

static void do_psk(struct group *g, char **word)
{
    answer_error(credentials_psk(g, word[2], word[3]));
}

static void do_admitted(struct group *g, char **word)
{
    answer_error(credentials_list_admitted(g, word[2]));
}

static void do_set(struct group *g, char **word)
{
    const char *name = word[2], *value = word[3];
    if (strcmp(name, "tls") == 0)
        g->tls = strcmp(value, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    else if (strcmp(name, "resume") == 0)
        g->resume = strcmp(value, "on") == 0;
    else if (strcmp(name, "mqtt") == 0)
        g->mqtt = (int)number(value);
    answer("ok");
}

static void do_ping(struct group *g, char **word)
{
    g->ping_us = number(word[2]) * 1000;
    answer("ok");
}

static void do_storm(struct group *g, char **word)
{
    group_storm(g, (int)number(word[2]), (size_t)number(word[3]), (size_t)number(word[4]));
}

static void do_open(struct group *g, char **word)
{
    group_open(g, (int)number(word[2]), (size_t)number(word[3]));
}

static void do_subscribe(struct group *g, char **word)
{
    group_subscribe(g, word[2]);
}

static void do_publish(struct group *g, char **word)
{
    group_publish(g, number(word[2]), word[3], number(word[4]));
}

static void do_received(struct group *g, char **word)
{
    group_wait_received(g, (size_t)number(word[2]), number(word[3]));
}

static void do_wait(struct group *g, char **word)
{
    group_wait_open(g, (size_t)number(word[2]), number(word[3]));
}

static void do_pings(struct group *g, char **word)
{
    (void)word;
    group_report_pings(g);
}

static void do_report(struct group *g, char **word)
{
    (void)word;
    group_report(g);
}

static void do_close(struct group *g, char **word)
{
    (void)word;
    group_close(g);
}

static const struct {
    const char *name;
    int least, most; /* words */
    void (*run)(struct group *g, char **word);
} commands[] = {
    {"mint", 6, 7, do_mint},       {"load", 5, 5, do_load},
    {"login", 5, 5, do_login},     {"admitted", 3, 3, do_admitted},
    {"set", 4, 4, do_set},         {"storm", 5, 5, do_storm},
    {"open", 4, 4, do_open},       {"subscribe", 3, 3, do_subscribe},
    {"publish", 5, 5, do_publish}, {"received", 4, 4, do_received},
    {"wait", 4, 4, do_wait},       {"ping", 3, 3, do_ping},
    {"pings", 2, 2, do_pings},     {"report", 2, 2, do_report},
    {"close", 2, 2, do_close},     {"psk", 4, 4, do_psk},
};

static void run_line(char *line)
{
    char *word[WORDS_MAX + 1] = {0}, *rest = line;
    int n = 0;
    while (n <= WORDS_MAX && (word[n] = strtok_r(rest, " ", &rest)) != NULL)
        n++;
    long group = n > 1 ? number(word[1]) : -1;
    for (size_t i = 0; group >= 0 && group < GROUPS && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, word[0]) != 0 || n < commands[i].least || n > commands[i].most)
            continue;
        commands[i].run(&groups[group], word);
        return;
    }
    answer("error unknown command or group");
}

/* Whole lines from stdin.  False at its end. */
static bool read_lines(void)
{
    static char buffer[32768];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, buffer + len, sizeof buffer - len - 1);
    if (n <= 0)
        return false;
    len += (size_t)n;
    buffer[len] = '\0';
    char *line = buffer, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        run_line(line);
        line = end + 1;
    }
    len = (size_t)(buffer + len - line);
    memmove(buffer, line, len);
    return true;
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < GROUPS; i++)
        groups[i].mqtt = 4;
    if (!clients_begin())
        return EXIT_FAILURE;
    for (;;) {
        if (clients_serve() && !read_lines())
            return EXIT_SUCCESS;
        for (size_t i = 0; i < GROUPS; i++)
            group_run(&groups[i]);
    }
}
