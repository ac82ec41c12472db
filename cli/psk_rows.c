// SPDX-License-Identifier: ISC
/* All keys of the registry, in the order of their identities, a batch at a time.  Each batch is a transaction: what was
 * interrupted is started again, and rotate has less to do then. */
#include "cli/progress.h"
#include "cli/psk.h"
#include "common/str.h"
#include "psk/identity.h"
#include "psk/seal.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is done with every key. */
struct pass {
    const struct ia_psk_command *command;
    bool reseals; /* those that are not sealed under the first key; else all are opened */
    char after[IA_PSK_IDENTITY_MAX + 1];
    int64_t done, failed;
    int64_t by_id[IA_KEYRING_ID_MAX + 1];
};

enum column { COLUMN_IDENTITY, COLUMN_DEVICE, COLUMN_KEY_ID, COLUMN_SEALED, COLUMN_PROBLEM };

/* 50 rows, so that a notification can list the identities: of more, brokers read all keys again. */
static PGresult *read_batch(const struct pass *w)
{
    char sealing[16];
    (void)snprintf(sealing, sizeof sealing, "%d", ia_keyring_sealing_id(w->command->keyring));
    const char *const values[] = {w->after, w->reseals ? sealing : "-1"};
    return ia_registry_run(w->command->registry,
                           "SELECT identity, device_id, key_id, encode(sealed, 'hex'), coalesce(problem, '') FROM "
                           "iot_auth.device_psk WHERE identity > $1 AND key_id <> $2::int ORDER BY identity LIMIT 50",
                           values, 2);
}

/* 0: the text is not a sealed key; ia_psk_open refuses that length. */
static size_t read_sealed(const char *hex, uint8_t out[IA_PSK_SEALED_MAX])
{
    size_t n = strlen(hex) / 2;
    return n <= IA_PSK_SEALED_MAX && ia_hex_read(hex, n, out) ? n : 0;
}

/* The row's problem says what is wrong with its key, "" nothing; only a change is written. */
static bool write_problem(const struct pass *w, const PGresult *rows, int i, const char *problem)
{
    const char *const values[] = {PQgetvalue(rows, i, COLUMN_IDENTITY), problem};
    if (strcmp(PQgetvalue(rows, i, COLUMN_PROBLEM), problem) == 0)
        return true;
    PGresult *written = ia_registry_run(
        w->command->registry, "UPDATE iot_auth.device_psk SET problem = nullif($2, '') WHERE identity = $1", values, 2);
    PQclear(written);
    return written != NULL;
}

/* Only where it is sealed as it was when it was read. */
static bool write_sealed(const struct pass *w, const PGresult *rows, int i, const uint8_t *sealed, size_t len)
{
    char hex[2 * IA_PSK_SEALED_MAX + 1], id[16];
    (void)snprintf(id, sizeof id, "%d", ia_keyring_sealing_id(w->command->keyring));
    ia_hex(sealed, len, hex);
    const char *const values[] = {PQgetvalue(rows, i, COLUMN_IDENTITY), PQgetvalue(rows, i, COLUMN_SEALED), id, hex};
    PGresult *written = ia_registry_run(
        w->command->registry,
        "UPDATE iot_auth.device_psk SET key_id = $3::smallint, sealed = decode($4, 'hex'), problem = NULL "
        "WHERE identity = $1 AND sealed = decode($2, 'hex')",
        values, 4);
    PQclear(written);
    return written != NULL;
}

static bool note_failure(struct pass *w, const PGresult *rows, int i, const char *why)
{
    w->failed++;
    (void)ia_call_fail(w->command->call, 0, "identity '%s' of device '%s': %s", PQgetvalue(rows, i, COLUMN_IDENTITY),
                       PQgetvalue(rows, i, COLUMN_DEVICE), why);
    return write_problem(w, rows, i, why);
}

/* Open the key of row i and, where that is wanted, seal it again.  False: the registry failed. */
static bool visit_row(struct pass *w, const PGresult *rows, int i)
{
    const struct ia_keyring *keyring = w->command->keyring;
    struct ia_psk_label label = {.key_id = (int)strtol(PQgetvalue(rows, i, COLUMN_KEY_ID), NULL, 10),
                                 .identity = PQgetvalue(rows, i, COLUMN_IDENTITY),
                                 .device_id = PQgetvalue(rows, i, COLUMN_DEVICE)};
    uint8_t sealed[IA_PSK_SEALED_MAX], key[IA_PSK_KEY_MAX];
    size_t sealed_len = read_sealed(PQgetvalue(rows, i, COLUMN_SEALED), sealed), key_len = 0;
    struct ia_err err = {0};
    w->done++;
    if (label.key_id >= 0 && label.key_id <= IA_KEYRING_ID_MAX)
        w->by_id[label.key_id]++;
    if (ia_psk_open(keyring, &label, sealed, sealed_len, key, &key_len, &err) != IA_OK)
        return note_failure(w, rows, i, err.msg);
    label.key_id = ia_keyring_sealing_id(keyring);
    enum ia_rc rc = w->reseals ? ia_psk_seal(keyring, &label, key, key_len, sealed, &sealed_len, &err) : IA_OK;
    OPENSSL_cleanse(key, sizeof key);
    if (rc != IA_OK)
        return note_failure(w, rows, i, err.msg);
    return w->reseals ? write_sealed(w, rows, i, sealed, sealed_len) : write_problem(w, rows, i, "");
}

/* -1: the registry failed; else the number of rows. */
static int visit_batch(struct pass *w)
{
    struct ia_registry *registry = w->command->registry;
    PGresult *rows = ia_registry_do(registry, "BEGIN") ? read_batch(w) : NULL;
    int n = rows ? PQntuples(rows) : -1;
    bool ok = n >= 0;
    for (int i = 0; ok && i < n; i++)
        ok = visit_row(w, rows, i);
    if (ok && n > 0)
        (void)snprintf(w->after, sizeof w->after, "%s", PQgetvalue(rows, n - 1, COLUMN_IDENTITY));
    PQclear(rows);
    return ok && ia_registry_do(registry, "COMMIT") ? n : -1;
}

static bool visit_all(struct pass *w)
{
    struct ia_progress progress;
    int n = 0;
    ia_progress_begin(&progress, "keys", 0, w->command->call->quiet);
    do {
        n = visit_batch(w);
        ia_progress_show(&progress, w->done);
    } while (n > 0);
    ia_progress_end(&progress);
    return n == 0;
}

int ia_psk_rotate(const struct ia_psk_command *command)
{
    static struct pass w;
    w.command = command;
    w.reseals = true;
    if (!visit_all(&w))
        return IA_PSK_FAILED;
    printf("%lld keys sealed again under key %d, %lld failed\n", (long long)(w.done - w.failed),
           ia_keyring_sealing_id(command->keyring), (long long)w.failed);
    return w.failed ? IA_PSK_FAILED : IA_PSK_DONE;
}

int ia_psk_check(const struct ia_psk_command *command)
{
    static struct pass w;
    w.command = command;
    if (!visit_all(&w))
        return IA_PSK_FAILED;
    for (int id = 0; id <= IA_KEYRING_ID_MAX; id++)
        if (w.by_id[id])
            printf("key %d: %lld keys%s\n", id, (long long)w.by_id[id],
                   id == ia_keyring_sealing_id(command->keyring) ? " (it seals)" : "");
    printf("%lld keys open, %lld do not\n", (long long)(w.done - w.failed), (long long)w.failed);
    return w.failed ? IA_PSK_FAILED : IA_PSK_DONE;
}
