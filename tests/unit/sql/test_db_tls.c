// SPDX-License-Identifier: ISC
/* Which database is local, and what a connection to another one requires. */
#include "sql/conninfo.h"
#include "sql/db_tls.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *host, *hostaddr;
    bool local;
} hosts[] = {
    {NULL, NULL, true},
    {"", NULL, true},
    {"/run/postgresql", NULL, true},
    {"@abstract", NULL, true},
    {"localhost", NULL, true},
    {"127.0.0.1", NULL, true},
    {"127.255.3.4", NULL, true},
    {"::1", NULL, true},
    {"db.example.com", "127.0.0.1", true},
    {"localhost", "10.0.0.1", false},
    {"/run/postgresql", "10.0.0.1", false},
    {"db.example.com", NULL, false},
    {"localhost.example.com", NULL, false},
    {"localhost.", NULL, false},
    {"LOCALHOST", NULL, false},
    {"128.0.0.1", NULL, false},
    {"126.255.255.255", NULL, false},
    {"127.0.0.1.example.com", NULL, false},
    {"127.1", NULL, false}, /* an address to the resolver, but not written as one */
    {"::2", NULL, false},
    {"::ffff:10.0.0.1", NULL, false},
    {"10.0.0.1", NULL, false},
    {NULL, "10.0.0.1", false},
    {NULL, "junk", false},
};

START_TEST(hosts_are_local_as_listed)
{
    ck_assert_msg(ia_host_is_local(hosts[_i].host, hosts[_i].hostaddr) == hosts[_i].local, "%s %s", hosts[_i].host,
                  hosts[_i].hostaddr);
}
END_TEST

START_TEST(states_have_the_words_of_the_contract)
{
    ck_assert_str_eq(ia_db_tls_text(IA_DB_TLS_VERIFIED), "tls verified");
    ck_assert_str_eq(ia_db_tls_text(IA_DB_TLS_UNVERIFIED), "tls unverified");
    ck_assert_str_eq(ia_db_tls_text(IA_DB_LOCAL), "local");
    ck_assert_str_eq(ia_db_tls_text(IA_DB_CLEAR), "CLEAR");
    ck_assert_str_eq(ia_db_tls_word(IA_DB_TLS_VERIFIED), "verified");
    ck_assert_str_eq(ia_db_tls_word(IA_DB_CLEAR), "clear");
}
END_TEST

static const char *param(const struct ia_conninfo *info, size_t host, const char *keyword)
{
    static const char *keywords[IA_CONN_PARAMS], *values[IA_CONN_PARAMS];
    const char *value = NULL;
    ia_conninfo_params(info, host, keywords, values);
    for (size_t i = 0; keywords[i]; i++)
        if (strcmp(keywords[i], keyword) == 0)
            value = values[i];
    return value;
}

/* Connection strings, and the sslmode of each host; NULL: the string is refused.  "-": left to libpq. */
static const struct {
    const char *text;
    bool insecure;
    const char *modes[2];
} strings[] = {
    {"host=db.example.com", false, {"verify-full"}},
    {"host=db.example.com sslmode=verify-full", false, {"verify-full"}},
    {"host=db.example.com sslmode=verify-ca", false, {NULL}},
    {"host=db.example.com sslmode=require", false, {NULL}},
    {"host=db.example.com sslmode=prefer", false, {NULL}},
    {"host=db.example.com sslmode=disable", false, {NULL}},
    {"postgresql://db.example.com/x?sslmode=require", false, {NULL}},
    {"host=localhost,db.example.com sslmode=require", false, {NULL}},
    {"host=db.example.com,localhost", false, {"verify-full", "-"}},
    {"host=/run/postgresql,db.example.com", false, {"-", "verify-full"}},
    {"hostaddr=10.0.0.1", false, {"verify-full"}},
    {"host=localhost hostaddr=10.0.0.1", false, {"verify-full"}},
    {"service=far", false, {"verify-full"}}, /* its host is in a file that libpq reads */
    {"host=localhost", false, {"-"}},
    {"host=localhost sslmode=require", false, {"require"}},
    {"", false, {"-"}},
    {"host=db.example.com", true, {"-"}},
    {"host=db.example.com sslmode=require", true, {"require"}},
    {"host=db.example.com sslmode=disable", true, {"disable"}},
};

START_TEST(database_that_is_not_local_requires_verified_tls)
{
    struct ia_conninfo info;
    struct ia_err err = {0};
    setenv("PGSERVICEFILE", "/tmp/ia-test-service", 1);
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    enum ia_rc rc = ia_conninfo_parse(strings[_i].text, NULL, strings[_i].insecure, &info, &err);
    if (!strings[_i].modes[0]) {
        ck_assert_msg(rc == IA_USAGE, "%s", strings[_i].text);
        ck_assert_ptr_nonnull(strstr(err.msg, "sslmode=verify-full"));
        ck_assert_ptr_nonnull(strstr(err.msg, "insecure_db_conninfo"));
        return;
    }
    ck_assert_msg(rc == IA_OK, "%s: %s", strings[_i].text, err.msg);
    for (size_t i = 0; i < info.n_hosts; i++) {
        const char *mode = param(&info, i, "sslmode");
        ck_assert_msg(strcmp(mode ? mode : "-", strings[_i].modes[i]) == 0, "%s: %s", strings[_i].text, mode);
    }
    ia_conninfo_clear(&info);
}
END_TEST

/* PGHOST and PGSSLMODE count as what is written in the string. */
START_TEST(environment_makes_nothing_weaker)
{
    struct ia_conninfo info;
    setenv("PGHOST", "db.example.com", 1);
    setenv("PGSSLMODE", "disable", 1);
    ck_assert(ia_conninfo_parse("dbname=x", NULL, false, &info, NULL) == IA_OK);
    ck_assert_str_eq(param(&info, 0, "sslmode"), "verify-full");
    ia_conninfo_clear(&info);
    unsetenv("PGHOST");
    setenv("PGHOSTADDR", "10.0.0.1", 1);
    ck_assert(ia_conninfo_parse("host=localhost", NULL, false, &info, NULL) == IA_OK);
    ck_assert_str_eq(param(&info, 0, "sslmode"), "verify-full");
    ia_conninfo_clear(&info);
}
END_TEST

static void write_service(void)
{
    FILE *f = fopen("/tmp/ia-test-service", "w");
    ck_assert_ptr_nonnull(f);
    fputs("[far]\nhost=db.example.com\n", f);
    fclose(f);
}

int main(void)
{
    Suite *s = suite_create("db_tls");
    TCase *c = tcase_create("db_tls");
    tcase_add_checked_fixture(c, write_service, NULL);
    tcase_add_loop_test(c, hosts_are_local_as_listed, 0, (int)(sizeof hosts / sizeof hosts[0]));
    tcase_add_test(c, states_have_the_words_of_the_contract);
    tcase_add_loop_test(c, database_that_is_not_local_requires_verified_tls, 0,
                        (int)(sizeof strings / sizeof strings[0]));
    tcase_add_test(c, environment_makes_nothing_weaker);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
