// SPDX-License-Identifier: ISC
/* Errors and verdicts, shared by all folders.
 *
 * An error says that something could not be done; a verdict says what was decided.  They are never mixed: a library
 * function returns either `enum ia_rc` (which must be checked) or a verdict, and anything unexpected becomes a
 * denial. */
#pragma once

#define IA_MUST_USE          __attribute__((warn_unused_result))
#define IA_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* The kinds of failure that a caller acts on differently. */
enum ia_rc {
    IA_OK = 0,
    IA_NOMEM,
    IA_USAGE,       /* wrong arguments by the caller, or wrong settings by the administrator */
    IA_FORMAT,      /* the input does not parse, or violates a rule of its format */
    IA_CRYPTO,      /* an OpenSSL operation failed */
    IA_IO,          /* a file, a socket or the peer failed */
    IA_UNAVAILABLE, /* a retry may succeed later */
};

/* Zeroed memory denies. */
enum ia_verdict { IA_DENY = 0, IA_NO_MATCH, IA_ALLOW };

/* Owned by the caller, filled once, at the place of the failure.  `msg` never contains a secret. */
struct ia_err {
    enum ia_rc rc;
    char msg[192];
};

/* Fill *err (may be NULL) and return `rc`, so that `return ia_fail(err, IA_FORMAT, "…")` reads as one step.  A message
 * that does not fit is truncated. */
enum ia_rc ia_fail(struct ia_err *err, enum ia_rc rc, const char *fmt, ...) IA_PRINTF(3, 4);

/* The text for a failed allocation, for places that have no *err. */
#define IA_NOMEM_TEXT "out of memory"

/* Fill *err (may be NULL) for a failed allocation and return IA_NOMEM. */
enum ia_rc ia_nomem(struct ia_err *err);
