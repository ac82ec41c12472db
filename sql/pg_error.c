// SPDX-License-Identifier: ISC
#include "sql/pg_error.h"

#include <ctype.h>
#include <string.h>

/* By SQLSTATE or its class; the first row that fits decides.  `lost`: another connection may succeed.  An error that the
 * content of a row can cause, an internal one of the server among them, leaves the connection as it is: a row that
 * could make every connection be dropped would stop every revocation. */
static const struct {
    const char *prefix;
    struct ia_pg_error error;
} states[] = {
    {"28", {IA_RANK_NEEDS_ADMIN, "authentication failed", IA_USAGE, true}},
    {"3D000", {IA_RANK_NEEDS_ADMIN, "no such database", IA_USAGE, true}},
    {"53300", {IA_RANK_BUSY, "too many connections", IA_UNAVAILABLE, true}},
    {"53", {IA_RANK_BUSY, "out of resources", IA_UNAVAILABLE, false}},
    {"57P", {IA_RANK_BUSY, "starting up or shutting down", IA_UNAVAILABLE, true}},
    {"57014", {IA_RANK_TIMEOUT, "timeout", IA_UNAVAILABLE, false}},
    {"55P03", {IA_RANK_TIMEOUT, "timeout waiting for a lock", IA_UNAVAILABLE, false}},
    {"40", {IA_RANK_BUSY, "conflict with another transaction", IA_UNAVAILABLE, false}},
    {"25006", {IA_RANK_READ_ONLY, "read-only", IA_UNAVAILABLE, true}},
    {"08", {IA_RANK_UNREACHABLE, "connection lost", IA_UNAVAILABLE, true}},
    {"0A000", {IA_RANK_BUSY, "statement must be prepared again", IA_UNAVAILABLE, false}},
    {"26000", {IA_RANK_BUSY, "statement must be prepared again", IA_UNAVAILABLE, false}},
    {"42501", {IA_RANK_NEEDS_ADMIN, "permission denied (grant iot_auth_broker to the role)", IA_USAGE, false}},
    {"42", {IA_RANK_NEEDS_ADMIN, "schema iot_auth missing or old (apply sql/migrations)", IA_USAGE, false}},
    {"3F000", {IA_RANK_NEEDS_ADMIN, "schema iot_auth missing or old (apply sql/migrations)", IA_USAGE, false}},
    {"58", {IA_RANK_BUSY, "system error", IA_UNAVAILABLE, false}},
    {"", {IA_RANK_NEEDS_ADMIN, "refused", IA_FORMAT, false}},
};

/* libpq's own words, where no server answered. */
static const struct {
    const char *words;
    struct ia_pg_error error;
} phrases[] = {
    {"could not translate host name", {IA_RANK_UNREACHABLE, "cannot be reached", IA_UNAVAILABLE, true}},
    {"expected authentication request", {IA_RANK_UNREACHABLE, "no PostgreSQL there", IA_UNAVAILABLE, true}},
    {"received invalid", {IA_RANK_UNREACHABLE, "no PostgreSQL there", IA_UNAVAILABLE, true}},
    {"read-only", {IA_RANK_READ_ONLY, "read-only", IA_UNAVAILABLE, true}},
    {"hot standby", {IA_RANK_READ_ONLY, "read-only", IA_UNAVAILABLE, true}},
    {"standby mode", {IA_RANK_READ_ONLY, "read-only", IA_UNAVAILABLE, true}},
    {"no password supplied", {IA_RANK_NEEDS_ADMIN, "authentication failed", IA_USAGE, true}},
    {"authentication", {IA_RANK_NEEDS_ADMIN, "authentication failed", IA_USAGE, true}},
    {"certificate", {IA_RANK_NEEDS_ADMIN, "TLS failed", IA_USAGE, true}},
    {"root.crt", {IA_RANK_NEEDS_ADMIN, "TLS failed", IA_USAGE, true}},
    {"does not support SSL", {IA_RANK_NEEDS_ADMIN, "TLS failed", IA_USAGE, true}},
    {"invalid ", {IA_RANK_NEEDS_ADMIN, "bad option", IA_USAGE, true}},
    {"imeout", {IA_RANK_TIMEOUT, "timeout", IA_UNAVAILABLE, true}},
    {"", {IA_RANK_UNREACHABLE, "cannot be reached", IA_UNAVAILABLE, true}},
};

struct ia_pg_error ia_pg_error_of_state(const char *sqlstate)
{
    if (!sqlstate || !sqlstate[0])
        return (struct ia_pg_error){IA_RANK_UNREACHABLE, "connection lost", IA_UNAVAILABLE, true};
    size_t i = 0;
    while (strncmp(sqlstate, states[i].prefix, strlen(states[i].prefix)) != 0)
        i++;
    return states[i].error;
}

bool ia_pg_error_is_lock(const char *sqlstate)
{
    return sqlstate && (strcmp(sqlstate, "55P03") == 0 || strcmp(sqlstate, "40P01") == 0);
}

bool ia_pg_error_unprepared(const char *sqlstate)
{
    return sqlstate && (strcmp(sqlstate, "0A000") == 0 || strcmp(sqlstate, "26000") == 0);
}

static bool is_sqlstate(const char *p)
{
    for (int i = 0; i < 5; i++)
        if (!isdigit((unsigned char)p[i]) && !(p[i] >= 'A' && p[i] <= 'Z'))
            return false;
    return p[5] == ':' && p[6] == ' ';
}

/* Where `SEVERITY:  SQLSTATE: text` has its SQLSTATE, or NULL.  The severity may be translated: any word will do. */
static const char *find_sqlstate(const char *message)
{
    for (const char *p = strstr(message, ":  "); p; p = strstr(p + 1, ":  "))
        if (is_sqlstate(p + 3))
            return p + 3;
    return NULL;
}

/* The part of a message that says what happened: behind the SQLSTATE, else behind `failed: `. */
static const char *core_of(const char *message)
{
    const char *state = find_sqlstate(message);
    if (state)
        return state + 7;
    const char *failed = strstr(message, " failed: ");
    return failed ? failed + strlen(" failed: ") : message;
}

struct ia_pg_error ia_pg_error_of_message(const char *message)
{
    const char *state = find_sqlstate(message);
    if (state)
        return ia_pg_error_of_state(state);
    const char *core = core_of(message);
    size_t i = 0;
    while (!strstr(core, phrases[i].words))
        i++;
    return phrases[i].error;
}

void ia_pg_error_text(const char *message, const char *password, char *out, size_t size)
{
    const char *in = core_of(message);
    size_t secret = password ? strlen(password) : 0;
    size_t n = 0;
    while (*in && *in != '\n' && n + 4 < size) {
        if (secret && strncmp(in, password, secret) == 0) {
            memcpy(out + n, "***", 3);
            n += 3;
            in += secret;
            continue;
        }
        out[n++] = (char)((unsigned char)*in < 0x20 || *in == 0x7F ? ' ' : *in);
        in++;
    }
    out[n] = '\0';
}
