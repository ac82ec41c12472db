// SPDX-License-Identifier: ISC
/* What is said of a device certificate that was registered by hand: a problem only where no change of the registry but a
 * further CA could make it good. */
#include "x509/leaf_problem.h"

#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *label, *cas, *leaf, *problem; /* NULL: none */
} rows[] = {
    {"issued by a registered CA", "root", "leaf_of_root", NULL},
    {"issued by a registered intermediate", "inter", "leaf", NULL},
    {"its CA is INACTIVE, which may change", "-root", "leaf_of_root", NULL},
    {"expired", "root", "expired_leaf", NULL},
    {"revoked", "inter+revokes_leaf", "leaf", NULL},
    {"of no registered CA", "root2", "leaf_of_root", "no registered CA signed it"},
    {"its intermediate is not registered", "root", "leaf", "unless the device sends the intermediate"},
    {"no CA is registered", "", "leaf", "no registered CA signed it"},
    {"self-signed", "root2", "root", "self-signed"},
    {"signature of another key", "root", "forged_leaf", "did not sign it"},
    {"for servers", "root", "server_leaf", "purpose"},
};

START_TEST(problems_are_as_listed)
{
    char problem[IA_LEAF_PROBLEM_MAX] = "unset";
    struct ia_ca_set *set = pki_set(rows[_i].cas, MC_NOW);
    ia_leaf_problem(set, pki_cert(rows[_i].leaf), MC_NOW, problem);
    if (rows[_i].problem)
        ck_assert_msg(strstr(problem, rows[_i].problem), "%s: %s", rows[_i].label, problem);
    else
        ck_assert_msg(!*problem, "%s: %s", rows[_i].label, problem);
    ia_ca_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("leaf_problem");
    TCase *c = tcase_create("leaf_problem");
    tcase_add_loop_test(c, problems_are_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
