// SPDX-License-Identifier: ISC
#include "jitr/registration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define NEGATIVE_US     1000000  /* how long a refusal by the registry is repeated without asking */
#define UNANSWERED_US   60000000 /* after that the question was lost with its connection */
#define FINGERPRINT_LEN 32

struct registration_entry {
    uint8_t fingerprint[FINGERPRINT_LEN]; /* key */
    struct ia_registration registration;
    UT_hash_handle hh;
};

struct ia_registrations {
    struct registration_entry *by_fingerprint;
};

struct ia_registrations *ia_registrations_new(void)
{
    return calloc(1, sizeof(struct ia_registrations));
}

static void registration_remove(struct ia_registrations *all, struct registration_entry *entry)
{
    HASH_DEL(all->by_fingerprint, entry);
    free(entry);
}

void ia_registrations_free(struct ia_registrations *all)
{
    if (!all)
        return;
    struct registration_entry *entry, *next;
    HASH_ITER(hh, all->by_fingerprint, entry, next) {
        registration_remove(all, entry);
    }
    free(all);
}

size_t ia_registrations_count(const struct ia_registrations *all)
{
    return HASH_COUNT(all->by_fingerprint);
}

static struct registration_entry *registration_entry(const struct ia_registrations *all, const uint8_t *fingerprint)
{
    struct registration_entry *entry = NULL;
    HASH_FIND(hh, all->by_fingerprint, fingerprint, FINGERPRINT_LEN, entry);
    return entry;
}

const struct ia_registration *ia_registration_find(const struct ia_registrations *all, const uint8_t fingerprint[32])
{
    const struct registration_entry *entry = registration_entry(all, fingerprint);
    return entry ? &entry->registration : NULL;
}

bool ia_registration_has_room(const struct ia_registrations *all, const uint8_t fingerprint[32])
{
    return ia_registrations_count(all) < IA_REGISTRATIONS_MAX || registration_entry(all, fingerprint);
}

static struct registration_entry *registration_add(struct ia_registrations *all, const uint8_t *fingerprint)
{
    struct registration_entry *entry = registration_entry(all, fingerprint);
    if (entry || ia_registrations_count(all) >= IA_REGISTRATIONS_MAX)
        return entry;
    entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    memcpy(entry->fingerprint, fingerprint, sizeof entry->fingerprint);
    HASH_ADD(hh, all->by_fingerprint, fingerprint, FINGERPRINT_LEN, entry);
    if (entry->hh.tbl)
        return entry;
    free(entry);
    return NULL;
}

bool ia_registration_ask(struct ia_registrations *all, const uint8_t fingerprint[32], int64_t now_us)
{
    struct registration_entry *entry = registration_add(all, fingerprint);
    if (!entry)
        return false;
    entry->registration = (struct ia_registration){.reason = IA_R_DEVICE_UNKNOWN, .at_us = now_us};
    return true;
}

void ia_registration_answer(struct ia_registrations *all, const uint8_t fingerprint[32], enum ia_reason reason,
                            const char *detail, int64_t now_us)
{
    struct registration_entry *entry = registration_entry(all, fingerprint);
    if (!entry)
        return;
    struct ia_registration *r = &entry->registration;
    r->answered = true;
    r->reason = reason;
    r->at_us = now_us;
    (void)snprintf(r->detail, sizeof r->detail, "%s", detail);
}

bool ia_registration_is_refused(const struct ia_registration *r, int64_t now_us)
{
    return r && r->answered && r->reason != IA_R_NONE && r->reason != IA_R_REGISTRY_UNAVAILABLE &&
           now_us - r->at_us < NEGATIVE_US;
}

bool ia_registration_is_pending(const struct ia_registration *r)
{
    return r && !r->answered;
}

void ia_registrations_tidy(struct ia_registrations *all, int64_t now_us)
{
    struct registration_entry *entry, *next;
    HASH_ITER(hh, all->by_fingerprint, entry, next) {
        if (now_us - entry->registration.at_us >= (entry->registration.answered ? NEGATIVE_US : UNANSWERED_US))
            registration_remove(all, entry);
    }
}
