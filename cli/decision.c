// SPDX-License-Identifier: ISC
#include "cli/decision.h"

#include "access/rights.h"
#include "cli/issuer_keys.h"
#include "cli/registry.h"
#include "common/clock.h"
#include "config/snapshot_builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- problems of rows, which brokers write into the rows */

struct reporter {
    const struct ia_call *call;
    const struct ia_rows *rows;
};

static void print_ca_problem(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info,
                             const char *problem)
{
    const struct reporter *to = ctx;
    (void)info;
    if (problem)
        (void)ia_call_fail(to->call, 0, "CA '%s': %s", row->name, problem);
}

static void print_rule_problem(void *ctx, int64_t id, const char *text)
{
    const struct reporter *to = ctx;
    if (text)
        (void)ia_call_fail(to->call, 0, "rule %" PRId64 ": %s", id, text);
}

static void print_issuer_problem(void *ctx, int64_t id, const char *text)
{
    const struct reporter *to = ctx;
    if (text)
        (void)ia_call_fail(to->call, 0, "issuer '%s': %s", to->rows->issuers[id].name, text);
}

/* ---- the snapshot */

static enum ia_rc read_rows(struct ia_decision *d, struct ia_err *err)
{
    const char *source;
    const struct ia_db_config config = {.conninfo = ia_registry_conninfo(d->call, &source),
                                        .node_name = "check",
                                        .insecure = true, /* as psql: what PGSSLMODE says */
                                        .wake_fd = -1};
    enum ia_rc rc = ia_db_new(&config, &d->db, err);
    d->asked = rc == IA_OK;
    if (rc == IA_OK)
        rc = ia_db_connect(d->db, err);
    if (rc == IA_OK)
        rc = ia_db_load(d->db, IA_LOAD_ALL, &d->rows, err);
    if (rc == IA_OK && d->rows->missing)
        rc = ia_fail(err, d->rows->refusal.rc, "%s", d->rows->refusal.msg);
    if (rc == IA_OK)
        d->asked = false;
    if (rc == IA_OK && !d->with_addresses)
        d->rows->n_ips = 0;
    return rc;
}

static enum ia_rc build_snapshot(struct ia_decision *d, const struct ia_refresh *refresh, struct ia_err *err)
{
    struct reporter reporter = {d->call, d->rows};
    const struct ia_row_problems problems = {.ca = {print_ca_problem, &reporter},
                                             .rule = {print_rule_problem, &reporter},
                                             .issuer = {print_issuer_problem, &reporter}};
    const struct ia_build_input input = {
        .parts = IA_LOAD_ALL, .rows = d->rows, .refresh = refresh, .now = d->now, .problems = &problems};
    struct ia_builder *builder = ia_builder_new();
    if (!builder)
        return ia_nomem(err);
    enum ia_rc rc = ia_builder_build(builder, &input, &d->snapshot, err);
    ia_builder_free(builder);
    return rc;
}

enum ia_rc ia_decision_load(struct ia_decision *d, const struct ia_call *call, const char *issuer, struct ia_err *err)
{
    struct ia_refresh *refresh = NULL;
    *d = (struct ia_decision){.call = call, .now = ia_wall_s(), .with_addresses = ia_call_has(call, "from")};
    enum ia_rc rc = read_rows(d, err);
    if (rc == IA_OK)
        rc = ia_issuer_keys_fetch(d->rows, issuer ? issuer : "", issuer ? ia_call_get(call, "jwks-ca-file") : NULL,
                                  &refresh, err);
    if (rc == IA_OK)
        rc = build_snapshot(d, refresh, err);
    ia_refresh_free(refresh);
    return rc;
}

void ia_decision_clear(struct ia_decision *d)
{
    ia_snapshot_free(d->snapshot);
    ia_rows_free(d->rows);
    ia_db_free(d->db);
    *d = (struct ia_decision){0};
}

enum ia_rc ia_decision_begin(const struct ia_decision *d, struct ia_admission *a, struct ia_err *err)
{
    const char *from = ia_call_get(d->call, "from");
    a->snapshot = d->snapshot;
    a->now = d->now;
    a->client_id = ia_call_get(d->call, "client-id");
    a->address = from ? from : "";
    if (!from)
        return IA_OK;
    a->ip = ia_ip_parse(from);
    return a->ip.valid ? IA_OK : ia_fail(err, IA_USAGE, "--from '%.60s' is not an address", from);
}

/* ---- the answer */

/* What would have to be true instead, by the function that why_refused asks. */
static void print_remedy(const struct ia_decision *d, const struct ia_admission *a, enum ia_reason reason,
                         const char *claimed)
{
    char ca_id[24] = "";
    int status;
    const char *principal = a->token ? a->token->principal : a->device_id;
    const char *const values[] = {ia_reason_name(reason),
                                  a->context == IA_ADMIT_APP ? "app/refused" : "device/refused",
                                  principal,
                                  a->ca ? ca_id : NULL,
                                  a->address,
                                  claimed};
    if (a->ca)
        (void)snprintf(ca_id, sizeof ca_id, "%" PRId64, a->ca->ca_id);
    struct ia_registry *registry = ia_registry_open(d->call, &status);
    char *remedy =
        registry ? ia_registry_value(registry, "SELECT iot_auth.refusal_remedy($1, $2, $3, $4::bigint, $5, $6::jsonb)",
                                     values, 6)
                 : NULL;
    if (remedy && *remedy)
        printf("remedy: %s\n", remedy);
    free(remedy);
    ia_registry_close(registry);
}

int ia_decision_refuse(const struct ia_decision *d, const struct ia_admission *a, enum ia_reason reason,
                       const char *claimed)
{
    printf("deny: %s%s%s\n", ia_reason_name(reason), a->detail[0] ? " " : "", a->detail);
    print_remedy(d, a, reason, claimed);
    return IA_EXIT_DENY;
}

void ia_decision_print_roles(const struct ia_decision *d, const struct ia_admission *a)
{
    const struct ia_rights_holder who = {
        .ca = a->ca, .device = a->token ? NULL : a->device, .token = a->token, .client_id = a->client_id};
    struct ia_rights rights = {0};
    ia_rights_resolve(&rights, d->snapshot, &who);
    fputs("roles=", stdout);
    const char *comma = "";
    for (size_t i = 0; i < rights.n_roles; i++)
        for (size_t j = 0; j < d->rows->n_roles; j++)
            if (ia_policy_role(d->snapshot->policy, d->rows->roles[j]) == rights.roles[i]) {
                printf("%s%s", comma, d->rows->roles[j]);
                comma = ",";
            }
    puts(rights.broken ? " (a role is missing: everything is denied)" : "");
    ia_rights_clear(&rights);
}

int ia_decision_refused_as(const struct ia_err *err)
{
    if (strncmp(err->msg, "connection string", strlen("connection string")) == 0)
        return IA_EXIT_USAGE;
    bool is_refused =
        err->rc != IA_UNAVAILABLE && (strstr(err->msg, "schema iot_auth") || strstr(err->msg, "permission"));
    return is_refused ? IA_EXIT_REFUSED : IA_EXIT_DISCONNECTED;
}

int ia_decision_fail_loaded(const struct ia_decision *d, const struct ia_call *call, const struct ia_err *err)
{
    return d->asked ? ia_call_fail(call, ia_decision_refused_as(err), "%s", err->msg) : ia_decision_fail(call, err);
}

int ia_decision_fail(const struct ia_call *call, const struct ia_err *err)
{
    bool is_usage = err->rc == IA_USAGE || err->rc == IA_IO || err->rc == IA_FORMAT;
    return ia_call_fail(call, is_usage ? IA_EXIT_USAGE : IA_EXIT_DISCONNECTED, "%s", err->msg);
}
