// SPDX-License-Identifier: ISC
#include "oauth/alg.h"

#include <string.h>

struct alg_row {
    const char *name;
    const char *digest;
    unsigned keys; /* set of 1 << enum ia_key_type */
    bool pss;
};

#define KEY(type) (1u << (type))

/* RFC 7518 section 3.1; each ECDSA algorithm belongs to one curve. */
static const struct alg_row alg_rows[IA_ALG_COUNT] = {
    [IA_ALG_NONE] = {.name = ""},
    [IA_ALG_RS256] = {"RS256", "SHA256", KEY(IA_KEY_RSA), false},
    [IA_ALG_RS384] = {"RS384", "SHA384", KEY(IA_KEY_RSA), false},
    [IA_ALG_RS512] = {"RS512", "SHA512", KEY(IA_KEY_RSA), false},
    [IA_ALG_PS256] = {"PS256", "SHA256", KEY(IA_KEY_RSA), true},
    [IA_ALG_PS384] = {"PS384", "SHA384", KEY(IA_KEY_RSA), true},
    [IA_ALG_PS512] = {"PS512", "SHA512", KEY(IA_KEY_RSA), true},
    [IA_ALG_ES256] = {"ES256", "SHA256", KEY(IA_KEY_P256), false},
    [IA_ALG_ES384] = {"ES384", "SHA384", KEY(IA_KEY_P384), false},
    [IA_ALG_ES512] = {"ES512", "SHA512", KEY(IA_KEY_P521), false},
    [IA_ALG_EDDSA] = {"EdDSA", NULL, KEY(IA_KEY_ED25519) | KEY(IA_KEY_ED448), false},
};

static const struct alg_row *find_row(enum ia_alg alg)
{
    return (unsigned)alg < IA_ALG_COUNT ? &alg_rows[alg] : &alg_rows[IA_ALG_NONE];
}

enum ia_alg ia_alg_from_name(const char *name)
{
    for (int i = IA_ALG_NONE + 1; i < IA_ALG_COUNT; i++)
        if (strcmp(alg_rows[i].name, name) == 0)
            return (enum ia_alg)i;
    return IA_ALG_NONE;
}

const char *ia_alg_name(enum ia_alg alg)
{
    return find_row(alg)->name;
}

bool ia_alg_fits(enum ia_alg alg, enum ia_key_type type)
{
    return find_row(alg)->keys & KEY(type);
}

const char *ia_alg_digest(enum ia_alg alg)
{
    return find_row(alg)->digest;
}

bool ia_alg_is_pss(enum ia_alg alg)
{
    return find_row(alg)->pss;
}
