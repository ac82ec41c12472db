// SPDX-License-Identifier: ISC
#include "tls/groups.h"

#include <openssl/err.h>
#include <stddef.h>

/* A client chooses the group before it has proved anything, so none of them may cost more than a usual handshake: OpenSSL's
 * defaults take ffdhe8192 too, 120 ms of the broker thread each.  The hybrids with ML-KEM come first where OpenSSL has them
 * (3.5).  Each connection is restricted by itself, because Mosquitto makes its SSL when it accepts the connection, which may
 * be before the context is prepared at its first ClientHello. */
bool ia_tls_groups_restrict(SSL *ssl)
{
    static const char *const lists[] = {"X25519MLKEM768:SecP256r1MLKEM768:X25519:P-256:P-384:P-521",
                                        "X25519:P-256:P-384:P-521"};
    static size_t first; /* that this OpenSSL knows */
    /* DHE of TLS 1.2 has no group to choose: Mosquitto lets OpenSSL take one as strong as the server's key, which costs
     * five times the handshake (RSA-4096: 30 ms).  The parameters of a dhparamfile stay the administrator's. */
    (void)SSL_set_dh_auto(ssl, 0);
    ERR_set_mark(); /* a list that OpenSSL does not know leaves an error, which SSL_get_error would report later */
    while (first < sizeof lists / sizeof lists[0] && SSL_set1_groups_list(ssl, lists[first]) != 1)
        first++;
    ERR_pop_to_mark();
    return first < sizeof lists / sizeof lists[0];
}
