// SPDX-License-Identifier: ISC
/* CAs whose rows another transaction has locked: registrations under such a CA pause. Each refusal in a row doubles the
 * pause, so that they take little time from the registrations under other CAs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IA_LOCKED_CAS       64
#define IA_LOCKED_PAUSE_MIN 50   /* ms: a batch of another broker has committed by then */
#define IA_LOCKED_PAUSE_MAX 800  /* ms */
#define IA_LOCKED_TRIAL_MS  1000 /* how long the result of a trial is waited for */

/* Zeroed memory: no CA is locked.  CAs share slots: the latest to be locked replaces another. */
struct ia_locked_cas {
    struct ia_locked_ca {
        int64_t ca_id, until_ms, pause_ms;
        uint64_t trial; /* the batch that is under way after the pause; 0: none */
        int64_t trial_until_ms;
    } cas[IA_LOCKED_CAS];
};

/* A registration under this CA was refused because of a lock.  Returns when the next one may be tried. */
int64_t ia_locked_cas_note(struct ia_locked_cas *locked, int64_t ca_id, int64_t now_ms);

/* May a registration under this CA be tried in that batch (numbers from 1)?  0: yes, else when to ask again.  After a pause
 * one batch alone tries, until a registration under the CA is noted or cleared: further ones would only wait for the same
 * lock. */
int64_t ia_locked_cas_try(struct ia_locked_cas *locked, int64_t ca_id, uint64_t batch, int64_t now_ms);

/* A registration under this CA was not refused because of a lock. */
void ia_locked_cas_clear(struct ia_locked_cas *locked, int64_t ca_id);
