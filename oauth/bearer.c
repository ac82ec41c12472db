// SPDX-License-Identifier: ISC
#include "oauth/bearer.h"

#include <string.h>
#include <strings.h>

#define SEPARATOR '\x01'

struct text {
    const char *at;
    size_t len;
};

/* The part of *rest before `end`, and *rest behind it; false when `end` does not come. */
static bool take(struct text *rest, char end, struct text *part)
{
    const char *at = memchr(rest->at, end, rest->len);
    if (!at)
        return false;
    *part = (struct text){rest->at, (size_t)(at - rest->at)};
    rest->at = at + 1;
    rest->len -= part->len + 1;
    return true;
}

static bool is_token(struct text t)
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
static bool take_scheme(struct text value, struct text *token)
{
    if (value.len < 7 || strncasecmp(value.at, "Bearer ", 7) != 0)
        return false;
    *token = (struct text){value.at + 7, value.len - 7};
    while (token->len && token->at[0] == ' ') {
        token->at++;
        token->len--;
    }
    return is_token(*token);
}

/* The key-value pairs up to the empty one that ends them; exactly one `auth`. */
static bool take_pairs(struct text rest, struct text *token)
{
    struct text pair;
    bool found = false;
    while (take(&rest, SEPARATOR, &pair)) {
        if (pair.len == 0)
            return found && rest.len == 0;
        if (pair.len < 5 || memcmp(pair.at, "auth=", 5) != 0)
            continue;
        if (found || !take_scheme((struct text){pair.at + 5, pair.len - 5}, token))
            return false;
        found = true;
    }
    return false;
}

bool ia_bearer_token(const void *data, size_t len, const char **token, size_t *token_len)
{
    struct text all = {data, len}, head, found = all;
    if (!is_token(all)) {
        /* GS2 header without channel binding (RFC 5801 section 4): `n,` or `y,`, an authzid that says nothing here,
         * and the separator. */
        if (len < 3 || (all.at[0] != 'n' && all.at[0] != 'y') || all.at[1] != ',' || !take(&all, SEPARATOR, &head) ||
            head.len < 3 || head.at[head.len - 1] != ',' || !take_pairs(all, &found))
            return false;
    }
    *token = found.at;
    *token_len = found.len;
    return true;
}
