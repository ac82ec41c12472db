// SPDX-License-Identifier: ISC
/* What the clients of a group authenticate themselves with. */
#pragma once

#include "tests/swarm/client.h"

/* Each returns NULL, or why it failed. */

/* `count` devices "<prefix><number>" below that CA, with one key.  The certificates of ca_path are sent along.
 * list_path NULL, or a file that gets a line for each: its id and the SHA-256 of its certificate in hex. */
const char *credentials_mint(struct group *g, const char *prefix, long count, const char *ca_path,
                             const char *ca_key_path, const char *list_path);

/* One device with that credential; the certificates behind the first of chain_path are sent along. */
const char *credentials_load(struct group *g, const char *id, const char *chain_path, const char *key_path);

/* One client without a certificate. */
const char *credentials_login(struct group *g, const char *id, const char *user, const char *password);

/* One client with a pre-shared key, in hexadecimal digits, whose identity is the id. */
const char *credentials_psk(struct group *g, const char *id, const char *key);

/* List the devices that have ever been admitted. */
const char *credentials_list_admitted(const struct group *g, const char *list_path);
