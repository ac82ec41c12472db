// SPDX-License-Identifier: ISC
#include "worker/rereads.h"

#include "common/clock.h"
#include "sql/rows.h"

#define REREAD_MS 600000 /* certificates expire without a notification: their problem is reported by then */

static int64_t reread_ms(const struct ia_rereads *rereads)
{
    return rereads->resync_ms < REREAD_MS ? rereads->resync_ms : REREAD_MS;
}

void ia_rereads_schedule(struct ia_rereads *rereads)
{
    int64_t now = ia_monotonic_ms();
    int64_t spread = (int64_t)((uint64_t)ia_monotonic_us() * 0x9E3779B97F4A7C15u % (uint64_t)rereads->resync_ms);
    rereads->next_resync_ms = now + rereads->resync_ms / 2 + spread / 2;
    rereads->next_reread_ms = now + reread_ms(rereads);
}

void ia_rereads_start(struct ia_rereads *rereads, const struct ia_notification_targets *targets)
{
    int64_t now = ia_monotonic_ms();
    if (now >= rereads->next_reread_ms) {
        ia_config_sync_invalidate(targets->config, IA_LOAD_ALL);
        rereads->next_reread_ms = now + reread_ms(rereads);
    }
    if (now >= rereads->next_resync_ms) {
        ia_device_sync_refresh(targets->devices);
        ia_psk_sync_refresh(targets->psks);
        rereads->next_resync_ms = now + rereads->resync_ms;
    }
}

int64_t ia_rereads_wait_ms(const struct ia_rereads *rereads)
{
    int64_t left = rereads->next_resync_ms - ia_monotonic_ms();
    return left > 0 ? left : 0;
}
