// SPDX-License-Identifier: ISC
#include "plugin/event_limits.h"

#include "common/hash.h"

#include <stdlib.h>

#define UNREGISTERED_A_SECOND 10
#define PRINCIPAL_A_SECOND    2
#define PRINCIPAL_SLOTS       4096

/* By the hash of the principal's name: two principals that share a slot share its two events. */
struct principal_slot {
    uint32_t second;
    uint8_t n;
};

struct ia_event_limits {
    int64_t second;
    size_t unregistered;
    struct principal_slot principals[PRINCIPAL_SLOTS];
};

struct ia_event_limits *ia_event_limits_new(void)
{
    return calloc(1, sizeof(struct ia_event_limits));
}

void ia_event_limits_free(struct ia_event_limits *limits)
{
    free(limits);
}

static bool admit_unregistered(struct ia_event_limits *limits, int64_t now_s)
{
    if (limits->second != now_s) {
        limits->second = now_s;
        limits->unregistered = 0;
    }
    return limits->unregistered++ < UNREGISTERED_A_SECOND;
}

static bool admit_principal(struct ia_event_limits *limits, const char *principal, int64_t now_s)
{
    struct principal_slot *slot = &limits->principals[ia_hash_text(0, principal) % PRINCIPAL_SLOTS];
    if (slot->second != (uint32_t)now_s) {
        slot->second = (uint32_t)now_s;
        slot->n = 0;
    }
    if (slot->n >= PRINCIPAL_A_SECOND)
        return false;
    slot->n++;
    return true;
}

bool ia_event_limits_admit(struct ia_core *core, const char *principal)
{
    int64_t now_s = ia_wall_s();
    bool admitted = principal && *principal ? admit_principal(core->event_limits, principal, now_s)
                                            : admit_unregistered(core->event_limits, now_s);
    if (!admitted)
        core->counters.events_dropped++;
    return admitted;
}
