// SPDX-License-Identifier: ISC
#include "worker/psk_problems.h"

#include "psk/seal.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOGGED_MAX 10 /* rows in the log; the column has them all */

struct ia_psk_problems {
    struct ia_outbox *outbox;
    const struct ia_sink *sink;
    struct ia_keyring *keyring;   /* owned; NULL: none */
    struct ia_psk_opener *opener; /* of its keys; NULL: no row is checked */
    unsigned logged;
};

struct ia_psk_problems *ia_psk_problems_new(struct ia_outbox *outbox, const struct ia_sink *sink)
{
    struct ia_psk_problems *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->outbox = outbox;
    p->sink = sink;
    return p;
}

void ia_psk_problems_free(struct ia_psk_problems *problems)
{
    if (problems) {
        ia_psk_opener_free(problems->opener);
        ia_keyring_free(problems->keyring);
    }
    free(problems);
}

bool ia_psk_problems_use(struct ia_psk_problems *problems, const struct ia_keyring *keyring)
{
    bool other = problems->keyring && !ia_keyring_same(problems->keyring, keyring);
    ia_psk_opener_free(problems->opener);
    ia_keyring_free(problems->keyring);
    problems->keyring = ia_keyring_copy(keyring);
    problems->opener = problems->keyring ? ia_psk_opener_new(problems->keyring) : NULL;
    return other;
}

void ia_psk_problems_begin(struct ia_psk_problems *problems)
{
    problems->logged = 0;
}

/* Why the row does not open, in why->msg.  True: it opens. */
static bool opens_row(struct ia_psk_opener *opener, const struct ia_psk_row *row, struct ia_err *why)
{
    const struct ia_psk_label label = {.key_id = row->key_id, .identity = row->identity, .device_id = row->device_id};
    uint8_t key[IA_PSK_KEY_MAX];
    size_t len = 0;
    enum ia_rc rc = ia_psk_opener_open(opener, &label, row->sealed.at, row->sealed.len, key, &len, why);
    OPENSSL_cleanse(key, sizeof key);
    return rc == IA_OK;
}

/* Missing key-encryption keys are logged by their ids (plugin/psk_keys.c), not by the rows under them. */
static void log_row(struct ia_psk_problems *problems, const struct ia_psk_row *row, const struct ia_err *why)
{
    char line[IA_PSK_IDENTITY_MAX + sizeof why->msg + 128];
    if (why->rc == IA_USAGE || problems->logged > LOGGED_MAX)
        return;
    if (problems->logged++ < LOGGED_MAX)
        (void)snprintf(line, sizeof line, "pre-shared key of identity '%s': %s (see iot_auth.device_psk.problem)",
                       row->identity, why->msg);
    else
        (void)snprintf(line, sizeof line, "further pre-shared keys do not open: see iot_auth.device_psk.problem");
    ia_sink_log(problems->sink, IA_LOG_WARNING, line);
}

void ia_psk_problems_check(struct ia_psk_problems *problems, const struct ia_psk_row *row)
{
    struct ia_err why = {0};
    if (!problems->opener)
        return;
    const char *problem = opens_row(problems->opener, row, &why) ? NULL : why.msg;
    if (why.rc == IA_NOMEM || why.rc == IA_CRYPTO)
        return; /* nothing of the row */
    bool same = problem && row->problem ? strcmp(problem, row->problem) == 0 : !problem && !row->problem;
    if (same)
        return;
    ia_outbox_psk(problems->outbox, row, problem);
    if (problem)
        log_row(problems, row, &why);
}
