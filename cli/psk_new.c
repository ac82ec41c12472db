// SPDX-License-Identifier: ISC
/* A key of a device: made or read, sealed, and inserted. */
#include "cli/psk.h"
#include "common/str.h"
#include "psk/identity.h"
#include "psk/seal.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENERATED_LEN 32

struct new_key {
    uint8_t octets[IA_PSK_KEY_MAX];
    size_t len;
};

static bool is_device_known(const struct ia_psk_command *c)
{
    const char *const values[] = {c->device_id};
    PGresult *found = ia_registry_run(c->registry, "SELECT (iot_auth.find_device($1)).device_id", values, 1);
    PQclear(found);
    return found != NULL;
}

static bool are_names_usable(const struct ia_psk_command *c)
{
    if (ia_psk_identity_valid(c->identity, strlen(c->identity)))
        return true;
    (void)ia_call_fail(c->call, 0, "an identity has 1 to %d bytes of UTF-8 without control characters",
                       IA_PSK_IDENTITY_MAX);
    return false;
}

/* Seal the key and insert its row, in the transaction that the caller ends. */
static bool insert_key(const struct ia_psk_command *c, const struct new_key *key)
{
    char id[16], hex[2 * IA_PSK_SEALED_MAX + 1];
    uint8_t sealed[IA_PSK_SEALED_MAX];
    size_t sealed_len = 0;
    struct ia_err err = {0};
    const struct ia_psk_label label = {
        .key_id = ia_keyring_sealing_id(c->keyring), .identity = c->identity, .device_id = c->device_id};
    if (ia_psk_seal(c->keyring, &label, key->octets, key->len, sealed, &sealed_len, &err) != IA_OK)
        return ia_call_fail(c->call, 0, "%s", err.msg) != 0;
    (void)snprintf(id, sizeof id, "%d", label.key_id);
    ia_hex(sealed, sealed_len, hex);
    const char *const values[] = {c->identity, c->device_id, id, hex, c->expires_at};
    ia_autofree char *inserted = ia_registry_value(
        c->registry,
        "INSERT INTO iot_auth.device_psk (identity, device_id, key_id, sealed, expires_at) VALUES ($1, $2, "
        "$3::smallint, decode($4, 'hex'), $5::timestamptz) ON CONFLICT (identity) DO NOTHING RETURNING identity",
        values, 5);
    if (!inserted && ia_registry_status(c->registry) == IA_EXIT_DONE)
        (void)ia_call_fail(c->call, 0, "identity '%s' has a key already: give another one with --identity",
                           c->identity);
    return inserted != NULL;
}

static bool end_transaction(const struct ia_psk_command *c, bool ok)
{
    return ia_registry_do(c->registry, ok ? "COMMIT" : "ROLLBACK") && ok;
}

/* The key is printed before its row is committed: a key that nobody has seen admits nobody. */
static bool print_key(const struct ia_psk_command *c, const struct new_key *key)
{
    char hex[2 * IA_PSK_KEY_MAX + 1];
    ia_hex(key->octets, key->len, hex);
    bool printed = printf("%s:%s\n", c->identity, hex) > 0 && fflush(stdout) == 0;
    OPENSSL_cleanse(hex, sizeof hex);
    if (!printed)
        (void)ia_call_fail(c->call, 0, "the key could not be printed: it was not registered");
    return printed;
}

static bool begin_new_key(const struct ia_psk_command *c)
{
    return are_names_usable(c) && is_device_known(c) && ia_registry_do(c->registry, "BEGIN");
}

int ia_psk_generate(const struct ia_psk_command *command)
{
    struct new_key key = {.len = GENERATED_LEN};
    static char buffer[BUFSIZ]; /* of standard output: the key passes through it */
    (void)setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    bool ok = begin_new_key(command);
    if (ok && RAND_bytes(key.octets, GENERATED_LEN) != 1)
        ok = ia_call_fail(command->call, 0, "OpenSSL gives no random octets") != 0;
    if (ok)
        ok = end_transaction(command, insert_key(command, &key) && print_key(command, &key));
    OPENSSL_cleanse(&key, sizeof key);
    OPENSSL_cleanse(buffer, sizeof buffer);
    return ok ? IA_PSK_DONE : IA_PSK_FAILED;
}

static bool read_hex(const char *text, size_t len, struct new_key *key)
{
    key->len = len / 2;
    return len % 2 == 0 && key->len >= IA_PSK_KEY_MIN && key->len <= IA_PSK_KEY_MAX &&
           ia_hex_read(text, key->len, key->octets);
}

/* One line of standard input, and nothing after it. */
static bool read_key(const struct ia_psk_command *c, struct new_key *key)
{
    char text[2 * IA_PSK_KEY_MAX + 4], input[BUFSIZ];
    (void)setvbuf(stdin, input, _IOFBF, sizeof input);
    size_t len = fread(text, 1, sizeof text, stdin);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    bool ok = len < sizeof text && read_hex(text, len, key);
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(input, sizeof input);
    if (!ok)
        (void)ia_call_fail(c->call, 0, "standard input must be one line of 32 to 128 hexadecimal digits");
    return ok;
}

int ia_psk_import(const struct ia_psk_command *command)
{
    struct new_key key = {0};
    bool ok = read_key(command, &key) && begin_new_key(command);
    if (ok)
        ok = end_transaction(command, insert_key(command, &key));
    OPENSSL_cleanse(&key, sizeof key);
    return ok ? IA_PSK_DONE : IA_PSK_FAILED;
}
