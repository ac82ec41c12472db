// SPDX-License-Identifier: ISC
#include "oauth/claim_mark.h"

#include "common/pointer_text.h"
#include "common/siphash.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

/* Chosen once, then only read: a token that is verified now and a list that is built later must agree. */
static struct ia_siphash_key mark_key;
static bool mark_key_chosen;
static pthread_once_t mark_key_once = PTHREAD_ONCE_INIT;

static void choose_mark_key(void)
{
    mark_key_chosen = RAND_bytes((unsigned char *)&mark_key, sizeof mark_key) == 1;
}

bool ia_claim_mark(const char *pointer, size_t pointer_len, const char *value, size_t value_len, uint64_t *out)
{
    char text[IA_POINTER_MAX + 1 + IA_MARK_VALUE_MAX];
    (void)pthread_once(&mark_key_once, choose_mark_key);
    if (!mark_key_chosen || pointer_len > IA_POINTER_MAX || value_len > IA_MARK_VALUE_MAX)
        return false;
    memcpy(text, pointer, pointer_len);
    text[pointer_len] = '\0'; /* stands in no pointer */
    memcpy(text + pointer_len + 1, value, value_len);
    *out = ia_siphash(&mark_key, text, pointer_len + 1 + value_len);
    return true;
}

bool ia_issuer_mark(const char *name, uint64_t *out)
{
    return ia_claim_mark("", 0, name, strlen(name), out);
}
