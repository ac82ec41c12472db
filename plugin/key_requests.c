// SPDX-License-Identifier: ISC
#include "plugin/key_requests.h"

#include "common/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS_EVERY_US 100000
#define ISSUER_SLOTS  64

/* By the hash of the issuer's name: two issuers that share a slot may be asked for more often. */
struct ia_key_requests {
    struct {
        uint64_t issuer;
        int64_t at_us;
    } asked[ISSUER_SLOTS];
};

struct ia_key_requests *ia_key_requests_new(void)
{
    return calloc(1, sizeof(struct ia_key_requests));
}

void ia_key_requests_free(struct ia_key_requests *requests)
{
    free(requests);
}

void ia_key_requests_ask(struct ia_core *core, const char *issuer)
{
    struct ia_key_requests *requests = core->key_requests;
    uint64_t hash = ia_hash_text(0, issuer);
    size_t slot = hash % ISSUER_SLOTS;
    int64_t now = ia_monotonic_us();
    if (requests->asked[slot].issuer == hash && now - requests->asked[slot].at_us < KEYS_EVERY_US)
        return;
    requests->asked[slot].issuer = hash;
    requests->asked[slot].at_us = now;
    struct ia_request *request = ia_request_new(IA_REQUEST_KEYS, NULL);
    if (request)
        (void)snprintf(request->issuer, sizeof request->issuer, "%s", issuer);
    (void)ia_worker_ask(core->worker, request);
}
