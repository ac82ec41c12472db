// SPDX-License-Identifier: ISC
#include "tls/leaf.h"

#include <stdlib.h>
#include <string.h>

/* Static, because certificates outlive the plugin. */
static struct {
    int index; /* ex_data; made once a process */
    bool indexed;
} leaves;

static void leaf_free(struct ia_leaf *leaf)
{
    if (!leaf)
        return;
    free(leaf->chain);
    free(leaf);
}

static void on_leaf_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    leaf_free(ptr);
}

/* A copy (X509_dup) has nothing of it: only the very object that was verified counts. */
static int on_leaf_dup(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d, int idx, long argl, void *argp)
{
    (void)to, (void)from, (void)idx, (void)argl, (void)argp;
    *from_d = NULL;
    return 1;
}

bool ia_leaf_init(void)
{
    if (!leaves.indexed)
        leaves.index = X509_get_ex_new_index(0, NULL, NULL, on_leaf_dup, on_leaf_free);
    leaves.indexed = leaves.index >= 0;
    return leaves.indexed;
}

struct ia_leaf *ia_leaf_get(X509 *leaf)
{
    return leaves.indexed ? X509_get_ex_data(leaf, leaves.index) : NULL;
}

bool ia_leaf_fingerprint(X509 *leaf, uint8_t out[IA_FINGERPRINT_LEN])
{
    const struct ia_leaf *l = ia_leaf_get(leaf);
    if (!l || l->chain->n_links == 0)
        return ia_cert_fingerprint(leaf, out);
    memcpy(out, l->chain->links[0].fingerprint, IA_FINGERPRINT_LEN);
    return true;
}

bool ia_leaf_has_fingerprint(X509 *leaf, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    uint8_t own[IA_FINGERPRINT_LEN];
    return ia_leaf_fingerprint(leaf, own) && memcmp(own, fingerprint, sizeof own) == 0;
}

struct ia_leaf *ia_leaf_attach(X509 *leaf, const struct ia_chain *chain)
{
    struct ia_leaf *before = ia_leaf_get(leaf), *l = calloc(1, sizeof *l);
    if (l)
        l->chain = ia_chain_copy(chain);
    if (!l || !l->chain || X509_set_ex_data(leaf, leaves.index, l) != 1) {
        leaf_free(l);
        (void)X509_set_ex_data(leaf, leaves.index, NULL);
        l = NULL;
    }
    leaf_free(before);
    return l;
}
