// SPDX-License-Identifier: ISC
#include "sql/conninfo.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *or_dash(const char *text)
{
    return text ? text : "-";
}

static const char *value_of(const struct ia_conninfo *info, const char *keyword)
{
    for (size_t i = 0; i < info->n; i++)
        if (strcmp(info->keywords[i], keyword) == 0)
            return info->values[i];
    return NULL;
}

/* Connection strings and the hosts that come out, as host/hostaddr/port joined by blanks.  5432 is libpq's default. */
static const struct {
    const char *text;
    const char *hosts;
} rows[] = {
    {"host=a", "a/-/5432"},
    {"host=a,b,c", "a/-/5432 b/-/5432 c/-/5432"},
    {"host=a,b port=1", "a/-/1 b/-/1"},
    {"host=a,b port=1,2", "a/-/1 b/-/2"},
    {"host=a,b hostaddr=10.0.0.1,10.0.0.2", "a/10.0.0.1/5432 b/10.0.0.2/5432"},
    {"hostaddr=10.0.0.1,10.0.0.2", "-/10.0.0.1/5432 -/10.0.0.2/5432"},
    {"host=/run/postgresql,,b port=1,,3", "/run/postgresql/-/1 -/-/- b/-/3"},
    {"postgresql://u:p%40ss@a:1,b:2/db?sslmode=require", "a/-/1 b/-/2"},
    {"postgres:///db", "-/-/5432"},
    {"", "-/-/5432"},
    {"dbname=x user=y", "-/-/5432"},
};

START_TEST(hosts_come_out_as_listed)
{
    struct ia_conninfo info;
    struct ia_err err = {0};
    char got[256] = "";
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    unsetenv("PGPORT");
    ck_assert_msg(ia_conninfo_parse(rows[_i].text, "n", &info, &err) == IA_OK, "%s: %s", rows[_i].text, err.msg);
    for (size_t i = 0; i < info.n_hosts; i++) {
        char one[64];
        snprintf(one, sizeof one, "%s%s/%s/%s", i ? " " : "", or_dash(info.hosts[i].host),
                 or_dash(info.hosts[i].hostaddr), or_dash(info.hosts[i].port));
        strcat(got, one);
    }
    ck_assert_msg(strcmp(got, rows[_i].hosts) == 0, "%s: %s", rows[_i].text, got);
    ia_conninfo_clear(&info);
}
END_TEST

START_TEST(hosts_come_from_the_environment_where_not_given)
{
    struct ia_conninfo info;
    setenv("PGHOST", "e,f", 1);
    setenv("PGPORT", "7", 1);
    ck_assert(ia_conninfo_parse("dbname=x", NULL, &info, NULL) == IA_OK);
    ck_assert_uint_eq(info.n_hosts, 2);
    ck_assert_str_eq(info.hosts[1].host, "f");
    ck_assert_str_eq(info.hosts[1].port, "7");
    ia_conninfo_clear(&info);
    ck_assert(ia_conninfo_parse("host=a", NULL, &info, NULL) == IA_OK);
    ck_assert_uint_eq(info.n_hosts, 1);
    ck_assert_str_eq(info.hosts[0].host, "a");
    ia_conninfo_clear(&info);
}
END_TEST

START_TEST(defaults_stand_back_behind_what_the_user_gave)
{
    struct ia_conninfo info;
    ck_assert(ia_conninfo_parse("host=a", "node-1", &info, NULL) == IA_OK);
    ck_assert_str_eq(value_of(&info, "application_name"), "mosquitto-iot-auth node-1");
    ck_assert_str_eq(value_of(&info, "target_session_attrs"), "read-write");
    ck_assert_str_eq(value_of(&info, "keepalives"), "1");
    ck_assert_int_eq(info.connect_timeout_s, 0);
    ia_conninfo_clear(&info);
    ck_assert(ia_conninfo_parse("host=a application_name=mine target_session_attrs=primary keepalives=0 "
                                "client_encoding=LATIN1 connect_timeout=7",
                                "node-1", &info, NULL) == IA_OK);
    ck_assert_str_eq(value_of(&info, "application_name"), "mine");
    ck_assert_str_eq(value_of(&info, "target_session_attrs"), "primary");
    ck_assert_str_eq(value_of(&info, "keepalives"), "0");
    ck_assert_str_eq(value_of(&info, "client_encoding"), "UTF8");
    ck_assert_int_eq(info.connect_timeout_s, 7);
    ia_conninfo_clear(&info);
}
END_TEST

START_TEST(params_name_one_host)
{
    struct ia_conninfo info;
    const char *keywords[IA_CONN_OPTIONS + 4], *values[IA_CONN_OPTIONS + 4];
    ck_assert(ia_conninfo_parse("host=a,b port=1,2 dbname=x", NULL, &info, NULL) == IA_OK);
    ia_conninfo_params(&info, 1, keywords, values);
    int hosts = 0;
    for (size_t i = 0; keywords[i]; i++) {
        if (strcmp(keywords[i], "host") == 0) {
            hosts++;
            ck_assert_str_eq(values[i], "b");
        }
        if (strcmp(keywords[i], "port") == 0)
            ck_assert_str_eq(values[i], "2");
    }
    ck_assert_int_eq(hosts, 1);
    ia_conninfo_clear(&info);
}
END_TEST

/* What does not parse is refused, and no piece of it is repeated. */
static const char *const bad[] = {
    "password=s3cret nonsense",
    "s3cret",
    "host=a password='s3cret",
    "s3cret=1",
    "postgresql://u:s3cret%zz@",
    "host=a s3cret=x",
    "host=a,b port=1,2,3 user=s3cret",
    "host=a,b hostaddr=10.0.0.1",
    "port=s3cret",
    "connect_timeout=s3cret",
    "sslmode=s3cret",
    "target_session_attrs=s3cret",
    "sslmode=require prefer",
    "keepalives_idle=1s3cret",
    "channel_binding=s3cret",
    "gssencmode=s3cret",
    "ssl_min_protocol_version=s3cret",
};

START_TEST(bad_strings_are_refused_without_repeating_them)
{
    struct ia_conninfo info;
    struct ia_err err = {0};
    ck_assert_msg(ia_conninfo_parse(bad[_i], NULL, &info, &err) == IA_USAGE, "%s", bad[_i]);
    ck_assert_ptr_null(strstr(err.msg, "s3cret"));
    ck_assert_ptr_nonnull(strstr(err.msg, "connection string"));
}
END_TEST

/* Each word that libpq takes for an option that it checks when it connects. */
static const char *const good_words[] = {
    "sslmode=disable",
    "sslmode=allow",
    "sslmode=prefer",
    "sslmode=verify-ca",
    "sslmode=verify-full",
    "target_session_attrs=any",
    "channel_binding=require",
    "gssencmode=disable",
    "target_session_attrs=prefer-standby",
    "sslmode=require host=db.example port=6432 password='a b'",
};

START_TEST(words_that_libpq_knows_are_taken)
{
    struct ia_conninfo info;
    struct ia_err err = {0};
    ck_assert_msg(ia_conninfo_parse(good_words[_i], NULL, &info, &err) == IA_OK, "%s: %s", good_words[_i], err.msg);
    ia_conninfo_clear(&info);
}
END_TEST

START_TEST(refused_word_names_its_keyword)
{
    struct ia_conninfo info;
    struct ia_err err = {0};
    ck_assert(ia_conninfo_parse("sslmode=s3cret", NULL, &info, &err) == IA_USAGE);
    ck_assert_msg(strstr(err.msg, "sslmode"), "%s", err.msg);
}
END_TEST

START_TEST(more_hosts_than_fit_are_refused)
{
    struct ia_conninfo info;
    char text[64] = "host=h";
    for (int i = 0; i < IA_CONN_HOSTS; i++)
        strcat(text, ",h");
    ck_assert(ia_conninfo_parse(text, NULL, &info, NULL) == IA_USAGE);
    text[strlen(text) - 2] = '\0';
    ck_assert(ia_conninfo_parse(text, NULL, &info, NULL) == IA_OK);
    ck_assert_uint_eq(info.n_hosts, IA_CONN_HOSTS);
    ia_conninfo_clear(&info);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conninfo");
    TCase *c = tcase_create("conninfo");
    tcase_add_loop_test(c, hosts_come_out_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, hosts_come_from_the_environment_where_not_given);
    tcase_add_test(c, defaults_stand_back_behind_what_the_user_gave);
    tcase_add_test(c, params_name_one_host);
    tcase_add_loop_test(c, bad_strings_are_refused_without_repeating_them, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_loop_test(c, words_that_libpq_knows_are_taken, 0, (int)(sizeof good_words / sizeof good_words[0]));
    tcase_add_test(c, refused_word_names_its_keyword);
    tcase_add_test(c, more_hosts_than_fit_are_refused);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
