// SPDX-License-Identifier: ISC
#include "oauth/presented.h"

#include <string.h>

void ia_presented_init(struct ia_presented *out, const char *text, size_t len)
{
    *out = (struct ia_presented){.text = text, .len = len};
}

/* Has it two dots and, before the first, a JOSE header? */
static bool has_jose_form(const struct ia_presented *presented)
{
    size_t dots = 0;
    for (size_t i = 0; i < presented->len; i++)
        dots += presented->text[i] == '.';
    if (dots != 2)
        return false;
    const char *first = memchr(presented->text, '.', presented->len);
    return ia_jose_header_valid(presented->text, (size_t)(first - presented->text));
}

void ia_presented_parse(struct ia_presented *presented)
{
    if (presented->parsed)
        return;
    presented->parsed = true;
    presented->reason = ia_jws_open(presented->text, presented->len, &presented->jws, presented->detail);
    if (presented->reason == IA_R_NONE || has_jose_form(presented))
        presented->kind = IA_PRESENTED_TOKEN;
}

void ia_presented_clear(struct ia_presented *presented)
{
    ia_jws_clear(&presented->jws);
    *presented = (struct ia_presented){0};
}
