// SPDX-License-Identifier: ISC
/* The end of each suite: run what `cases` adds. */
#pragma once

#include <check.h>
#include <stdlib.h>

static inline int run_suite(const char *name, void (*cases)(TCase *c))
{
    Suite *s = suite_create(name);
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, 60);
    cases(c);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
