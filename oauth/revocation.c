// SPDX-License-Identifier: ISC
#include "oauth/revocation.h"

#include "common/ref.h"
#include "oauth/claim_mark.h"
#include "oauth/token.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A table with open addressing, at most half full.  Equal marks are neighbours in the order of probing: the database
 * holds one row for each issuer, claim and value, so there are only as many as came by another way. */
struct revoked_mark {
    uint64_t mark;
    int64_t id; /* 0: the slot is free */
    int64_t issued_before;
    int64_t until;
};

struct ia_revocation_set {
    struct ia_ref refs;
    size_t n, mask;
    struct revoked_mark slots[];
};

/* The mark of an issuer whose rows cannot be read, beside the marks of claims. */
static bool row_mark(const struct ia_revocation *row, uint64_t *out)
{
    uint64_t issuer, claim = 0;
    if (!ia_issuer_mark(row->issuer, &issuer))
        return false;
    if (!row->unreadable && !ia_claim_mark(row->claim, strlen(row->claim), row->value, strlen(row->value), &claim))
        return false;
    *out = issuer ^ claim;
    return true;
}

static void insert_mark(struct ia_revocation_set *set, const struct ia_revocation *row, uint64_t mark)
{
    size_t i = mark & set->mask;
    while (set->slots[i].id)
        i = (i + 1) & set->mask;
    set->slots[i] = (struct revoked_mark){.mark = mark,
                                          .id = row->id ? row->id : -1,
                                          .issued_before = row->unreadable ? INT64_MAX : row->issued_before,
                                          .until = row->unreadable || row->until == 0 ? INT64_MAX : row->until};
    set->n++;
}

enum ia_rc ia_revocations_build(const struct ia_revocation *rows, size_t n, struct ia_revocation_set **out,
                                struct ia_err *err)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    struct ia_revocation_set *set = calloc(1, sizeof *set + size * sizeof set->slots[0]);
    if (!set)
        return ia_nomem(err);
    ia_ref_init(&set->refs);
    set->mask = size - 1;
    for (size_t i = 0; i < n; i++) {
        struct ia_revocation row = rows[i];
        uint64_t mark;
        /* A claim or value that no token can have a mark of closes the issuer, as what could not be read does. */
        row.unreadable |= !row_mark(&row, &mark);
        if (!row_mark(&row, &mark)) {
            ia_revocations_free(set);
            return ia_fail(err, IA_CRYPTO, "no random bytes");
        }
        insert_mark(set, &row, mark);
    }
    *out = set;
    return IA_OK;
}

struct ia_revocation_set *ia_revocations_ref(struct ia_revocation_set *set)
{
    ia_ref_take(&set->refs);
    return set;
}

void ia_revocations_free(struct ia_revocation_set *set)
{
    if (set && ia_ref_drop(&set->refs))
        free(set);
}

/* The id of a row that refuses a token with that mark, issued at `iat`; 0: none. */
static int64_t find_row(const struct ia_revocation_set *set, uint64_t mark, int64_t iat, int64_t now)
{
    for (size_t i = mark & set->mask; set->slots[i].id; i = (i + 1) & set->mask) {
        const struct revoked_mark *slot = &set->slots[i];
        if (slot->mark == mark && iat <= slot->issued_before && now < slot->until)
            return slot->id;
    }
    return 0;
}

enum ia_reason ia_revocations_check(const struct ia_revocation_set *set, const struct ia_token *token, int64_t now,
                                    char detail[IA_DETAIL_MAX])
{
    uint64_t issuer;
    if (!set || set->n == 0)
        return IA_R_NONE;
    if (!ia_issuer_mark(token->issuer, &issuer))
        return ia_refusal_set(detail, IA_R_INTERNAL, "no random bytes");
    int64_t id = find_row(set, issuer, token->iat, now);
    for (size_t i = 0; i < token->n_marks && id == 0; i++)
        id = find_row(set, issuer ^ token->marks[i], token->iat, now);
    return id == 0 ? IA_R_NONE : ia_refusal_set(detail, IA_R_TOKEN_REVOKED, "token_revocation %" PRId64, id);
}
