// SPDX-License-Identifier: ISC
/* How a pre-shared key lies in the registry: sealed with AES-256-GCM (NIST SP 800-38D) under a key-encryption key, so
 * that a reader of the database, of a dump or of a backup learns no key.
 *
 *   sealed = nonce (12 bytes) ‖ ciphertext (as long as the key) ‖ tag (16 bytes)
 *
 * The additional data are the text "iot-auth psk 1", the key id (2 bytes, most significant first), and identity and
 * device id, each after its length (2 bytes, most significant first): a row that was moved to another identity or device
 * does not open.  The nonce is random: one key-encryption key seals at most 2^32 keys (SP 800-38D section 8.3), which is
 * more than a registry holds.  Any thread. */
#pragma once

#include "common/error.h"
#include "psk/keyring.h"

#include <stddef.h>
#include <stdint.h>

/* The length of a pre-shared key in bytes.  16 are 128 bits; more than 64 strengthen nothing. */
#define IA_PSK_KEY_MIN 16
#define IA_PSK_KEY_MAX 64

#define IA_PSK_NONCE_LEN  12
#define IA_PSK_TAG_LEN    16
#define IA_PSK_SEALED_MAX (IA_PSK_NONCE_LEN + IA_PSK_KEY_MAX + IA_PSK_TAG_LEN)

/* Whose key it is, and under which key-encryption key it is sealed. */
struct ia_psk_label {
    int key_id;
    const char *identity;
    const char *device_id;
};

/* Seal key[0..key_len) under the keyring's key `label->key_id`.  IA_USAGE: a length that is not allowed, or an id that
 * the keyring does not have.  *sealed_len is key_len + 28. */
IA_MUST_USE enum ia_rc ia_psk_seal(const struct ia_keyring *keyring, const struct ia_psk_label *label,
                                   const uint8_t *key, size_t key_len, uint8_t sealed[IA_PSK_SEALED_MAX],
                                   size_t *sealed_len, struct ia_err *err);

/* Open a sealed key.  The caller overwrites key[] after use (OPENSSL_cleanse); on failure nothing of the key is in it.
 * IA_USAGE: the keyring does not have the key id; IA_FORMAT: it does not open (other key, identity or device, damaged, or
 * of a length that no sealed key has). */
IA_MUST_USE enum ia_rc ia_psk_open(const struct ia_keyring *keyring, const struct ia_psk_label *label,
                                   const uint8_t *sealed, size_t sealed_len, uint8_t key[IA_PSK_KEY_MAX],
                                   size_t *key_len, struct ia_err *err);

/* Opens many keys, for less than half of the time: it keeps OpenSSL's state of the key-encryption key that was used last.  One thread at
 * a time.  Borrows the keyring; NULL: out of memory. */
struct ia_psk_opener;
struct ia_psk_opener *ia_psk_opener_new(const struct ia_keyring *keyring);
void ia_psk_opener_free(struct ia_psk_opener *opener);

/* As ia_psk_open. */
IA_MUST_USE enum ia_rc ia_psk_opener_open(struct ia_psk_opener *opener, const struct ia_psk_label *label,
                                          const uint8_t *sealed, size_t sealed_len, uint8_t key[IA_PSK_KEY_MAX],
                                          size_t *key_len, struct ia_err *err);
