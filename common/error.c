// SPDX-License-Identifier: ISC
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>

enum ia_rc ia_fail(struct ia_err *err, enum ia_rc rc, const char *fmt, ...)
{
    if (!err)
        return rc;
    va_list ap;
    va_start(ap, fmt);
    err->rc = rc;
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return rc;
}

enum ia_rc ia_nomem(struct ia_err *err)
{
    return ia_fail(err, IA_NOMEM, IA_NOMEM_TEXT);
}
