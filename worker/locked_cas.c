// SPDX-License-Identifier: ISC
#include "worker/locked_cas.h"

#include <stddef.h>

static size_t slot_of(int64_t ca_id)
{
    return (size_t)((uint64_t)ca_id % IA_LOCKED_CAS);
}

int64_t ia_locked_cas_note(struct ia_locked_cas *locked, int64_t ca_id, int64_t now_ms)
{
    struct ia_locked_ca *ca = &locked->cas[slot_of(ca_id)];
    int64_t pause = ca->ca_id == ca_id && ca->pause_ms ? ca->pause_ms * 2 : IA_LOCKED_PAUSE_MIN;
    if (ca->ca_id == ca_id && now_ms < ca->until_ms)
        return ca->until_ms; /* another item of the same batch */
    *ca = (struct ia_locked_ca){.ca_id = ca_id, .pause_ms = pause < IA_LOCKED_PAUSE_MAX ? pause : IA_LOCKED_PAUSE_MAX};
    ca->until_ms = now_ms + ca->pause_ms;
    return ca->until_ms;
}

int64_t ia_locked_cas_try(struct ia_locked_cas *locked, int64_t ca_id, uint64_t batch, int64_t now_ms)
{
    struct ia_locked_ca *ca = &locked->cas[slot_of(ca_id)];
    if (ca->ca_id != ca_id || ca->pause_ms == 0 || ca->trial == batch)
        return 0;
    if (now_ms < ca->until_ms)
        return ca->until_ms;
    if (ca->trial && now_ms < ca->trial_until_ms)
        return now_ms + IA_LOCKED_PAUSE_MIN;
    ca->trial = batch;
    ca->trial_until_ms = now_ms + IA_LOCKED_TRIAL_MS;
    return 0;
}

void ia_locked_cas_clear(struct ia_locked_cas *locked, int64_t ca_id)
{
    struct ia_locked_ca *ca = &locked->cas[slot_of(ca_id)];
    if (ca->ca_id == ca_id)
        *ca = (struct ia_locked_ca){0};
}
