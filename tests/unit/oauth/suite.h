// SPDX-License-Identifier: ISC
/* The same main() for every suite of this folder. */
#pragma once

#include <check.h>
#include <stdlib.h>

#define ROWS(array) ((int)(sizeof(array) / sizeof((array)[0])))

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
