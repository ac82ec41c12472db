// SPDX-License-Identifier: ISC
/* The part of just-in-time registration that needs no database: which unregistered devices have been asked for, and what
 * the registry answered within the last second.  Pure: `now_us` is an argument.  One thread. */
#pragma once

#include "common/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- questions and answers, by the SHA-256 of the certificate */

#define IA_REGISTRATIONS_MAX   20000
#define IA_REGISTRATION_DETAIL 96

/* One question to the registry, from the moment it is asked until a second after its answer. */
struct ia_registration {
    bool answered;
    enum ia_reason reason; /* of the answer, while there is no record */
    char detail[IA_REGISTRATION_DETAIL];
    int64_t at_us; /* when it was asked, or answered */
};

struct ia_registrations;

struct ia_registrations *ia_registrations_new(void); /* NULL when out of memory */
void ia_registrations_free(struct ia_registrations *all);

/* The question about that certificate, or NULL: borrowed until the next call that changes the table. */
const struct ia_registration *ia_registration_find(const struct ia_registrations *all, const uint8_t fingerprint[32]);

/* Is there room for a question about that certificate?  To be asked before the request is sent. */
bool ia_registration_has_room(const struct ia_registrations *all, const uint8_t fingerprint[32]);

/* The question was sent.  False when out of memory: its answer will not be recognised. */
bool ia_registration_ask(struct ia_registrations *all, const uint8_t fingerprint[32], int64_t now_us);

/* The answer to that question. */
void ia_registration_answer(struct ia_registrations *all, const uint8_t fingerprint[32], enum ia_reason reason,
                            const char *detail, int64_t now_us);

/* Did the registry refuse this registration less than a second ago?  It is not asked again before that. */
bool ia_registration_is_refused(const struct ia_registration *registration, int64_t now_us);

/* Is the registration under way? */
bool ia_registration_is_pending(const struct ia_registration *registration);

/* Forget answers older than a second, and questions that were lost with their connection. */
void ia_registrations_tidy(struct ia_registrations *all, int64_t now_us);

/* ---- for the tests */

size_t ia_registrations_count(const struct ia_registrations *all);
