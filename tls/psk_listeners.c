// SPDX-License-Identifier: ISC
#include "tls/psk_listeners.h"

#include "tls/psk_probe.h"

#include <stdio.h>

#define LISTENERS_MAX                                                                                                  \
    64 /* of more, those beyond are not examined: they admit nobody by a key either, but nothing says so */

struct listener {
    SSL_CTX *ctx;
    bool examined, mixed;
};

/* Static, because the contexts outlive the plugin. */
static struct {
    struct listener all[LISTENERS_MAX];
    size_t n;
    bool any_new;
} listeners;

void ia_psk_listeners_add(SSL_CTX *ctx)
{
    if (listeners.n == LISTENERS_MAX)
        return;
    listeners.all[listeners.n++] = (struct listener){.ctx = ctx};
    listeners.any_new = true;
}

static struct listener *find_listener(const SSL_CTX *ctx)
{
    for (size_t i = 0; i < listeners.n; i++)
        if (listeners.all[i].ctx == ctx)
            return &listeners.all[i];
    return NULL;
}

void ia_psk_listeners_remove(const SSL_CTX *ctx)
{
    struct listener *l = find_listener(ctx);
    if (l)
        *l = listeners.all[--listeners.n];
}

static void examine_mixed(const struct ia_psk_suites *rules, struct listener *l)
{
    char hint[IA_PSK_HINT_SIZE], text[IA_PSK_HINT_SIZE + 256];
    l->mixed = ia_psk_probe(l->ctx, hint);
    if (!l->mixed)
        return;
    (void)snprintf(
        text, sizeof text,
        "the listener with psk_hint '%s' also has a certificate: it admits no device by pre-shared key; give "
        "pre-shared keys a separate listener without certfile",
        hint);
    rules->warn(rules->warn_ctx, text);
}

void ia_psk_listeners_examine(struct ia_psk_suites *rules, bool restrict_them)
{
    if (!listeners.any_new)
        return;
    listeners.any_new = false;
    for (size_t i = 0; i < listeners.n; i++) {
        struct listener *l = &listeners.all[i];
        if (l->examined)
            continue;
        l->examined = true;
        if (SSL_CTX_get0_certificate(l->ctx))
            examine_mixed(rules, l);
        else if (restrict_them)
            (void)ia_psk_suites_restrict_listener(rules, l->ctx);
    }
}

bool ia_psk_listener_is_mixed(const SSL_CTX *ctx)
{
    const struct listener *l = find_listener(ctx);
    return l && l->mixed;
}
