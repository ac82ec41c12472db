// SPDX-License-Identifier: ISC
#include "plugin/psk_keys.h"

#include "plugin/clients.h"
#include "plugin/log.h"
#include "plugin/revalidate.h"
#include "tls/psk.h"
#include "x509/validity.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKED_A_SECOND 64              /* unknown identities: anybody can invent them */
#define MISSING_US     (3 * 1000000LL) /* by then the worker has read the key file again */
#define MISSING_LINE   400             /* bytes of key ids in one line of the log */
#define SWEEP_SLOTS    20000           /* of the table, in one TICK */
#define SEALED_LEN     (IA_PSK_NONCE_LEN + 32 + IA_PSK_TAG_LEN)

struct ia_psk_keys {
    struct ia_psk_table *table;
    struct ia_keyring *keyring; /* NULL: no pre-shared keys */
    uint8_t epoch;              /* mark of the present resync, or of the last */
    uint8_t swept_epoch;        /* mark of the last resync that has ended: what has neither mark is swept */
    bool sweeping, complete_once;
    int64_t missing_at_us; /* when to say which key-encryption keys are missing; 0: nothing is new */
    bool missing_logged[IA_KEYRING_ID_MAX + 1];
    size_t asked; /* in the present second */
    int64_t asked_s;
    char questions[ASKED_A_SECOND][IA_PSK_IDENTITY_MAX + 1]; /* identities, for the worker in the next TICK */
    size_t n_questions;
};

struct ia_psk_keys *ia_psk_keys_new(void)
{
    struct ia_psk_keys *keys = calloc(1, sizeof *keys);
    if (keys && (keys->table = ia_psk_table_new()) != NULL)
        return keys;
    free(keys);
    return NULL;
}

void ia_psk_keys_free(struct ia_psk_keys *keys)
{
    if (!keys)
        return;
    ia_psk_table_free(keys->table);
    ia_keyring_free(keys->keyring);
    free(keys);
}

/* ---- the handshake's questions */

/* A place of its own, and not the queue: a handshake must take as long as that of a known identity. */
static void ask_for_identity(struct ia_core *core, const char *identity, size_t len)
{
    struct ia_psk_keys *keys = core->psk_keys;
    int64_t now_s = ia_wall_s();
    if (keys->asked_s != now_s) {
        keys->asked_s = now_s;
        keys->asked = 0;
    }
    if (!ia_psk_identity_valid(identity, len) || keys->n_questions == ASKED_A_SECOND || keys->asked++ >= ASKED_A_SECOND)
        return;
    char *question = keys->questions[keys->n_questions++];
    memcpy(question, identity, len);
    question[len] = '\0';
}

static void send_questions(struct ia_core *core)
{
    struct ia_psk_keys *keys = core->psk_keys;
    for (; keys->n_questions > 0; keys->n_questions--) {
        struct ia_request *request = ia_request_new(IA_REQUEST_PSK, NULL);
        if (request)
            (void)snprintf(request->identity, sizeof request->identity, "%s", keys->questions[keys->n_questions - 1]);
        (void)ia_worker_ask(core->worker, request);
    }
}

static const char *fault_of_row(const struct ia_psk_row *row, int64_t now)
{
    if (row->status != IA_PSK_ACTIVE)
        return row->status == IA_PSK_REVOKED ? "the key is REVOKED" : "the key is INACTIVE";
    return row->expires_at && ia_x509_expired(row->expires_at, now) ? "the key has expired" : NULL;
}

/* An unknown key takes as long as a known one. */
static void open_nothing(const struct ia_keyring *keyring)
{
    static const uint8_t sealed[SEALED_LEN];
    const struct ia_psk_label label = {
        .key_id = ia_keyring_sealing_id(keyring), .identity = "nobody", .device_id = "nothing"};
    uint8_t key[IA_PSK_KEY_MAX];
    size_t len = 0;
    enum ia_rc refused = ia_psk_open(keyring, &label, sealed, sizeof sealed, key, &len, NULL);
    (void)refused;
    OPENSSL_cleanse(key, sizeof key);
}

/* Also a key that counts for nothing is opened: the time that it takes must not say which it is. */
static const char *open_row(const struct ia_keyring *keyring, const struct ia_psk_row *row, uint8_t *key, size_t *len)
{
    const struct ia_psk_label label = {.key_id = row->key_id, .identity = row->identity, .device_id = row->device_id};
    const char *fault = fault_of_row(row, ia_wall_s());
    if (!ia_keyring_find(keyring, row->key_id)) {
        open_nothing(keyring);
        return fault ? fault : "the key is sealed under a key that psk_key_file does not have";
    }
    enum ia_rc rc = ia_psk_open(keyring, &label, row->sealed.at, row->sealed.len, key, len, NULL);
    if (fault)
        return fault;
    return rc == IA_OK ? NULL : "the key does not open: it was sealed for another identity or device, or is damaged";
}

const char *ia_psk_keys_find(struct ia_core *core, const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX],
                             size_t *key_len)
{
    const struct ia_psk_keys *keys = core->psk_keys;
    struct ia_psk_row row;
    if (ia_psk_table_find(keys->table, identity, len, &row))
        return open_row(keys->keyring, &row, key, key_len);
    open_nothing(keys->keyring);
    ask_for_identity(core, identity, len);
    return ia_psk_identity_valid(identity, len)
               ? "the identity is not registered"
               : "the identity is not 1 to 128 bytes of UTF-8 without control characters";
}

/* ---- CONNECT */

const char *ia_psk_keys_device(const struct ia_core *core, const char *identity, const char **why)
{
    struct ia_psk_row row;
    if (!ia_psk_table_find(core->psk_keys->table, identity, strlen(identity), &row)) {
        *why = "the identity is no longer registered";
        return NULL;
    }
    *why = fault_of_row(&row, ia_wall_s());
    return row.device_id;
}

/* ---- key-encryption keys that are missing */

static bool is_key_missing(const struct ia_psk_keys *keys, int id)
{
    return !ia_keyring_find(keys->keyring, id) && ia_psk_table_count_under(keys->table, id) > 0;
}

static void log_missing(const char *ids)
{
    ia_log(MOSQ_LOG_WARNING,
           "psk_key_file has no key %s, under which pre-shared keys are sealed: their devices are refused", ids);
}

/* Each of them once, until the file has it again. */
static void log_missing_keys(struct ia_psk_keys *keys)
{
    char ids[MISSING_LINE];
    size_t used = 0;
    for (int id = 0; id <= IA_KEYRING_ID_MAX; id++) {
        bool missing = is_key_missing(keys, id), logged = keys->missing_logged[id];
        keys->missing_logged[id] = missing;
        if (!missing || logged)
            continue;
        used += (size_t)snprintf(ids + used, sizeof ids - used, used > 0 ? ", %d" : "%d", id);
        if (used + sizeof ", 32767" <= sizeof ids)
            continue;
        log_missing(ids);
        used = 0;
    }
    if (used > 0)
        log_missing(ids);
}

/* Later: the worker reads the file again when a row names a key that it does not know. */
static void note_missing_keys(struct ia_psk_keys *keys)
{
    if (!keys->missing_at_us)
        keys->missing_at_us = ia_monotonic_us() + MISSING_US;
}

static void report_missing_keys(struct ia_psk_keys *keys)
{
    if (!keys->missing_at_us || ia_monotonic_us() < keys->missing_at_us)
        return;
    keys->missing_at_us = 0;
    log_missing_keys(keys);
}

/* ---- changed keys of live sessions */

/* The row's key cannot be compared with that of a session while its key-encryption key is missing: `iot-auth-psk rotate`
 * before SIGHUP must not end every session. */
static void check_session(struct ia_core *core, struct ia_client *client)
{
    struct ia_psk_row row;
    const char *identity = client->chain || client->token ? NULL : ia_tls_psk_taken(client->context);
    if (identity && ia_psk_table_find(core->psk_keys->table, identity, strlen(identity), &row) &&
        ia_keyring_find(core->psk_keys->keyring, row.key_id) && !ia_tls_psk_is_current(client->context))
        ia_disconnect_mark(core, client, IA_R_PSK_UNKNOWN);
}

static bool has_new_keys(const struct ia_keyring *now, const struct ia_keyring *before)
{
    for (int id = 0; id <= IA_KEYRING_ID_MAX; id++)
        if (ia_keyring_find(now, id) && !ia_keyring_find(before, id))
            return true;
    return false;
}

/* Rows that could not be compared with the live sessions can be now. */
void ia_psk_keys_adopt(struct ia_core *core, struct ia_keyring *keyring)
{
    struct ia_psk_keys *keys = core->psk_keys;
    if (has_new_keys(keyring, keys->keyring))
        ia_revalidate_each(core, check_session);
    ia_keyring_free(keys->keyring);
    keys->keyring = keyring;
    note_missing_keys(keys);
    ia_log(MOSQ_LOG_NOTICE, "psk_key_file has %zu keys; key %d seals", ia_keyring_count(keyring),
           ia_keyring_sealing_id(keyring));
}

/* ---- replies */

/* Was there a row with the same sealed key for the same device? */
static bool keeps_sealed_key(const struct ia_psk_table *table, const struct ia_psk_row *row)
{
    struct ia_psk_row old;
    return ia_psk_table_find(table, row->identity, strlen(row->identity), &old) && old.key_id == row->key_id &&
           strcmp(old.device_id, row->device_id) == 0 && old.sealed.len == row->sealed.len &&
           memcmp(old.sealed.at, row->sealed.at, old.sealed.len) == 0;
}

struct changed_key {
    struct ia_core *core;
    const char *identity;
};

static void disconnect_if_replaced(void *ctx, struct ia_client *client)
{
    const struct changed_key *changed = ctx;
    const char *identity = client->live ? ia_tls_psk_taken(client->context) : NULL;
    if (identity && strcmp(identity, changed->identity) == 0)
        check_session(changed->core, client);
}

static void put_row(struct ia_core *core, const struct ia_psk_row *row)
{
    struct ia_psk_keys *keys = core->psk_keys;
    struct changed_key changed = {.core = core, .identity = row->identity};
    bool same = keeps_sealed_key(keys->table, row);
    (void)ia_psk_table_put(keys->table, row, keys->epoch); /* without memory it is unknown */
    if (same)
        return;
    ia_clients_of_device(core->clients, row->device_id, disconnect_if_replaced, &changed);
    if (!ia_keyring_find(keys->keyring, row->key_id))
        note_missing_keys(keys);
}

void ia_psk_keys_apply(struct ia_core *core, const struct ia_psk_batch *batch)
{
    struct ia_psk_keys *keys = core->psk_keys;
    for (size_t i = 0; i < batch->n; i++)
        put_row(core, &batch->rows[i]);
    for (size_t i = 0; i < batch->n_deleted; i++)
        ia_psk_table_remove(keys->table, batch->deleted[i]);
}

/* A sweep that is under way goes on: the next epoch's rows are kept by it as well. */
void ia_psk_keys_begin(struct ia_core *core)
{
    struct ia_psk_keys *keys = core->psk_keys;
    /* The resync before this one was broken off: the sweep that still runs knows neither of their marks. */
    if (keys->sweeping && keys->epoch != keys->swept_epoch)
        keys->sweeping = false;
    keys->epoch++;
}

void ia_psk_keys_end(struct ia_core *core)
{
    struct ia_psk_keys *keys = core->psk_keys;
    keys->complete_once = true;
    keys->sweeping = true;
    keys->swept_epoch = keys->epoch;
    ia_psk_table_sweep_begin(keys->table);
}

bool ia_psk_keys_tick(struct ia_core *core)
{
    struct ia_psk_keys *keys = core->psk_keys;
    send_questions(core);
    report_missing_keys(keys);
    if (keys->sweeping)
        keys->sweeping = !ia_psk_table_sweep(keys->table, keys->swept_epoch, keys->epoch, SWEEP_SLOTS);
    return keys->sweeping;
}

bool ia_psk_keys_are_complete(const struct ia_core *core)
{
    return !core->psk_keys->keyring || core->psk_keys->complete_once;
}

bool ia_psk_keys_are_in_use(const struct ia_core *core)
{
    return core->psk_keys->keyring != NULL;
}

size_t ia_psk_keys_count(const struct ia_core *core)
{
    return ia_psk_table_count(core->psk_keys->table);
}

/* ---- life */

void ia_psk_keys_reload(struct ia_core *core)
{
    if (core->psk_keys->keyring)
        (void)ia_worker_ask(core->worker, ia_request_new(IA_REQUEST_KEY_FILE, NULL));
}

enum ia_rc ia_psk_keys_open(struct ia_core *core, struct ia_err *err)
{
    struct ia_err why = {0};
    enum ia_rc rc = ia_keyring_read(core->options.worker.psk_key_file, &core->psk_keys->keyring, &why);
    return rc == IA_OK ? rc : ia_fail(err, rc, "option psk_key_file: %s", why.msg);
}
