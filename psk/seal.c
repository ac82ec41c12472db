// SPDX-License-Identifier: ISC
#include "psk/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_TEXT     "iot-auth psk 1"
#define LABEL_NAME_MAX 512 /* bytes of an identity or a device id: more than the registry takes */

/* The additional data. */
struct label_octets {
    size_t len;
    uint8_t octets[sizeof LABEL_TEXT + 2 + 2 * (2 + LABEL_NAME_MAX)];
};

static void add_octets(struct label_octets *data, const void *octets, size_t len)
{
    memcpy(data->octets + data->len, octets, len);
    data->len += len;
}

static void add_number(struct label_octets *data, size_t number)
{
    const uint8_t octets[2] = {(uint8_t)(number >> 8), (uint8_t)number};
    add_octets(data, octets, sizeof octets);
}

static bool add_name(struct label_octets *data, const char *name)
{
    size_t len = strnlen(name, LABEL_NAME_MAX + 1);
    if (len > LABEL_NAME_MAX)
        return false;
    add_number(data, len);
    add_octets(data, name, len);
    return true;
}

static bool encode_label(const struct ia_psk_label *label, struct label_octets *data)
{
    data->len = 0;
    add_octets(data, LABEL_TEXT, sizeof LABEL_TEXT - 1);
    add_number(data, (size_t)label->key_id);
    return add_name(data, label->identity) && add_name(data, label->device_id);
}

static bool encrypt_key(EVP_CIPHER_CTX *ctx, const uint8_t *kek, const struct label_octets *data, const uint8_t *key,
                        size_t key_len, uint8_t *sealed)
{
    uint8_t *text = sealed + IA_PSK_NONCE_LEN;
    int n;
    return RAND_bytes(sealed, IA_PSK_NONCE_LEN) == 1 &&
           EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), kek, sealed, NULL) == 1 &&
           EVP_EncryptUpdate(ctx, NULL, &n, data->octets, (int)data->len) == 1 &&
           EVP_EncryptUpdate(ctx, text, &n, key, (int)key_len) == 1 && n == (int)key_len &&
           EVP_EncryptFinal_ex(ctx, text + key_len, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, IA_PSK_TAG_LEN, text + key_len) == 1;
}

enum ia_rc ia_psk_seal(const struct ia_keyring *keyring, const struct ia_psk_label *label, const uint8_t *key,
                       size_t key_len, uint8_t sealed[IA_PSK_SEALED_MAX], size_t *sealed_len, struct ia_err *err)
{
    struct label_octets data;
    const uint8_t *kek = ia_keyring_find(keyring, label->key_id);
    if (!kek)
        return ia_fail(err, IA_USAGE, "the key file has no key %d", label->key_id);
    if (key_len < IA_PSK_KEY_MIN || key_len > IA_PSK_KEY_MAX)
        return ia_fail(err, IA_USAGE, "a pre-shared key has %d to %d bytes", IA_PSK_KEY_MIN, IA_PSK_KEY_MAX);
    if (!encode_label(label, &data))
        return ia_fail(err, IA_USAGE, "the identity or the device id is too long");
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && encrypt_key(ctx, kek, &data, key, key_len, sealed);
    EVP_CIPHER_CTX_free(ctx);
    if (!ok)
        return ia_fail(err, IA_CRYPTO, "OpenSSL could not seal the key");
    *sealed_len = IA_PSK_NONCE_LEN + key_len + IA_PSK_TAG_LEN;
    return IA_OK;
}

struct ia_psk_opener {
    const struct ia_keyring *keyring;
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *ctx;
    int key_id; /* whose state is in ctx; -1: none's */
};

/* False also where memory is exhausted: then nothing is open. */
static bool begin_opener(struct ia_psk_opener *opener, const struct ia_keyring *keyring)
{
    *opener = (struct ia_psk_opener){.keyring = keyring, .key_id = -1};
    opener->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    opener->ctx = EVP_CIPHER_CTX_new();
    return opener->cipher && opener->ctx;
}

static void end_opener(struct ia_psk_opener *opener)
{
    EVP_CIPHER_CTX_free(opener->ctx); /* overwrites what it knows */
    EVP_CIPHER_free(opener->cipher);
}

struct ia_psk_opener *ia_psk_opener_new(const struct ia_keyring *keyring)
{
    struct ia_psk_opener *opener = malloc(sizeof *opener);
    if (!opener || begin_opener(opener, keyring))
        return opener;
    ia_psk_opener_free(opener);
    return NULL;
}

void ia_psk_opener_free(struct ia_psk_opener *opener)
{
    if (opener)
        end_opener(opener);
    free(opener);
}

/* Use that key from now on, and this nonce. */
static bool use_key(struct ia_psk_opener *opener, int key_id, const uint8_t *kek, const uint8_t *nonce)
{
    bool same = opener->key_id == key_id;
    opener->key_id = -1;
    if (EVP_DecryptInit_ex2(opener->ctx, same ? NULL : opener->cipher, same ? NULL : kek, nonce, NULL) != 1)
        return false;
    opener->key_id = key_id;
    return true;
}

static bool decrypt_key(EVP_CIPHER_CTX *ctx, const struct label_octets *data, const uint8_t *sealed, size_t key_len,
                        uint8_t *key)
{
    const uint8_t *text = sealed + IA_PSK_NONCE_LEN;
    uint8_t tag[IA_PSK_TAG_LEN];
    int n;
    memcpy(tag, text + key_len, sizeof tag); /* OpenSSL takes it as not const */
    return EVP_DecryptUpdate(ctx, NULL, &n, data->octets, (int)data->len) == 1 &&
           EVP_DecryptUpdate(ctx, key, &n, text, (int)key_len) == 1 && n == (int)key_len &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1 &&
           EVP_DecryptFinal_ex(ctx, key + key_len, &n) == 1; /* writes nothing: GCM has no padding */
}

enum ia_rc ia_psk_opener_open(struct ia_psk_opener *opener, const struct ia_psk_label *label, const uint8_t *sealed,
                              size_t sealed_len, uint8_t key[IA_PSK_KEY_MAX], size_t *key_len, struct ia_err *err)
{
    struct label_octets data;
    const uint8_t *kek = ia_keyring_find(opener->keyring, label->key_id);
    if (!kek)
        return ia_fail(err, IA_USAGE, "the key file has no key %d", label->key_id);
    const size_t around = IA_PSK_NONCE_LEN + IA_PSK_TAG_LEN;
    if (sealed_len < around + IA_PSK_KEY_MIN || sealed_len > IA_PSK_SEALED_MAX || !encode_label(label, &data))
        return ia_fail(err, IA_FORMAT, "this is no sealed key");
    if (!use_key(opener, label->key_id, kek, sealed) ||
        !decrypt_key(opener->ctx, &data, sealed, sealed_len - around, key)) {
        OPENSSL_cleanse(key, IA_PSK_KEY_MAX);
        return ia_fail(err, IA_FORMAT, "it does not open under key %d for this identity and device", label->key_id);
    }
    *key_len = sealed_len - around;
    return IA_OK;
}

enum ia_rc ia_psk_open(const struct ia_keyring *keyring, const struct ia_psk_label *label, const uint8_t *sealed,
                       size_t sealed_len, uint8_t key[IA_PSK_KEY_MAX], size_t *key_len, struct ia_err *err)
{
    struct ia_psk_opener opener;
    enum ia_rc rc = begin_opener(&opener, keyring)
                        ? ia_psk_opener_open(&opener, label, sealed, sealed_len, key, key_len, err)
                        : ia_nomem(err);
    end_opener(&opener);
    return rc;
}
