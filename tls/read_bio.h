// SPDX-License-Identifier: ISC
/* The reads of a TLS connection, stopped before they reach its socket.  An SSL's read BIO has one callback, and more than
 * one part of the plugin has a reason to stop reads: this module owns the callback and asks each of them in a fixed order.
 * A read goes on only when all of them let it.
 *
 * What such a part keeps of a connection (its record) is attached here too, and is freed with the SSL: OpenSSL 3.0 frees
 * an SSL's ex_data before its BIOs, 3.2 and newer after them, and only this module has to know that.  Broker thread only. */
#pragma once

#include "common/error.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* Who stops reads, in the order in which they are asked: what is in front of TLS comes before what waits behind it. */
enum ia_read_stage { IA_READ_PROXY_HEADER, IA_READ_PARKED, IA_READ_STAGES };

enum ia_read_answer {
    IA_READ_FAILS = 0, /* SSL_read reports an error, which ends the connection */
    IA_READ_RETRIES,   /* SSL_read reports WANT_READ, as between two packets */
    IA_READ_GOES_ON
};

struct ia_read_stage_ops {
    enum ia_read_answer (*answer)(void *record); /* a read is about to begin; it may call ia_read_bio_release */
    void (*lost)(
        void *
            record); /* the BIO is freed while reads are stopped: the socket is not to be touched again.  May be NULL */
    void (*free)(void *record); /* the SSL is freed; after `lost`, where reads were stopped */
};

/* Make the index of ex_data, once a process.  IA_CRYPTO where OpenSSL gives none. */
IA_MUST_USE enum ia_rc ia_read_bio_open(struct ia_err *err);

/* Attach the record of a stage, which has none yet, for the rest of the SSL's life; it is owned by the SSL from then on.
 * False, and the caller still owns it: no memory.  `ops` is static. */
IA_MUST_USE bool ia_read_bio_attach(SSL *ssl, enum ia_read_stage stage, const struct ia_read_stage_ops *ops,
                                    void *record);

/* The record of a stage, borrowed; NULL: none. */
void *ia_read_bio_record(const SSL *ssl, enum ia_read_stage stage);

/* Ask the stage, which has a record, before each read.  False: the SSL has no read BIO. */
IA_MUST_USE bool ia_read_bio_stop(SSL *ssl, enum ia_read_stage stage);

/* Ask the stage no more. */
void ia_read_bio_release(SSL *ssl, enum ia_read_stage stage);
