// SPDX-License-Identifier: ISC
#include "sql/conninfo.h"

#include "common/str.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MAX_S 60

/* Set where the user has not set them.  A peer that has become silent is noticed within 25 s, also where no call is
 * waiting. */
static const struct {
    const char *keyword, *value;
} defaults[] = {
    {"target_session_attrs", "read-write"}, {"keepalives", "1"},       {"keepalives_idle", "10"},
    {"keepalives_interval", "5"},           {"keepalives_count", "3"}, {"tcp_user_timeout", "15000"},
};

static bool is_host_keyword(const char *keyword)
{
    return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 || strcmp(keyword, "port") == 0;
}

static const char *conninfo_value(const struct ia_conninfo *info, const char *keyword)
{
    for (size_t i = 0; i < info->n; i++)
        if (strcmp(info->keywords[i], keyword) == 0)
            return info->values[i];
    return NULL;
}

static enum ia_rc add_option(struct ia_conninfo *info, const char *keyword, const char *value, struct ia_err *err)
{
    if (info->n == IA_CONN_OPTIONS)
        return ia_fail(err, IA_USAGE, "connection string: too many options");
    char *k = strdup(keyword);
    char *v = strdup(value);
    if (!k || !v) {
        free(k);
        free(v);
        return ia_nomem(err);
    }
    info->keywords[info->n] = k;
    info->values[info->n++] = v;
    return IA_OK;
}

static enum ia_rc add_default(struct ia_conninfo *info, const char *keyword, const char *value, struct ia_err *err)
{
    return conninfo_value(info, keyword) ? IA_OK : add_option(info, keyword, value, err);
}

static enum ia_rc add_defaults(struct ia_conninfo *info, const char *node, struct ia_err *err)
{
    char application[96];
    snprintf(application, sizeof application, "mosquitto-iot-auth %s", node ? node : "");
    enum ia_rc rc = add_default(info, "application_name", application, err);
    for (size_t i = 0; rc == IA_OK && i < sizeof defaults / sizeof defaults[0]; i++)
        rc = add_default(info, defaults[i].keyword, defaults[i].value, err);
    return rc;
}

static size_t list_length(const char *list)
{
    size_t n = 1;
    for (; *list; list++)
        n += *list == ',';
    return n;
}

/* The i-th item of a list separated by commas; an empty one is NULL.  *nomem is set where memory ran out. */
static char *list_item(const char *list, size_t i, bool *nomem)
{
    for (; i > 0; i--)
        list += strcspn(list, ",") + 1;
    size_t len = strcspn(list, ",");
    if (len == 0)
        return NULL;
    char *item = strndup(list, len);
    *nomem |= !item;
    return item;
}

/* A list that has one item for each host, or one for all. */
static char *list_item_for(const char *list, size_t i, bool *nomem)
{
    if (!list)
        return NULL;
    return list_item(list, list_length(list) == 1 ? 0 : i, nomem);
}

static enum ia_rc split_hosts(struct ia_conninfo *info, const char *host, const char *hostaddr, const char *port,
                              struct ia_err *err)
{
    const char *longest = hostaddr ? hostaddr : host;
    info->n_hosts = longest ? list_length(longest) : 1;
    if (info->n_hosts > IA_CONN_HOSTS)
        return ia_fail(err, IA_USAGE, "connection string: more than %d hosts", IA_CONN_HOSTS);
    if (host && hostaddr && list_length(host) != info->n_hosts)
        return ia_fail(err, IA_USAGE, "connection string: host and hostaddr list different numbers of hosts");
    if (port && list_length(port) != 1 && list_length(port) != info->n_hosts)
        return ia_fail(err, IA_USAGE, "connection string: host and port list different numbers of hosts");
    bool nomem = false;
    for (size_t i = 0; i < info->n_hosts; i++) {
        info->hosts[i].host = host ? list_item(host, i, &nomem) : NULL;
        info->hosts[i].hostaddr = hostaddr ? list_item(hostaddr, i, &nomem) : NULL;
        info->hosts[i].port = list_item_for(port, i, &nomem);
    }
    return nomem ? ia_nomem(err) : IA_OK;
}

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val && o->val[0])
            return o->val;
    return NULL;
}

/* The hosts come from the string, else from PGHOST and its like.  Those of a service file are left to libpq. */
static enum ia_rc take_hosts(struct ia_conninfo *info, const PQconninfoOption *given, struct ia_err *err)
{
    PQconninfoOption *env = option_value(given, "service") ? NULL : PQconndefaults();
    const char *value[3];
    static const char *const keyword[3] = {"host", "hostaddr", "port"};
    for (int i = 0; i < 3; i++) {
        value[i] = option_value(given, keyword[i]);
        if (!value[i])
            value[i] = option_value(env, keyword[i]);
    }
    enum ia_rc rc = split_hosts(info, value[0], value[1], value[2], err);
    PQconninfoFree(env);
    return rc;
}

static int timeout_of(const struct ia_conninfo *info)
{
    const char *text = conninfo_value(info, "connect_timeout");
    long seconds = text ? strtol(text, NULL, 10) : 0;
    if (seconds <= 0)
        return 0;
    return seconds > CONNECT_TIMEOUT_MAX_S ? CONNECT_TIMEOUT_MAX_S : (int)seconds;
}

static enum ia_rc take_options(struct ia_conninfo *info, const PQconninfoOption *given, struct ia_err *err)
{
    /* All texts of ours are UTF-8, whatever PGCLIENTENCODING says. */
    enum ia_rc rc = add_option(info, "client_encoding", "UTF8", err);
    for (const PQconninfoOption *o = given; rc == IA_OK && o->keyword; o++)
        if (o->val && !is_host_keyword(o->keyword) && strcmp(o->keyword, "client_encoding") != 0)
            rc = add_option(info, o->keyword, o->val, err);
    return rc;
}

/* libpq looks at values only when it connects.  A value that it would then refuse, at each attempt and for ever, is
 * refused at start.  Numbers are ours to check: libpq reads them too late, or (connect_timeout) not at all in its
 * non-blocking calls. */
static const char *const numbers[] = {"port",
                                      "connect_timeout",
                                      "keepalives",
                                      "keepalives_idle",
                                      "tcp_user_timeout",
                                      "keepalives_interval",
                                      "keepalives_count"};

static bool is_number_keyword(const char *keyword)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(numbers[i], keyword) == 0)
            return true;
    return false;
}

static bool is_numbers(const char *value)
{
    return strspn(value, "0123456789, ") == strlen(value);
}

static enum ia_rc refuse_value(const char *keyword, struct ia_err *err)
{
    return ia_fail(err, IA_USAGE, "connection string: %s has a value that libpq does not know", keyword);
}

static enum ia_rc check_numbers(const PQconninfoOption *given, struct ia_err *err)
{
    for (const PQconninfoOption *o = given; o->keyword; o++)
        if (o->val && is_number_keyword(o->keyword) && !is_numbers(o->val))
            return refuse_value(o->keyword, err);
    return IA_OK;
}

/* libpq's message for a connection to a socket that cannot exist, with options[0..n) besides; NULL: out of memory. */
static char *probe_message(const char *const *keywords, const char *const *values, size_t n)
{
    const char *k[IA_CONN_OPTIONS + 3] = {"host", "port"}, *v[IA_CONN_OPTIONS + 3] = {"/dev/null/none", "5432"};
    for (size_t i = 0; i < n; i++) {
        k[i + 2] = keywords[i];
        v[i + 2] = values[i];
    }
    PGconn *conn = PQconnectStartParams(k, v, 0);
    char *message = conn ? strdup(PQerrorMessage(conn)) : NULL;
    PQfinish(conn);
    return message;
}

/* Words (sslmode and the like) are libpq's to know; a list of ours would refuse those of a newer libpq.  It checks all
 * of them before it opens a socket: where its message starts differently than without the options,
 * it has refused one.  (With prefer-standby it tries the host twice, and says so twice.) */
static enum ia_rc check_words(const struct ia_conninfo *info, struct ia_err *err)
{
    ia_autofree char *bare = probe_message(NULL, NULL, 0);
    ia_autofree char *full =
        probe_message((const char *const *)info->keywords, (const char *const *)info->values, info->n);
    if (!bare || !full)
        return ia_nomem(err);
    if (strncmp(bare, full, strlen(bare)) == 0)
        return IA_OK;
    for (size_t i = 0; i < info->n; i++)
        if (strstr(full, info->keywords[i]))
            return refuse_value(info->keywords[i], err);
    return ia_fail(err, IA_USAGE, "connection string: libpq refuses one of its values");
}

enum ia_rc ia_conninfo_parse(const char *text, const char *node, struct ia_conninfo *out, struct ia_err *err)
{
    char *message = NULL;
    PQconninfoOption *given = PQconninfoParse(text, &message);
    PQfreemem(message);
    if (!given)
        return ia_fail(err, IA_USAGE, "connection string: is not a libpq connection string or URI");
    struct ia_conninfo info = {0};
    enum ia_rc rc = check_numbers(given, err);
    if (rc == IA_OK)
        rc = take_options(&info, given, err);
    if (rc == IA_OK)
        rc = check_words(&info, err);
    if (rc == IA_OK)
        rc = add_defaults(&info, node, err);
    if (rc == IA_OK)
        rc = take_hosts(&info, given, err);
    PQconninfoFree(given);
    if (rc != IA_OK) {
        ia_conninfo_clear(&info);
        return rc;
    }
    info.connect_timeout_s = timeout_of(&info);
    *out = info;
    return IA_OK;
}

void ia_conninfo_clear(struct ia_conninfo *info)
{
    for (size_t i = 0; i < info->n; i++) {
        explicit_bzero(info->values[i], strlen(info->values[i])); /* one of them is the password */
        free(info->keywords[i]);
        free(info->values[i]);
    }
    for (size_t i = 0; i < info->n_hosts && i < IA_CONN_HOSTS; i++) {
        free(info->hosts[i].host);
        free(info->hosts[i].hostaddr);
        free(info->hosts[i].port);
    }
    *info = (struct ia_conninfo){0};
}

void ia_conninfo_params(const struct ia_conninfo *info, size_t host, const char **keywords, const char **values)
{
    const struct ia_conn_host *h = &info->hosts[host];
    const char *const own[3][2] = {{"host", h->host}, {"hostaddr", h->hostaddr}, {"port", h->port}};
    size_t n = 0;
    for (; n < info->n; n++) {
        keywords[n] = info->keywords[n];
        values[n] = info->values[n];
    }
    for (size_t i = 0; i < 3; i++) {
        if (!own[i][1])
            continue;
        keywords[n] = own[i][0];
        values[n++] = own[i][1];
    }
    keywords[n] = values[n] = NULL;
}
