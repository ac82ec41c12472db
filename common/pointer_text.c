// SPDX-License-Identifier: ISC
#include "common/pointer_text.h"

#include "common/str.h"

const char *ia_pointer_text_fault(const char *text, size_t len)
{
    size_t depth = 0;
    if (len == 0)
        return "is empty: it would name the whole token";
    if (len > IA_POINTER_MAX)
        return "is longer than 512 bytes";
    if (text[0] != '/')
        return "has no slash at its start (RFC 6901)";
    if (!ia_utf8_valid(text, len))
        return "is not valid UTF-8";
    for (size_t i = 0; i < len; i++) {
        depth += text[i] == '/';
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return "holds a control character";
        if (text[i] == '~' && (i + 1 == len || (text[i + 1] != '0' && text[i + 1] != '1')))
            return "holds a ~ that is neither ~0 nor ~1 (RFC 6901)";
    }
    return depth > IA_POINTER_DEPTH_MAX ? "is deeper than 16 levels" : NULL;
}
