// SPDX-License-Identifier: ISC
#include "cli/util.h"

#include "cli/cli.h"
#include "common/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define READ_STEP 65536

enum ia_rc ia_cli_read_stream(FILE *in, const char *name, size_t max, char **out, size_t *len, struct ia_err *err)
{
    ia_autofree char *text = NULL;
    size_t used = 0, size = 0;
    for (;;) {
        if (size - used < 2) {
            size += READ_STEP;
            char *grown = realloc(text, size);
            if (!grown)
                return ia_fail(err, IA_NOMEM, "%s: " IA_NOMEM_TEXT, name);
            text = grown;
        }
        size_t got = fread(text + used, 1, size - used - 1, in);
        used += got;
        if (used > max)
            return ia_fail(err, IA_FORMAT, "%s: longer than %zu bytes", name, max);
        if (got == 0)
            break;
    }
    if (ferror(in))
        return ia_fail(err, IA_IO, "%s: %s", name, strerror(errno));
    text[used] = '\0';
    *out = text;
    *len = used;
    text = NULL;
    return IA_OK;
}

enum ia_rc ia_cli_read_text(const char *path, size_t max, char **out, struct ia_err *err)
{
    FILE *in = fopen(path, "rbe");
    if (!in)
        return ia_fail(err, IA_IO, "%s: %s", path, strerror(errno));
    char *text = NULL;
    size_t len = 0;
    enum ia_rc rc = ia_cli_read_stream(in, path, max, &text, &len, err);
    (void)fclose(in);
    if (rc != IA_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): IA_OK means that it was read
    if (strlen(text) != len) {
        free(text);
        return ia_fail(err, IA_FORMAT, "%s: contains a NUL byte", path);
    }
    *out = text;
    return IA_OK;
}

int ia_cli_error(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "iot-auth-check %s: ", command);
    (void)vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return IA_EXIT_USAGE;
}
