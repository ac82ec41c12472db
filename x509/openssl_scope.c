// SPDX-License-Identifier: ISC
#include "x509/private.h"

#include <errno.h>
#include <openssl/err.h>

static bool allocation_failed_last(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

void ia_openssl_enter(struct ia_openssl_scope *scope)
{
    scope->saved_errno = errno;
    scope->failed_before = allocation_failed_last();
    ERR_set_mark();
    errno = 0;
}

/* Not every call of OpenSSL 3.0 reports a failed allocation in its queue, but each allocation goes through malloc,
 * which sets errno; and errno alone might have been overwritten since. */
enum ia_rc ia_openssl_leave(const struct ia_openssl_scope *scope)
{
    bool failed = errno == ENOMEM || (!scope->failed_before && allocation_failed_last());
    ERR_pop_to_mark();
    errno = failed ? ENOMEM : scope->saved_errno; /* an outer scope has failed as well */
    return failed ? IA_NOMEM : IA_OK;
}
