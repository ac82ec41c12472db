// SPDX-License-Identifier: ISC
#include "worker/problem_writer.h"

#include <inttypes.h>
#include <stdio.h>

static void warn_of_row(const struct ia_problem_writer *writer, const char *row, const char *problem, const char *rest)
{
    char line[IA_ISSUER_TEXT_MAX + 512];
    (void)snprintf(line, sizeof line, "%s: %s%s", row, problem, rest);
    ia_sink_log(writer->sink, IA_LOG_WARNING, line);
}

static void report_ca(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem)
{
    const struct ia_problem_writer *writer = ctx;
    ia_outbox_ca(writer->outbox, row->ca_id, info, problem);
    char name[IA_VALUE_MAX + 8];
    (void)snprintf(name, sizeof name, "CA %s", row->name);
    if (problem)
        warn_of_row(writer, name, problem, " (see iot_auth.ca.problem)");
}

static void report_rule(void *ctx, int64_t rule_id, const char *problem)
{
    const struct ia_problem_writer *writer = ctx;
    ia_outbox_rule(writer->outbox, rule_id, problem);
    char name[32];
    (void)snprintf(name, sizeof name, "rule %" PRId64, rule_id);
    if (problem)
        warn_of_row(writer, name, problem, ": its role denies everything (see iot_auth.role_rule.problem)");
}

static void report_issuer(void *ctx, int64_t index, const char *problem)
{
    const struct ia_problem_writer *writer = ctx;
    const char *issuer = writer->rows->issuers[index].name;
    ia_outbox_issuer(writer->outbox, issuer, problem);
    char name[IA_VALUE_MAX + 8];
    (void)snprintf(name, sizeof name, "issuer %s", issuer);
    if (problem)
        warn_of_row(writer, name, problem, " (see iot_auth.oauth_issuer.problem)");
}

static void report_issuer_note(void *ctx, int64_t index, const char *note)
{
    const struct ia_problem_writer *writer = ctx;
    ia_outbox_issuer_note(writer->outbox, writer->rows->issuers[index].name, note);
}

/* iot_auth.ip_rule has no column `problem`. */
static void report_ip_rule(void *ctx, int64_t rule_id, const char *problem)
{
    char name[32];
    (void)snprintf(name, sizeof name, "ip_rule %" PRId64, rule_id);
    warn_of_row(ctx, name, problem, "");
}

struct ia_row_problems ia_problem_writer_callbacks(const struct ia_problem_writer *writer)
{
    void *ctx = (void *)(uintptr_t)writer; /* the callbacks only read it */
    return (struct ia_row_problems){
        .ca = {report_ca, ctx},
        .rule = {report_rule, ctx},
        .issuer = {report_issuer, ctx},
        .issuer_note = {report_issuer_note, ctx},
        .ip_rule = {report_ip_rule, ctx},
    };
}
