// SPDX-License-Identifier: ISC
#include "cli/pem_blocks.h"

#include "cli/input.h"
#include "common/str.h"

#include <string.h>

/* The end of the PEM block that `text` begins with, or NULL when none ends in it. */
static char *end_of_block(char *text)
{
    char *end = strstr(text, "-----END ");
    if (!end)
        return NULL;
    end += strcspn(end, "\n");
    return *end ? end + 1 : end;
}

enum ia_rc ia_pem_blocks_each(const char *file, ia_pem_block_fn *take, void *ctx, struct ia_err *err)
{
    ia_autofree char *text = NULL;
    enum ia_rc rc = ia_input_document(file, &text, err);
    char *at = text, *end = NULL;
    while (rc == IA_OK && (end = end_of_block(at)) != NULL) {
        char kept = *end;
        *end = '\0';
        rc = take(ctx, file, at, err);
        *end = kept;
        at = end;
    }
    if (rc == IA_OK && at == text)
        return ia_fail(err, IA_FORMAT, "%s: it is not PEM", file);
    return rc;
}
