// SPDX-License-Identifier: ISC
#include "x509/der.h"

#define LENGTH_OCTETS_MAX 4

/* The length after a tag; SIZE_MAX: malformed. */
static size_t take_der_length(struct ia_der_span *from)
{
    if (from->len == 0)
        return SIZE_MAX;
    size_t first = *from->at++;
    from->len--;
    if (first < 0x80)
        return first;
    size_t octets = first & 0x7F, length = 0;
    if (octets == 0 || octets > LENGTH_OCTETS_MAX || octets > from->len)
        return SIZE_MAX;
    for (size_t i = 0; i < octets; i++)
        length = length << 8 | from->at[i];
    from->at += octets;
    from->len -= octets;
    return length;
}

bool ia_der_take(struct ia_der_span *from, struct ia_der_element *out)
{
    struct ia_der_span rest = *from;
    if (rest.len == 0 || (*rest.at & 0x1F) == 0x1F)
        return false;
    out->tag = *rest.at++;
    rest.len--;
    size_t length = take_der_length(&rest);
    if (length > rest.len) /* SIZE_MAX too */
        return false;
    out->content = (struct ia_der_span){rest.at, length};
    rest.at += length;
    rest.len -= length;
    out->whole = (struct ia_der_span){from->at, from->len - rest.len};
    *from = rest;
    return true;
}

bool ia_der_take_tag(struct ia_der_span *from, uint8_t tag, struct ia_der_element *out)
{
    return ia_der_peek(from) == tag && ia_der_take(from, out);
}

uint8_t ia_der_peek(const struct ia_der_span *from)
{
    return from->len > 0 ? *from->at : 0;
}
