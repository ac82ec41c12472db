// SPDX-License-Identifier: ISC
#include "oauth/bearer.h"

#include <string.h>
#include <strings.h>

#define SEPARATOR '\x01'

struct span {
    const char *at;
    size_t len;
};

/* Split *rest at the first `end` into *part and *rest; false when there is no `end`. */
static bool take_until(struct span *rest, char end, struct span *part)
{
    const char *at = memchr(rest->at, end, rest->len);
    if (!at)
        return false;
    *part = (struct span){rest->at, (size_t)(at - rest->at)};
    rest->at = at + 1;
    rest->len -= part->len + 1;
    return true;
}

static bool is_token_text(struct span t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = t.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
              c == '.'))
            return false;
    }
    return t.len > 0;
}

/* The value of `auth=Bearer TOKEN`: a scheme of any case, spaces, the token. */
static bool take_bearer_token(struct span value, struct span *token)
{
    if (value.len < 7 || strncasecmp(value.at, "Bearer ", 7) != 0)
        return false;
    *token = (struct span){value.at + 7, value.len - 7};
    while (token->len && token->at[0] == ' ') {
        token->at++;
        token->len--;
    }
    return is_token_text(*token);
}

/* The key-value pairs up to the empty one that ends them; exactly one `auth`. */
static bool take_pairs(struct span rest, struct span *token)
{
    struct span pair;
    bool found = false;
    while (take_until(&rest, SEPARATOR, &pair)) {
        if (pair.len == 0)
            return found && rest.len == 0;
        if (pair.len < 5 || memcmp(pair.at, "auth=", 5) != 0)
            continue;
        if (found || !take_bearer_token((struct span){pair.at + 5, pair.len - 5}, token))
            return false;
        found = true;
    }
    return false;
}

bool ia_bearer_token(const void *data, size_t len, const char **token, size_t *token_len)
{
    struct span all = {data, len}, head, found = all;
    if (!is_token_text(all)) {
        /* GS2 header without channel binding (RFC 5801 section 4): `n,` or `y,`, an authzid that is not used,
         * and the separator. */
        if (len < 3 || (all.at[0] != 'n' && all.at[0] != 'y') || all.at[1] != ',' ||
            !take_until(&all, SEPARATOR, &head) || head.len < 3 || head.at[head.len - 1] != ',' ||
            !take_pairs(all, &found))
            return false;
    }
    *token = found.at;
    *token_len = found.len;
    return true;
}
