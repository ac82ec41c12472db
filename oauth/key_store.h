// SPDX-License-Identifier: ISC
/* Issuers' last good key sets on disk, so that a restart while a provider is down does not lock its apps out.  One file
 * an issuer, with the time of its fetch and where it came from; replaced atomically, mode 0600.  Whoever can write these
 * files can sign tokens: a file or directory that others may write to is not used.  Worker thread: it does file I/O. */
#pragma once

#include "common/error.h"

#include <stdint.h>

/* Where an issuer's keys come from. */
struct ia_refresh_source {
    const char *name; /* of the issuer's row */
    const char *issuer;
    const char *jwks_url; /* NULL: discovery from `issuer` */
};

struct ia_key_store;

/* The store in the existing directory `dir`.  IA_USAGE when it is not a directory, or others than its owner (the
 * process's user, or root) can write to it.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_key_store_open(const char *dir, struct ia_key_store **out, struct ia_err *err);
void ia_key_store_free(struct ia_key_store *store);

/* The set stored for `source`, as it was fetched: *jwks is the caller's (free), *fetched_s its time (seconds since
 * 1970), never after `now_s`.  IA_UNAVAILABLE when there is none from that source, IA_FORMAT or IA_IO when what there is
 * cannot be used.  The text has still to pass every check that a fetched set gets. */
IA_MUST_USE enum ia_rc ia_key_store_load(const struct ia_key_store *store, const struct ia_refresh_source *source,
                                         int64_t now_s, char **jwks, int64_t *fetched_s, struct ia_err *err);

IA_MUST_USE enum ia_rc ia_key_store_save(const struct ia_key_store *store, const struct ia_refresh_source *source,
                                         const char *jwks, int64_t now_s, struct ia_err *err);
void ia_key_store_remove(const struct ia_key_store *store, const char *name);
