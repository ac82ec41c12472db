// SPDX-License-Identifier: ISC
#include "plugin/options.h"

#include "common/str.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct option;
typedef enum ia_rc option_parser(const struct option *option, const char *value, void *field, struct ia_err *err);

/* One row an option: docs/reference/options.md says the same (scripts/reference; tests/lint.sh compares them). */
struct option {
    const char *name;
    option_parser *parse;
    size_t field;
    const char *fallback; /* as text, NULL: no default */
    int64_t least, most;  /* of a number */
};

static enum ia_rc parse_text(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    if (!*value)
        return ia_fail(err, IA_USAGE, "option %s is empty", option->name);
    char *copy = strdup(value);
    if (!copy)
        return ia_nomem(err);
    char **text = field;
    free(*text);
    *text = copy;
    return IA_OK;
}

static enum ia_rc parse_number(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    char *end = NULL;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (end == value || *end || errno || n < option->least || n > option->most)
        return ia_fail(err, IA_USAGE, "option %s: '%.40s' is not a number from %lld to %lld", option->name, value,
                       (long long)option->least, (long long)option->most);
    *(int64_t *)field = n;
    return IA_OK;
}

/* Either of two words; the first is true. */
static enum ia_rc parse_word(const struct option *option, const char *value, const char *yes, const char *no,
                             bool *field, struct ia_err *err)
{
    bool is_yes = strcmp(value, yes) == 0;
    if (!is_yes && strcmp(value, no) != 0)
        return ia_fail(err, IA_USAGE, "option %s: '%.40s' is neither %s nor %s", option->name, value, yes, no);
    *field = is_yes;
    return IA_OK;
}

static enum ia_rc parse_switch(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    return parse_word(option, value, "on", "off", field, err);
}

static enum ia_rc parse_others(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    return parse_word(option, value, "defer", "deny", field, err);
}

static enum ia_rc parse_http(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    return parse_word(option, value, "loopback", "deny", field, err);
}

static enum ia_rc parse_format(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    return parse_word(option, value, "json", "text", field, err);
}

static enum ia_rc parse_gate(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    struct ia_options *out = field;
    out->gate.n_ports = 0;
    if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0) {
        out->gate.mode = value[1] == 'n' ? IA_GATE_ALL : IA_GATE_OFF;
        return IA_OK;
    }
    out->gate.mode = IA_GATE_PORTS;
    for (const char *p = value;; p++) {
        char *end = NULL;
        unsigned long port = strtoul(p, &end, 10);
        bool digits = *p >= '0' && *p <= '9';
        if (!digits || port == 0 || port > 65535 || (*end && *end != ',') || out->gate.n_ports == IA_GATE_PORTS_MAX)
            return ia_fail(err, IA_USAGE,
                           "option %s: '%.40s' is neither on, off nor up to %d ports separated by commas", option->name,
                           value, IA_GATE_PORTS_MAX);
        out->gate.ports[out->gate.n_ports++] = (uint16_t)port;
        p = end;
        if (!*p)
            return IA_OK;
    }
}

/* A node name is a value like any other: it stands in events and rows. */
static enum ia_rc parse_name(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    const char *why = NULL;
    if (!ia_value_valid(value, strlen(value), &why))
        return ia_fail(err, IA_USAGE, "option %s: '%.40s' cannot be used: %s", option->name, value, why);
    return parse_text(option, value, field, err);
}

static enum ia_rc parse_topic(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    size_t len = strlen(value);
    if (len == 0 || len > 128 || strpbrk(value, "+#") || value[len - 1] == '/' || !ia_utf8_valid(value, len))
        return ia_fail(err, IA_USAGE, "option %s: '%.40s' is not a topic prefix (no wildcards, no '/' at its end)",
                       option->name, value);
    return parse_text(option, value, field, err);
}

static enum ia_rc parse_file(const struct option *option, const char *value, void *field, struct ia_err *err)
{
    if (access(value, R_OK) != 0)
        return ia_fail(err, IA_USAGE, "option %s: '%.80s' cannot be read: %s", option->name, value, strerror(errno));
    return parse_text(option, value, field, err);
}

#define FIELD(name) offsetof(struct ia_options, name)
static const struct option table[] = {
    {"db_conninfo", parse_text, FIELD(worker.db_conninfo), NULL, 0, 0},
    {"node_name", parse_name, FIELD(worker.node_name), NULL, 0, 0},
    {"startup_wait_ms", parse_number, FIELD(startup_wait_ms), "10000", 0, 600000},
    {"auth_wait_ms", parse_number, FIELD(auth_wait_ms), "3000", 0, 60000},
    {"parked_max", parse_number, FIELD(parked_max), "10000", 1, 1000000},
    {"device_cache_size", parse_number, FIELD(device_cache_size), "1000000", 1, 100000000},
    {"stale_max_s", parse_number, FIELD(stale_max_s), "86400", 0, 315360000},
    {"resync_s", parse_number, FIELD(worker.resync_s), "3600", 1, 86400},
    {"hook_timeout_ms", parse_number, FIELD(worker.hook_timeout_ms), "100", 1, 60000},
    {"tls_gate", parse_gate, 0, "on", 0, 0},
    {"proxy_from", parse_text, FIELD(gate.proxy_from), NULL, 0, 0},
    {"max_chain_bytes", parse_number, FIELD(gate.max_chain_bytes), "16384", 16384, 65536},
    {"tls_resumption", parse_switch, FIELD(gate.resumption.on), "on", 0, 0},
    {"tls_session_cache", parse_number, FIELD(gate.resumption.max_sessions), "20000", 1, 10000000},
    {"tls_session_s", parse_number, FIELD(gate.resumption.session_seconds), "86400", 1, 604800},
    {"other_clients", parse_others, FIELD(defer_others), "deny", 0, 0},
    {"http_api", parse_http, FIELD(http_api_loopback), "deny", 0, 0},
    {"jwks_ca_file", parse_file, FIELD(worker.jwks_ca_file), NULL, 0, 0},
    {"insecure_http_jwks", parse_switch, FIELD(worker.insecure_http_jwks), "off", 0, 0},
    {"insecure_db_conninfo", parse_switch, FIELD(worker.insecure_db_conninfo), "off", 0, 0},
    {"jwks_stale_max_s", parse_number, FIELD(worker.jwks_stale_max_s), "604800", 0, 315360000},
    {"psk_key_file", parse_text, FIELD(worker.psk_key_file), NULL, 0, 0},
    {"insecure_plain_psk", parse_switch, FIELD(insecure_plain_psk), "off", 0, 0},
    {"state_dir", parse_text, FIELD(worker.state_dir), NULL, 0, 0},
    {"event_prefix", parse_topic, FIELD(event_prefix), "$iot-auth/events", 0, 0},
    {"log_format", parse_format, FIELD(log_json), "text", 0, 0},
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static const struct option *find_option(const char *name)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static enum ia_rc set_option(const struct option *option, const char *value, struct ia_options *out, struct ia_err *err)
{
    return option->parse(option, value ? value : "", (char *)out + option->field, err);
}

static enum ia_rc set_given(const struct mosquitto_opt *given, int n, struct ia_options *out, struct ia_err *err)
{
    for (int i = 0; i < n; i++) {
        const struct option *option = find_option(given[i].key);
        if (!option)
            return ia_fail(err, IA_USAGE, "unknown option '%.60s' (plugin_opt_%.60s)", given[i].key, given[i].key);
        enum ia_rc rc = set_option(option, given[i].value, out, err);
        if (rc != IA_OK)
            return rc;
    }
    if (!out->worker.db_conninfo)
        return ia_fail(err, IA_USAGE, "option db_conninfo is required (plugin_opt_db_conninfo host=… dbname=…)");
    if (out->worker.psk_key_file && out->gate.mode == IA_GATE_OFF)
        return ia_fail(err, IA_USAGE, "option psk_key_file: keys are taken by the TLS gate only, and tls_gate is off");
    if (out->gate.proxy_from && out->gate.mode == IA_GATE_OFF)
        return ia_fail(err, IA_USAGE, "option proxy_from: headers are read by the TLS gate only, and tls_gate is off");
    return IA_OK;
}

static enum ia_rc set_defaults(struct ia_options *out, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    for (size_t i = 0; i < N_OPTIONS && rc == IA_OK; i++)
        if (table[i].fallback)
            rc = set_option(&table[i], table[i].fallback, out, err);
    return rc;
}

static enum ia_rc default_node_name(struct ia_options *out, struct ia_err *err)
{
    if (out->worker.node_name)
        return IA_OK;
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        return ia_fail(err, IA_USAGE, "option node_name is required: this machine has no host name");
    return set_option(find_option("node_name"), host, out, err);
}

enum ia_rc ia_options_read(const struct mosquitto_opt *given, int n, struct ia_options *out, struct ia_err *err)
{
    struct ia_options fresh = {0};
    enum ia_rc rc = set_defaults(&fresh, err);
    if (rc == IA_OK)
        rc = set_given(given, n, &fresh, err);
    if (rc == IA_OK)
        rc = default_node_name(&fresh, err);
    if (rc != IA_OK) {
        ia_options_clear(&fresh);
        return rc;
    }
    *out = fresh;
    return IA_OK;
}

void ia_options_clear(struct ia_options *options)
{
    if (options->worker.db_conninfo)
        OPENSSL_cleanse(options->worker.db_conninfo, strlen(options->worker.db_conninfo));
    free(options->worker.db_conninfo);
    free(options->worker.node_name);
    free(options->worker.jwks_ca_file);
    free(options->worker.psk_key_file);
    free(options->worker.state_dir);
    free(options->event_prefix);
    free(options->gate.proxy_from);
    *options = (struct ia_options){0};
}
