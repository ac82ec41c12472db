// SPDX-License-Identifier: ISC
#include "cli/issuer_keys.h"

#include "common/clock.h"

#include <poll.h>
#include <string.h>

#define FETCH_MS (3 * IA_FETCH_TIMEOUT_MS) /* discovery in two places, then the keys */

static struct ia_refresh_time time_now(void)
{
    return (struct ia_refresh_time){ia_monotonic_ms(), ia_wall_s()};
}

static void accept_result(void *ctx, const struct ia_fetch_result *result)
{
    (void)ia_refresh_accept(ctx, result, time_now());
}

static enum ia_rc configure_source(struct ia_refresh *refresh, const struct ia_rows *rows, const char *name,
                                   struct ia_err *err)
{
    for (size_t i = 0; i < rows->n_issuers; i++) {
        const struct ia_issuer_row *row = &rows->issuers[i];
        if (row->jwks || strcmp(row->name, name) != 0)
            continue;
        const struct ia_refresh_source source = {.name = row->name, .issuer = row->issuer, .jwks_url = row->jwks_url};
        return ia_refresh_configure(refresh, &source, 1, time_now(), err);
    }
    return IA_OK;
}

/* Until all transfers have ended, or the time is over. */
static void run_transfers(struct ia_refresh *refresh, struct ia_fetcher *fetcher)
{
    int64_t end = ia_monotonic_ms() + FETCH_MS;
    (void)ia_refresh_run(refresh, fetcher, ia_monotonic_ms());
    while (ia_fetcher_busy(fetcher) > 0 && ia_monotonic_ms() < end) {
        struct pollfd ready = {.fd = ia_fetcher_fd(fetcher), .events = POLLIN};
        (void)poll(&ready, 1, 100);
        ia_fetcher_run(fetcher);
    }
}

enum ia_rc ia_issuer_keys_fetch(const struct ia_rows *rows, const char *name, const char *ca_file,
                                struct ia_refresh **out, struct ia_err *err)
{
    const struct ia_fetch_options options = {.ca_file = ca_file};
    struct ia_refresh *refresh = ia_refresh_new(&(struct ia_refresh_options){0});
    struct ia_fetcher *fetcher = NULL;
    if (!refresh)
        return ia_nomem(err);
    enum ia_rc rc = configure_source(refresh, rows, name, err);
    if (rc == IA_OK)
        rc = ia_fetcher_new(&options, accept_result, refresh, &fetcher, err);
    if (rc == IA_OK)
        run_transfers(refresh, fetcher);
    ia_fetcher_free(fetcher);
    if (rc == IA_OK)
        *out = refresh;
    else
        ia_refresh_free(refresh);
    return rc;
}
