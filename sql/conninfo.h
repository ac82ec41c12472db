// SPDX-License-Identifier: ISC
/* The connection string, parsed once: which hosts to try, with which options. */
#pragma once

#include "common/error.h"

#include <stddef.h>

#define IA_CONN_HOSTS   16 /* hosts of one connection string */
#define IA_CONN_OPTIONS 64

struct ia_conn_host {
    char *host, *hostaddr, *port; /* owned, each may be NULL */
};

struct ia_conninfo {
    size_t n;
    char *keywords[IA_CONN_OPTIONS]; /* owned; without host, hostaddr and port */
    char *values[IA_CONN_OPTIONS];
    size_t n_hosts; /* at least 1 */
    struct ia_conn_host hosts[IA_CONN_HOSTS];
    int connect_timeout_s; /* as the user gave it, 0: not given */
};

/* Parse `text`, fill in defaults (application_name from `node`, keepalives, target_session_attrs=read-write,
 * client_encoding=UTF8 always) and split the list of hosts, so that each host has a time limit of its own: libpq
 * enforces connect_timeout in its blocking calls only.  IA_USAGE names at most the keyword: libpq's own message would
 * repeat pieces of the text, which may be pieces of the password. */
IA_MUST_USE enum ia_rc ia_conninfo_parse(const char *text, const char *node, struct ia_conninfo *out,
                                         struct ia_err *err);
void ia_conninfo_clear(struct ia_conninfo *info);

/* Fill keywords[] and values[] (room for IA_CONN_OPTIONS + 4, NULL-terminated) for one host: borrowed from `info`. */
void ia_conninfo_params(const struct ia_conninfo *info, size_t host, const char **keywords, const char **values);
