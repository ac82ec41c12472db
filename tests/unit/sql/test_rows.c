// SPDX-License-Identifier: ISC
/* Reading the configuration, against a real PostgreSQL (with_postgres.sh). */
#include "pg_kit.h"
#include "sql/rows.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kit kit;
static struct ia_db *db;

static void setup(void)
{
    kit_init(&kit);
    /* As a restore does: the triggers' checks of PEM and keys are not the subject here. */
    kit_run(&kit, "SET session_replication_role = replica");
    db = kit_connected(&kit);
}

static void teardown(void)
{
    ia_db_free(db);
    kit_clear(&kit);
}

static struct ia_rows *load(unsigned what)
{
    struct ia_rows *rows = NULL;
    struct ia_err err = {0};
    ck_assert_msg(ia_db_load(db, what, &rows, &err) == IA_OK, "%s", err.msg);
    ck_assert_msg(!rows->missing, "%s", rows->refusal.msg);
    return rows;
}

/* Not a certificate: nothing here looks inside. */
#define PEM(text) "E'-----BEGIN CERTIFICATE-----\\n" text "\\n-----END CERTIFICATE-----\\n'"

static void assert_texts(const struct ia_texts *texts, const char *joined)
{
    char got[256] = "";
    for (size_t i = 0; i < texts->n; i++) {
        strcat(got, i ? "|" : "");
        strcat(got, texts->items[i]);
    }
    ck_assert_str_eq(got, joined);
}

#define FRESH_ROLES 2u /* of a fresh schema: device and monitor */

START_TEST(fresh_schema_holds_two_roles_and_nothing_else)
{
    struct ia_rows *rows = load(IA_LOAD_ALL);
    ck_assert_uint_eq(rows->n_cas + rows->n_crls + rows->n_ips + rows->n_issuers + rows->n_scopes, 0);
    ck_assert_uint_eq(rows->n_roles, FRESH_ROLES);
    ck_assert_str_eq(rows->roles[0], "device");
    ck_assert_str_eq(rows->roles[1], "monitor");
    ck_assert_uint_ge(rows->n_rules, 1);
    ck_assert_str_eq(rows->rules[0].role, "device");
    ck_assert(rows->rules[0].allow && rows->rules[0].max_qos == 2 && rows->rules[0].allow_retain);
    ck_assert_ptr_null(rows->rule_problems[0]);
    ia_rows_free(rows);
    ia_rows_free(NULL);
}
END_TEST

START_TEST(cas_come_with_all_columns)
{
    kit_run(&kit, "INSERT INTO iot_auth.ca (ca_id, name, pem, fingerprint, status, auto_registration, "
                  "device_id_template, client_id_templates, tenant, replaces, problem) VALUES "
                  "(5, 'old', " PEM(
                      "b2xk") ", sha256('old'), 'REVOKED', false, '${cert.cn}', '{\"${device_id}\"}', NULL, "
                              "NULL, NULL), "
                              "(7, 'new', " PEM(
                                  "bmV3") ", sha256('new'), 'ACTIVE', true, 'x-${cert.cn}', '{a,\"b,*\"}', 'acme', 5, "
                                          "'is odd')");
    kit_run(&kit, "INSERT INTO iot_auth.role (role) VALUES ('meter')");
    kit_run(&kit, "INSERT INTO iot_auth.ca_role (ca_id, role) VALUES (7, 'meter'), (7, 'device')");
    kit_run(&kit, "INSERT INTO iot_auth.crl (crl_id, ca_id, pem, fingerprint) VALUES (3, 7, "
                  "E'-----BEGIN X509 CRL-----\\nY3Js\\n-----END X509 CRL-----\\n', sha256('crl'))");
    struct ia_rows *rows = load(IA_LOAD_CAS | IA_LOAD_CRLS);
    ck_assert_uint_eq(rows->n_cas, 2);
    ck_assert_uint_eq(rows->n_roles, 0);
    const struct ia_ca_row *a = &rows->cas[rows->cas[0].ca_id == 5 ? 0 : 1];
    const struct ia_ca_row *b = &rows->cas[rows->cas[0].ca_id == 5 ? 1 : 0];
    ck_assert(a->ca_id == 5 && a->status == IA_CA_REVOKED && !a->auto_registration && a->replaces == 0);
    ck_assert(!a->tenant && !a->problem && a->roles.n == 0);
    ck_assert(b->ca_id == 7 && b->status == IA_CA_ACTIVE && b->auto_registration && b->replaces == 5);
    ck_assert_str_eq(b->name, "new");
    ck_assert_ptr_nonnull(strstr(b->pem, "\nbmV3\n"));
    ck_assert_str_eq(b->device_id_template, "x-${cert.cn}");
    ck_assert_str_eq(b->tenant, "acme");
    ck_assert_str_eq(b->problem, "is odd");
    assert_texts(&b->client_id_templates, "a|b,*");
    assert_texts(&b->roles, "device|meter");
    ck_assert_uint_eq(rows->n_crls, 1);
    ck_assert(rows->crls[0].crl_id == 3 && rows->crls[0].ca_id == 7 && strstr(rows->crls[0].pem, "Y3Js"));
    ia_rows_free(rows);
}
END_TEST

START_TEST(rules_and_addresses_come_with_all_columns)
{
    kit_run(&kit, "DELETE FROM iot_auth.role_rule");
    kit_run(&kit,
            "INSERT INTO iot_auth.role_rule (rule_id, role, effect, actions, topic_filter, max_qos, allow_retain, "
            "problem) VALUES (101, 'device', 'DENY', '{PUBLISH,RECEIVE}', 'a/#', 1, false, 'none really')");
    kit_run(&kit, "INSERT INTO iot_auth.ip_rule (rule_id, effect, network, scope, scope_key, expires_at) VALUES "
                  "(201, 'DENY', '10.0.0.0/8', 'GLOBAL', NULL, NULL)");
    kit_run(&kit, "INSERT INTO iot_auth.ip_rule (rule_id, effect, network, scope, scope_key, expires_at) VALUES "
                  "(202, 'ALLOW', '2001:db8::/32', 'DEVICE', 'd-1', '2040-01-01 00:00:00.9+00')");
    struct ia_rows *rows = load(IA_LOAD_POLICY | IA_LOAD_IPS);
    ck_assert_uint_eq(rows->n_rules, 1);
    const struct ia_rule *rule = &rows->rules[0];
    ck_assert(rule->rule_id == 101 && !rule->allow && rule->max_qos == 1 && !rule->allow_retain);
    ck_assert_uint_eq(rule->actions, IA_PUBLISH | IA_RECEIVE);
    ck_assert_str_eq(rule->topic_filter, "a/#");
    ck_assert_str_eq(rows->rule_problems[0], "none really");
    ck_assert_uint_eq(rows->n_ips, 2);
    const struct ia_ip_rule *global = &rows->ips[rows->ips[0].rule_id == 201 ? 0 : 1];
    const struct ia_ip_rule *device = &rows->ips[rows->ips[0].rule_id == 201 ? 1 : 0];
    ck_assert(!global->allow && global->scope == IA_IP_GLOBAL && !global->scope_key && global->expires_at == 0);
    ck_assert_str_eq(global->network, "10.0.0.0/8");
    ck_assert(device->allow && device->scope == IA_IP_DEVICE && device->expires_at == 2208988800);
    ck_assert_str_eq(device->scope_key, "d-1");
    ck_assert_str_eq(device->network, "2001:db8::/32");
    ia_rows_free(rows);
}
END_TEST

START_TEST(issuers_come_with_all_columns)
{
    kit_run(&kit, "INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, algorithms, jwks, client_id_templates, "
                  "app_id_claim, token_types, leeway_s, tenant, status, problem) VALUES ('idp', 'https://idp.example', "
                  "'{a,b}', '{RS256}', '{\"keys\":[]}', '{*}', 'sub', '{JWT}', 7, 'acme', 'ACTIVE', 'hm')");
    kit_run(&kit, "INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, jwks_url, status) VALUES ('second', "
                  "'https://second.example', '{x}', 'https://second.example/jwks', 'INACTIVE')");
    kit_run(&kit, "INSERT INTO iot_auth.scope_role (issuer_name, scope, role) VALUES ('idp', 'iot:read', 'device')");
    struct ia_rows *rows = load(IA_LOAD_ISSUERS);
    ck_assert_uint_eq(rows->n_issuers, 2);
    const struct ia_issuer_row *idp = &rows->issuers[strcmp(rows->issuers[0].name, "idp") == 0 ? 0 : 1];
    const struct ia_issuer_row *second = &rows->issuers[strcmp(rows->issuers[0].name, "idp") == 0 ? 1 : 0];
    ck_assert(idp->active && idp->leeway_s == 7 && !idp->jwks_url);
    ck_assert_str_eq(idp->issuer, "https://idp.example");
    ck_assert_str_eq(idp->jwks, "{\"keys\": []}");
    ck_assert_str_eq(idp->app_id_claim, "sub");
    ck_assert_str_eq(idp->tenant, "acme");
    ck_assert_str_eq(idp->problem, "hm");
    assert_texts(&idp->audience, "a|b");
    assert_texts(&idp->algorithms, "RS256");
    assert_texts(&idp->client_id_templates, "*");
    assert_texts(&idp->token_types, "JWT");
    ck_assert(!second->active && !second->jwks && !second->app_id_claim && !second->tenant && !second->problem);
    ck_assert_str_eq(second->jwks_url, "https://second.example/jwks");
    ck_assert_uint_eq(rows->n_scopes, 1);
    ck_assert_str_eq(rows->scopes[0].issuer, "idp");
    ck_assert_str_eq(rows->scopes[0].scope, "iot:read");
    ck_assert_str_eq(rows->scopes[0].role, "device");
    ia_rows_free(rows);
}
END_TEST

/* Words of a later schema, or of a damaged one: constraints are no help then. */
START_TEST(unknown_words_never_allow)
{
    kit_run(&kit,
            "ALTER TABLE iot_auth.role_rule DROP CONSTRAINT rule_effect_known, DROP CONSTRAINT rule_actions_known");
    kit_run(&kit,
            "ALTER TABLE iot_auth.ip_rule DROP CONSTRAINT ip_rule_effect_known, DROP CONSTRAINT ip_rule_scope_known");
    kit_run(&kit, "ALTER TABLE iot_auth.ca DROP CONSTRAINT ca_status_known");
    kit_run(&kit, "DELETE FROM iot_auth.role_rule");
    kit_run(&kit, "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) VALUES "
                  "('device', 'PERMIT', '{PUBLISH}', 'a'), ('device', 'ALLOW', '{PUBLISH,DELETE}', 'a')");
    kit_run(&kit, "INSERT INTO iot_auth.ip_rule (rule_id, effect, network, scope, scope_key, expires_at) VALUES "
                  "(1, 'LIMIT', '10.0.0.0/8', 'CA', 'acme', '2040-01-01')");
    kit_run(&kit, "INSERT INTO iot_auth.ip_rule (rule_id, effect, network, scope, scope_key) VALUES "
                  "(2, 'ALLOW', '10.0.0.0/8', 'TENANT', 'acme')");
    kit_run(&kit, "INSERT INTO iot_auth.ca (name, pem, fingerprint, status) VALUES ('x', " PEM("eA==") ", sha256('x'), "
                                                                                                       "'SUSPENDED')");
    struct ia_rows *rows = load(IA_LOAD_ALL);
    ck_assert_uint_eq(rows->n_rules, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(!rows->rules[i].allow && rows->rules[i].actions == (IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE));
        ck_assert_str_eq(rows->rules[i].topic_filter, "");
    }
    ck_assert_uint_eq(rows->n_ips, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct ia_ip_rule *ip = &rows->ips[i];
        ck_assert_str_eq(ip->network, "");
        ck_assert_int_eq(ip->expires_at, 0);
        ck_assert(ip->scope == (ip->rule_id == 1 ? IA_IP_CA : IA_IP_GLOBAL));
        ck_assert((ip->scope_key != NULL) == (ip->rule_id == 1));
    }
    ck_assert(rows->cas[0].status == IA_CA_INACTIVE);
    ia_rows_free(rows);
}
END_TEST

START_TEST(load_sees_one_moment)
{
    /* A role and its rule come together or not at all, whatever is committed meanwhile. */
    kit_run(&kit, "DELETE FROM iot_auth.role_rule");
    PGconn *writer = kit.admin;
    for (int i = 0; i < 50; i++) {
        char sql[256];
        snprintf(
            sql, sizeof sql,
            "BEGIN; INSERT INTO iot_auth.role (role) VALUES ('r%d'); INSERT INTO iot_auth.role_rule (role, effect, "
            "actions, topic_filter) VALUES ('r%d', 'ALLOW', '{PUBLISH}', 'a'); COMMIT",
            i, i);
        ck_assert(PQsendQuery(writer, sql));
        ck_assert(PQflush(writer) == 0);
        struct ia_rows *rows = load(IA_LOAD_POLICY);
        ck_assert_uint_eq(rows->n_roles, rows->n_rules + FRESH_ROLES);
        ia_rows_free(rows);
        for (PGresult *r; (r = PQgetResult(writer)); PQclear(r))
            ck_assert(PQresultStatus(r) == PGRES_COMMAND_OK);
    }
}
END_TEST

/* What one part cannot give is missing, and no other part waits for it. */
START_TEST(refused_part_is_missing_and_the_others_are_read)
{
    struct ia_rows *rows = NULL;
    struct ia_err err = {0};
    kit_run(&kit, "REVOKE SELECT ON iot_auth.broker_ip FROM iot_auth_broker");
    ck_assert_msg(ia_db_load(db, IA_LOAD_ALL, &rows, &err) == IA_OK, "%s", err.msg);
    ck_assert_uint_eq(rows->missing, IA_LOAD_IPS);
    ck_assert(rows->refusal.rc == IA_USAGE);
    ck_assert_msg(strstr(rows->refusal.msg, "address rules: "), "%s", rows->refusal.msg);
    ck_assert_ptr_nonnull(strstr(rows->refusal.msg, "permission denied"));
    ck_assert_uint_eq(rows->n_roles, FRESH_ROLES);
    ck_assert_uint_ge(rows->n_rules, 1);
    ia_rows_free(rows);
    kit_run(&kit, "GRANT SELECT ON iot_auth.broker_ip TO iot_auth_broker");
    ia_rows_free(load(IA_LOAD_ALL));
}
END_TEST

/* Were it to cost the connection, a lock on one table would keep the broker from all the others. */
START_TEST(locked_part_waits_no_longer_than_a_lock_does)
{
    struct ia_rows *rows = NULL;
    struct ia_err err = {0};
    kit_run(&kit, "BEGIN");
    kit_run(&kit, "LOCK TABLE iot_auth.role_rule IN ACCESS EXCLUSIVE MODE");
    int64_t start = kit_now_ms();
    ck_assert_msg(ia_db_load(db, IA_LOAD_ALL, &rows, &err) == IA_OK, "%s", err.msg);
    ck_assert_int_lt(kit_now_ms() - start, 1500);
    ck_assert_uint_eq(rows->missing, IA_LOAD_RULES);
    ck_assert(rows->refusal.rc == IA_UNAVAILABLE);
    ck_assert_msg(strstr(rows->refusal.msg, "timeout"), "%s", rows->refusal.msg);
    ck_assert_uint_eq(rows->n_roles, FRESH_ROLES);
    ia_rows_free(rows);
    ck_assert(ia_db_connected(db));
    kit_run(&kit, "COMMIT");
    ia_rows_free(load(IA_LOAD_ALL));
}
END_TEST

/* Put a view in front of broker_<part>: where `bad` holds of a row, column `column` cannot be evaluated, as a jsonb
 * number of 131,072 digits cannot.  `columns` has all columns in order, %s in place of the bad one. */
static void poison(const char *part, const char *before, const char *column, const char *after, const char *bad)
{
    char sql[1024];
    kit_run(&kit, "CREATE OR REPLACE FUNCTION public.poison(boolean) RETURNS text IMMUTABLE LANGUAGE plpgsql AS "
                  "'BEGIN IF $1 THEN RAISE EXCEPTION USING ERRCODE = ''XX000'', MESSAGE = ''invalid memory alloc''; "
                  "END IF; RETURN ''''; END'");
    snprintf(sql, sizeof sql, "ALTER VIEW iot_auth.broker_%s RENAME TO sound_%s", part, part);
    kit_run(&kit, sql);
    snprintf(sql, sizeof sql,
             "CREATE VIEW iot_auth.broker_%s AS SELECT %s, %s || public.poison(%s) AS %s, %s FROM iot_auth.sound_%s",
             part, before, column, bad, column, after, part);
    kit_run(&kit, sql);
    snprintf(sql, sizeof sql, "GRANT SELECT ON iot_auth.broker_%s TO iot_auth_broker", part);
    kit_run(&kit, sql);
}

#define AFTER_PEM                                                                                                      \
    "status, auto_registration, device_id_template, client_id_templates, tenant, replaces, problem, roles, "           \
    "terms, has_template, template_attributes, template_tenant, fault"

START_TEST(ca_that_the_server_cannot_return_is_closed_and_no_other)
{
    kit_run(&kit, "INSERT INTO iot_auth.ca (ca_id, name, pem, fingerprint) SELECT i, 'ca-' || i, 'x', "
                  "sha256(i::text::bytea) FROM generate_series(1, 300) i");
    poison("ca", "ca_id, name", "pem", AFTER_PEM, "ca_id IN (1, 150, 151, 300)");
    struct ia_rows *rows = load(IA_LOAD_ALL);
    ck_assert_uint_eq(rows->n_cas, 300);
    ck_assert_uint_eq(rows->n_roles, FRESH_ROLES);
    for (size_t i = 0; i < rows->n_cas; i++) {
        const struct ia_ca_row *ca = &rows->cas[i];
        bool bad = ca->ca_id == 1 || ca->ca_id == 150 || ca->ca_id == 151 || ca->ca_id == 300;
        ck_assert_msg(!bad == !ca->fault, "%s: %s", ca->name, ca->fault ? ca->fault : "no fault");
        ck_assert(ca->status == (bad ? IA_CA_INACTIVE : IA_CA_ACTIVE));
        ck_assert_str_eq(ca->pem, bad ? "" : "x");
        ck_assert(!bad || strstr(ca->fault, "invalid memory alloc"));
    }
    ck_assert(ia_db_connected(db));
    ia_rows_free(rows);
}
END_TEST

/* The keys say whose scope a row closes. */
START_TEST(other_rows_that_cannot_be_returned_close_their_scopes)
{
    kit_run(&kit, "INSERT INTO iot_auth.role_rule (rule_id, role, effect, actions, topic_filter) VALUES "
                  "(77, 'device', 'ALLOW', '{PUBLISH}', 'x')");
    kit_run(&kit, "INSERT INTO iot_auth.ip_rule (rule_id, effect, network, scope, scope_key) VALUES "
                  "(88, 'ALLOW', '10.0.0.0/8', 'DEVICE', 'd-1')");
    kit_run(&kit, "INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, jwks) VALUES ('idp', "
                  "'https://idp.example', '{a}', '{\"keys\":[]}'), ('good', 'https://good.example', '{a}', "
                  "'{\"keys\":[]}')");
    kit_run(&kit, "INSERT INTO iot_auth.scope_role (issuer_name, scope, role) VALUES ('idp', 's', 'device')");
    poison("rule", "rule_id, role, effect, actions", "topic_filter", "max_qos, allow_retain, problem, fault",
           "rule_id = 77");
    poison("ip", "rule_id, effect", "network", "scope, scope_key, expires_at, fault", "rule_id = 88");
    poison("issuer", "name, issuer, audience, algorithms", "jwks",
           "jwks_url, client_id_templates, app_id_claim, token_types, leeway_s, tenant, status, problem, note, fault, "
           "scope_claims, audience_claims, required_claims, max_lifetime_s",
           "name = 'idp'");
    poison("scope", "issuer", "scope", "role", "issuer = 'idp'");
    struct ia_rows *rows = load(IA_LOAD_ALL);
    for (size_t i = 0; i < rows->n_rules; i++) {
        bool bad = rows->rules[i].rule_id == 77;
        ck_assert_ptr_nonnull(strstr("device monitor", rows->rules[i].role));
        ck_assert_msg((rows->rules[i].topic_filter[0] == 0) == bad && !bad == !rows->rule_faults[i], "%d: %s: %s",
                      (int)rows->rules[i].rule_id, rows->rules[i].topic_filter, rows->rule_faults[i]);
        ck_assert(!bad || !rows->rules[i].allow);
    }
    ck_assert_uint_eq(rows->n_ips, 1);
    ck_assert(rows->ips[0].scope == IA_IP_DEVICE && !rows->ips[0].allow && rows->ips[0].network[0] == '\0');
    ck_assert_str_eq(rows->ips[0].scope_key, "d-1");
    ck_assert_uint_eq(rows->n_issuers, 2);
    for (size_t i = 0; i < 2; i++)
        ck_assert(rows->issuers[i].active == (strcmp(rows->issuers[i].name, "good") == 0));
    ck_assert_uint_eq(rows->n_scopes, 1);
    ck_assert_ptr_nonnull(rows->scopes[0].fault);
    ck_assert_str_eq(rows->scopes[0].issuer, "idp");
    ck_assert_uint_ge(rows->n_notes, 2);
    ia_rows_free(rows);
}
END_TEST

/* No row is the reason: the search ends, the part is missing, the connection stays. */
START_TEST(part_whose_every_row_is_refused_is_missing)
{
    struct ia_rows *rows = NULL;
    struct ia_err err = {0};
    kit_run(&kit, "INSERT INTO iot_auth.ca (ca_id, name, pem, fingerprint) SELECT i, 'ca-' || i, 'x', "
                  "sha256(i::text::bytea) FROM generate_series(1, 300) i");
    poison("ca", "ca_id, name", "pem", AFTER_PEM, "true");
    ck_assert_msg(ia_db_load(db, IA_LOAD_ALL, &rows, &err) == IA_OK, "%s", err.msg);
    ck_assert_uint_eq(rows->missing, IA_LOAD_CAS);
    ck_assert_uint_eq(rows->n_roles, FRESH_ROLES);
    ia_rows_free(rows);
}
END_TEST

/* Two dimensions, NULL elements: the decoder refuses the value, not the answer.  (The views do not let them through.) */
START_TEST(row_that_does_not_decode_is_closed_and_no_other)
{
    static const char *const arrays[] = {"'{{a,b},{c,d}}'", "'{a,NULL}'", "NULL"};
    kit_run(&kit, "INSERT INTO iot_auth.ca (ca_id, name, pem, fingerprint) VALUES (1, 'bad', 'x', sha256('1')), "
                  "(2, 'good', 'x', sha256('2'))");
    kit_run(&kit, "ALTER VIEW iot_auth.broker_ca RENAME TO sound_ca");
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        char sql[1024];
        snprintf(sql, sizeof sql,
                 "DROP VIEW IF EXISTS iot_auth.broker_ca; CREATE VIEW iot_auth.broker_ca AS SELECT ca_id, name, pem, "
                 "status, auto_registration, device_id_template, CASE WHEN ca_id = 1 THEN %s::text[] ELSE "
                 "client_id_templates END AS client_id_templates, tenant, replaces, problem, roles, "
                 "terms, has_template, template_attributes, template_tenant, fault FROM "
                 "iot_auth.sound_ca; GRANT SELECT ON iot_auth.broker_ca TO iot_auth_broker",
                 arrays[i]);
        kit_run(&kit, sql);
        struct ia_rows *rows = load(IA_LOAD_CAS);
        ck_assert_uint_eq(rows->n_cas, 2);
        for (size_t k = 0; k < 2; k++) {
            const struct ia_ca_row *ca = &rows->cas[k];
            ck_assert((ca->ca_id == 1) == (ca->fault != NULL));
            ck_assert(ca->status == (ca->ca_id == 1 ? IA_CA_INACTIVE : IA_CA_ACTIVE));
            ck_assert_str_eq(ca->pem, "x");
        }
        ia_rows_free(rows);
    }
}
END_TEST

START_TEST(many_rows_load_in_one_piece)
{
    kit_run(&kit, "INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter) SELECT 'device', 'ALLOW', "
                  "'{PUBLISH}', 'a/' || n || '/#' FROM generate_series(1, 20000) n");
    struct ia_rows *rows = load(IA_LOAD_POLICY);
    ck_assert_uint_ge(rows->n_rules, 20000);
    for (size_t i = 0; i < rows->n_rules; i++)
        ck_assert(rows->rules[i].rule_id > 0 && rows->rules[i].topic_filter[0]);
    ia_rows_free(rows);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rows");
    TCase *c = tcase_create("rows");
    tcase_set_timeout(c, 30);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, fresh_schema_holds_two_roles_and_nothing_else);
    tcase_add_test(c, cas_come_with_all_columns);
    tcase_add_test(c, rules_and_addresses_come_with_all_columns);
    tcase_add_test(c, issuers_come_with_all_columns);
    tcase_add_test(c, unknown_words_never_allow);
    tcase_add_test(c, load_sees_one_moment);
    tcase_add_test(c, refused_part_is_missing_and_the_others_are_read);
    tcase_add_test(c, locked_part_waits_no_longer_than_a_lock_does);
    tcase_add_test(c, ca_that_the_server_cannot_return_is_closed_and_no_other);
    tcase_add_test(c, other_rows_that_cannot_be_returned_close_their_scopes);
    tcase_add_test(c, part_whose_every_row_is_refused_is_missing);
    tcase_add_test(c, row_that_does_not_decode_is_closed_and_no_other);
    tcase_add_test(c, many_rows_load_in_one_piece);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
