// SPDX-License-Identifier: ISC
#include "plugin/options.h"

#include "access/rights.h"

#include "tests/unit/suite.h"

#include <string.h>

#define MOST 8

/* "name=value" pairs, the value may hold '='; a NULL value as "name". */
static enum ia_rc read_options(const char *const *pairs, size_t n, struct ia_options *out, struct ia_err *err)
{
    struct mosquitto_opt given[MOST] = {{NULL, NULL}};
    char *copies[MOST];
    ck_assert_uint_le(n, MOST);
    for (size_t i = 0; i < n; i++) {
        copies[i] = strdup(pairs[i]);
        char *value = strchr(copies[i], '=');
        if (value)
            *value++ = '\0';
        given[i] = (struct mosquitto_opt){.key = copies[i], .value = value};
    }
    enum ia_rc rc = ia_options_read(given, (int)n, out, err);
    for (size_t i = 0; i < n; i++)
        free(copies[i]);
    return rc;
}

static struct ia_options read_one(const char *pair)
{
    const char *const pairs[] = {"db_conninfo=host=db dbname=iot", pair};
    struct ia_options options = {0};
    struct ia_err err = {0};
    ck_assert_msg(read_options(pairs, pair ? 2 : 1, &options, &err) == IA_OK, "%s: %s", pair ? pair : "", err.msg);
    return options;
}

START_TEST(options_have_the_defaults_of_the_readme)
{
    struct ia_options o = read_one(NULL);
    ck_assert_str_eq(o.worker.db_conninfo, "host=db dbname=iot");
    ck_assert_ptr_nonnull(o.worker.node_name); /* the host's */
    ck_assert_int_eq(o.startup_wait_ms, 10000);
    ck_assert_int_eq(o.auth_wait_ms, 3000);
    ck_assert_int_eq(o.parked_max, 10000);
    ck_assert_int_eq(o.device_cache_size, 1000000);
    ck_assert_int_eq(o.stale_max_s, 86400);
    ck_assert_int_eq(o.worker.resync_s, 3600);
    ck_assert(!o.worker.insecure_db_conninfo);
    ck_assert_int_eq(o.gate.mode, IA_GATE_ALL);
    ck_assert(o.gate.resumption.on);
    ck_assert_int_eq(o.gate.resumption.max_sessions, 20000);
    ck_assert_int_eq(o.gate.resumption.session_seconds, 86400);
    ck_assert(!o.defer_others && !o.worker.insecure_http_jwks && !o.log_json);
    ck_assert_ptr_null(o.worker.jwks_ca_file);
    ck_assert_str_eq(o.event_prefix, IA_EVENT_PREFIX_DEFAULT);
    ia_options_clear(&o);
    ck_assert_ptr_null(o.worker.db_conninfo);
}
END_TEST

START_TEST(options_given_are_taken)
{
    const char *const pairs[] = {"db_conninfo=postgresql://u:p@h/d?sslmode=require",
                                 "node_name=eu-1",
                                 "startup_wait_ms=0",
                                 "auth_wait_ms=250",
                                 "stale_max_s=0",
                                 "other_clients=defer",
                                 "log_format=json",
                                 "event_prefix=audit"};
    struct ia_options o = {0};
    struct ia_err err = {0};
    ck_assert_msg(read_options(pairs, 8, &o, &err) == IA_OK, "%s", err.msg);
    ck_assert_str_eq(o.worker.db_conninfo, "postgresql://u:p@h/d?sslmode=require");
    ck_assert_str_eq(o.worker.node_name, "eu-1");
    ck_assert_int_eq(o.startup_wait_ms, 0);
    ck_assert_int_eq(o.auth_wait_ms, 250);
    ck_assert_int_eq(o.stale_max_s, 0);
    ck_assert(o.defer_others && o.log_json);
    ck_assert_str_eq(o.event_prefix, "audit");
    ia_options_clear(&o);
}
END_TEST

static const struct {
    const char *pair;
    enum ia_gate_mode gate;
    unsigned n;
    uint16_t last;
} gates[] = {
    {"tls_gate=on", IA_GATE_ALL, 0, 0},
    {"tls_gate=off", IA_GATE_OFF, 0, 0},
    {"tls_gate=8883", IA_GATE_PORTS, 1, 8883},
    {"tls_gate=8883,8884,65535", IA_GATE_PORTS, 3, 65535},
    {"tls_gate=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32", IA_GATE_PORTS,
     32, 32},
};

START_TEST(gate_takes_words_and_ports)
{
    struct ia_options o = read_one(gates[_i].pair);
    ck_assert_int_eq(o.gate.mode, gates[_i].gate);
    ck_assert_uint_eq(o.gate.n_ports, gates[_i].n);
    if (gates[_i].n)
        ck_assert_uint_eq(o.gate.ports[gates[_i].n - 1], gates[_i].last);
    ia_options_clear(&o);
}
END_TEST

/* The last of two values counts, as elsewhere in mosquitto.conf; the first is not leaked. */
START_TEST(option_given_twice_is_the_last)
{
    const char *const pairs[] = {"db_conninfo=host=a", "db_conninfo=host=b", "tls_gate=1,2", "tls_gate=3"};
    struct ia_options o = {0};
    ck_assert_int_eq(read_options(pairs, 4, &o, NULL), IA_OK);
    ck_assert_str_eq(o.worker.db_conninfo, "host=b");
    ck_assert_uint_eq(o.gate.n_ports, 1);
    ck_assert_uint_eq(o.gate.ports[0], 3);
    ia_options_clear(&o);
}
END_TEST

/* Each message names the option. */
static const struct {
    const char *pair, *named;
} bad[] = {
    {"no_such_option=1", "no_such_option"},
    {"Auth_wait_ms=1", "Auth_wait_ms"},
    {"auth_wait_ms", "auth_wait_ms"},
    {"auth_wait_ms=", "auth_wait_ms"},
    {"auth_wait_ms=soon", "auth_wait_ms"},
    {"auth_wait_ms=10s", "auth_wait_ms"},
    {"auth_wait_ms=-1", "auth_wait_ms"},
    {"auth_wait_ms=60001", "auth_wait_ms"},
    {"auth_wait_ms=99999999999999999999", "auth_wait_ms"},
    {"parked_max=0", "parked_max"},
    {"parked_max=-1", "parked_max"},
    {"parked_max=1000001", "parked_max"},
    {"startup_wait_ms=600001", "startup_wait_ms"},
    {"device_cache_size=0", "device_cache_size"},
    {"device_cache_size=1e6", "device_cache_size"},
    {"stale_max_s=-5", "stale_max_s"},
    {"tls_resumption=yes", "tls_resumption"},
    {"tls_session_cache=0", "tls_session_cache"},
    {"tls_session_s=0", "tls_session_s"},
    {"tls_session_s=604801", "tls_session_s"}, /* RFC 8446 section 4.6.1: at most seven days */
    {"db_conninfo=", "db_conninfo"},
    {"db_conninfo", "db_conninfo"},
    {"node_name=", "node_name"},
    {"node_name=a/b", "node_name"},
    {"node_name=$node", "node_name"},
    {"node_name=a\nb", "node_name"},
    {"tls_gate=", "tls_gate"},
    {"tls_gate=On", "tls_gate"},
    {"tls_gate=0", "tls_gate"},
    {"tls_gate=65536", "tls_gate"},
    {"tls_gate=8883,", "tls_gate"},
    {"tls_gate=8883, 8884", "tls_gate"},
    {"tls_gate=,8883", "tls_gate"},
    {"tls_gate=8883;8884", "tls_gate"},
    {"tls_gate=-8883", "tls_gate"},
    {"tls_gate=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33", "tls_gate"},
    {"other_clients=allow", "other_clients"},
    {"other_clients", "other_clients"},
    {"insecure_http_jwks=true", "insecure_http_jwks"},
    {"insecure_db_conninfo=yes", "insecure_db_conninfo"},
    {"resync_s=0", "resync_s"},
    {"resync_s=86401", "resync_s"},
    {"jwks_ca_file=/nonexistent/ca.pem", "jwks_ca_file"},
    {"jwks_ca_file=", "jwks_ca_file"},
    {"event_prefix=", "event_prefix"},
    {"event_prefix=a/+", "event_prefix"},
    {"event_prefix=a/#", "event_prefix"},
    {"event_prefix=a/", "event_prefix"},
    {"event_prefix=\xFF", "event_prefix"},
    {"log_format=xml", "log_format"},
};

START_TEST(bad_option_is_refused_by_name)
{
    const char *const pairs[] = {"db_conninfo=host=db", bad[_i].pair};
    struct ia_options o = {.auth_wait_ms = 77};
    struct ia_err err = {0};
    ck_assert_msg(read_options(pairs, 2, &o, &err) == IA_USAGE, "%s", bad[_i].pair);
    ck_assert_msg(err.rc == IA_USAGE && strstr(err.msg, bad[_i].named) != NULL, "%s: %s", bad[_i].pair, err.msg);
    ck_assert_msg(o.auth_wait_ms == 77 && !o.worker.db_conninfo, "%s: nothing is set", bad[_i].pair);
}
END_TEST

START_TEST(database_is_required)
{
    struct ia_options o = {0};
    struct ia_err err = {0};
    ck_assert_int_eq(ia_options_read(NULL, 0, &o, &err), IA_USAGE);
    ck_assert_ptr_nonnull(strstr(err.msg, "db_conninfo"));
}
END_TEST

/* A connection string holds a password; a mistyped name in front of it must not bring it into the log. */
START_TEST(secrets_are_never_echoed)
{
    const char *const typo[] = {"db_coninfo=password=geheim"}, *const other[] = {"db_conninfo=password=geheim",
                                                                                 "x=geheim"};
    struct ia_options o = {0};
    struct ia_err err = {0};
    ck_assert_int_eq(read_options(typo, 1, &o, &err), IA_USAGE);
    ck_assert_ptr_null(strstr(err.msg, "geheim"));
    ck_assert_int_eq(read_options(other, 2, &o, &err), IA_USAGE);
    ck_assert_ptr_null(strstr(err.msg, "geheim"));
}
END_TEST

START_TEST(jwks_ca_file_that_can_be_read_is_taken)
{
    struct ia_options o = read_one("jwks_ca_file=" IA_SOURCE_DIR "/CMakeLists.txt");
    ck_assert_str_eq(o.worker.jwks_ca_file, IA_SOURCE_DIR "/CMakeLists.txt");
    ia_options_clear(&o);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, options_have_the_defaults_of_the_readme);
    tcase_add_test(c, options_given_are_taken);
    tcase_add_loop_test(c, gate_takes_words_and_ports, 0, (int)(sizeof gates / sizeof gates[0]));
    tcase_add_test(c, option_given_twice_is_the_last);
    tcase_add_loop_test(c, bad_option_is_refused_by_name, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(c, database_is_required);
    tcase_add_test(c, secrets_are_never_echoed);
    tcase_add_test(c, jwks_ca_file_that_can_be_read_is_taken);
}

int main(void)
{
    return run_suite("options", cases);
}
