// SPDX-License-Identifier: ISC
#include "x509/crl_set.h"

#include "common/rfc3339.h"
#include "x509/private.h"
#include "x509/validity.h"

#include <openssl/bn.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_TEXT_MAX 48 /* RFC 5280 5.2.3: at most 20 octets, 40 digits of hex */

struct crl_selection {
    struct ia_crl_candidate *lists;
    size_t n;
    int64_t now;
    const struct ia_problem_callback *problems;
};

static bool is_future(const struct ia_crl *crl, int64_t now)
{
    return ia_x509_not_yet_valid(crl->this_update, now);
}

/* Any newer list of the key supersedes a partitioned list past its nextUpdate: most often its distribution point has
 * moved. */
static bool part_has_lapsed(const struct crl_selection *s, const struct ia_crl *newer, const struct ia_crl *older)
{
    return older->partial && newer->partial && !ia_crl_same_scope(newer, older) &&
           newer->this_update > older->this_update && ia_crl_is_past_update(older, s->now) && !is_future(newer, s->now);
}

static bool list_supersedes(const struct crl_selection *s, const struct ia_crl *newer, const struct ia_crl *older)
{
    if (is_future(newer, s->now))
        return false;
    if (ia_crl_same_scope(newer, older))
        return ia_crl_compare_age(newer, older) > 0;
    if (!newer->partial && older->partial && newer->this_update > older->this_update)
        return true;
    return part_has_lapsed(s, newer, older);
}

/* A list may have been added to several same-key CAs: it counts once. */
static bool is_repetition(const struct crl_selection *s, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (ia_crl_same_text(s->lists[i].spec.crl, s->lists[index].spec.crl))
            return true;
    return false;
}

static bool list_is_superseded(const struct crl_selection *s, size_t index)
{
    for (size_t i = 0; i < s->n; i++)
        if (i != index && list_supersedes(s, s->lists[i].spec.crl, s->lists[index].spec.crl))
            return true;
    return is_repetition(s, index);
}

static void report_list(const struct crl_selection *s, const struct ia_crl_candidate *list, const char *text)
{
    ia_problem_report(s->problems, list->ca_id, text);
}

static void print_number(const ASN1_INTEGER *number, char out[NUMBER_TEXT_MAX])
{
    BIGNUM *n = ASN1_INTEGER_to_BN(number, NULL);
    char *text = n ? BN_bn2dec(n) : NULL;
    (void)snprintf(out, NUMBER_TEXT_MAX, "%.20s%s", text ? text : "?", text && strlen(text) > 20 ? "..." : "");
    OPENSSL_free(text);
    BN_free(n);
}

/* A list with an older date but a higher number: the CA has reset its number, or an old list was added late.  The date
 * decides, and the administrator should know. */
static void report_contradiction(const struct crl_selection *s, const struct ia_crl_candidate *in_force)
{
    const struct ia_crl *crl = in_force->spec.crl;
    for (size_t i = 0; crl->number && i < s->n; i++) {
        const struct ia_crl *other = s->lists[i].spec.crl;
        if (!other->number || !ia_crl_same_scope(crl, other) || other->this_update >= crl->this_update ||
            ASN1_INTEGER_cmp(other->number, crl->number) <= 0)
            continue;
        struct ia_err err;
        char date[IA_RFC3339_SIZE], number[NUMBER_TEXT_MAX], other_number[NUMBER_TEXT_MAX];
        print_number(crl->number, number);
        print_number(other->number, other_number);
        (void)ia_fail(&err, IA_FORMAT,
                      "CRL: number %s of %s is in force although an older list has number %s: the newest thisUpdate "
                      "counts; delete the list that is wrong",
                      number, ia_rfc3339_seconds(crl->this_update, date), other_number);
        report_list(s, in_force, err.msg);
        return;
    }
}

/* A part that lapsed although no list of its own distribution point or complete list has replaced it. */
static void report_lapse(const struct crl_selection *s, size_t index)
{
    const struct ia_crl *crl = s->lists[index].spec.crl;
    bool lapsed = false;
    for (size_t i = 0; i < s->n; i++) {
        const struct ia_crl *other = s->lists[i].spec.crl;
        if (i == index || !list_supersedes(s, other, crl))
            continue;
        if (!part_has_lapsed(s, other, crl))
            return;
        lapsed = true;
    }
    struct ia_err err;
    char date[IA_RFC3339_SIZE];
    (void)ia_fail(&err, IA_FORMAT,
                  "CRL: the list of one distribution point, past its nextUpdate %s, no longer counts since there is a "
                  "newer one of another; add its successor or delete it",
                  ia_rfc3339_seconds(crl->next_update, date));
    if (lapsed && !is_repetition(s, index))
        report_list(s, &s->lists[index], err.msg);
}

static void report_times(const struct crl_selection *s, const struct ia_crl_candidate *in_force)
{
    const struct ia_crl *crl = in_force->spec.crl;
    struct ia_err err;
    char date[IA_RFC3339_SIZE];
    if (ia_crl_is_past_update(crl, s->now))
        (void)ia_fail(&err, IA_FORMAT,
                      "CRL: past its nextUpdate %s; it continues to be used until a newer list is added",
                      ia_rfc3339_seconds(crl->next_update, date));
    else if (is_future(crl, s->now))
        (void)ia_fail(&err, IA_FORMAT, "CRL: its thisUpdate %s is in the future; it is used nevertheless",
                      ia_rfc3339_seconds(crl->this_update, date));
    else
        return;
    report_list(s, in_force, err.msg);
}

void ia_crl_select(struct ia_crl_candidate *lists, size_t n, int64_t now, const struct ia_problem_callback *problems)
{
    const struct crl_selection s = {.lists = lists, .n = n, .now = now, .problems = problems};
    for (size_t i = 0; i < n; i++)
        lists[i].in_force = !list_is_superseded(&s, i);
    for (size_t i = 0; i < n; i++) {
        if (!lists[i].in_force) {
            report_lapse(&s, i);
            continue;
        }
        report_contradiction(&s, &lists[i]);
        report_times(&s, &lists[i]);
    }
}
