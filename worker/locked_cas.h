// SPDX-License-Identifier: ISC
/* CAs whose rows another transaction has locked: registrations under such a CA pause. Each refusal in a row doubles the
 * pause, so that they take little time from the registrations under other CAs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IA_LOCKED_CAS       64
#define IA_LOCKED_PAUSE_MIN 50  /* ms: a batch of another broker has committed by then */
#define IA_LOCKED_PAUSE_MAX 800 /* ms */

/* Zeroed memory: no CA is locked.  CAs share slots: the latest to be locked replaces another. */
struct ia_locked_cas {
    struct ia_locked_ca {
        int64_t ca_id, until_ms, pause_ms;
    } cas[IA_LOCKED_CAS];
};

/* A registration under this CA was refused because of a lock.  Returns when the next one may be tried. */
int64_t ia_locked_cas_note(struct ia_locked_cas *locked, int64_t ca_id, int64_t now_ms);

/* When the next registration under this CA may be tried; 0: now. */
int64_t ia_locked_cas_until(const struct ia_locked_cas *locked, int64_t ca_id, int64_t now_ms);

/* A registration under this CA was not refused because of a lock. */
void ia_locked_cas_clear(struct ia_locked_cas *locked, int64_t ca_id);
