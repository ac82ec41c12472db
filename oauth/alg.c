// SPDX-License-Identifier: ISC
#include "oauth/alg.h"

#include <string.h>

struct alg_row {
    const char *name;
    const char *digest;
    enum ia_key_type key; /* 0: EdDSA, which is not fully specified */
    bool pss;
};

/* RFC 7518 section 3.1, RFC 9864 section 2; each ECDSA algorithm belongs to one curve. */
static const struct alg_row alg_rows[IA_ALG_COUNT] = {
    [IA_ALG_NONE] = {.name = ""},
    [IA_ALG_RS256] = {"RS256", "SHA256", IA_KEY_RSA, false},
    [IA_ALG_RS384] = {"RS384", "SHA384", IA_KEY_RSA, false},
    [IA_ALG_RS512] = {"RS512", "SHA512", IA_KEY_RSA, false},
    [IA_ALG_PS256] = {"PS256", "SHA256", IA_KEY_RSA, true},
    [IA_ALG_PS384] = {"PS384", "SHA384", IA_KEY_RSA, true},
    [IA_ALG_PS512] = {"PS512", "SHA512", IA_KEY_RSA, true},
    [IA_ALG_ES256] = {"ES256", "SHA256", IA_KEY_P256, false},
    [IA_ALG_ES384] = {"ES384", "SHA384", IA_KEY_P384, false},
    [IA_ALG_ES512] = {"ES512", "SHA512", IA_KEY_P521, false},
    [IA_ALG_EDDSA] = {.name = "EdDSA"},
    [IA_ALG_ED25519] = {"Ed25519", NULL, IA_KEY_ED25519, false},
    [IA_ALG_ED448] = {"Ed448", NULL, IA_KEY_ED448, false},
};

/* Further names of RFC 9864. */
static const struct {
    const char *name;
    enum ia_alg alg;
} alg_aliases[] = {{"ESP256", IA_ALG_ES256}, {"ESP384", IA_ALG_ES384}, {"ESP512", IA_ALG_ES512}};

static const struct alg_row *find_row(enum ia_alg alg)
{
    return (unsigned)alg < IA_ALG_COUNT ? &alg_rows[alg] : &alg_rows[IA_ALG_NONE];
}

enum ia_alg ia_alg_from_name(const char *name)
{
    for (int i = IA_ALG_NONE + 1; i < IA_ALG_COUNT; i++)
        if (strcmp(alg_rows[i].name, name) == 0)
            return (enum ia_alg)i;
    for (size_t i = 0; i < sizeof alg_aliases / sizeof alg_aliases[0]; i++)
        if (strcmp(alg_aliases[i].name, name) == 0)
            return alg_aliases[i].alg;
    return IA_ALG_NONE;
}

const char *ia_alg_name(enum ia_alg alg)
{
    return find_row(alg)->name;
}

unsigned ia_alg_set(enum ia_alg alg)
{
    if (alg == IA_ALG_EDDSA)
        return 1u << IA_ALG_ED25519 | 1u << IA_ALG_ED448;
    return find_row(alg)->key ? 1u << alg : 0;
}

unsigned ia_alg_set_of_key(enum ia_key_type type)
{
    unsigned set = 0;
    for (int i = IA_ALG_NONE + 1; i < IA_ALG_COUNT; i++)
        if (alg_rows[i].key == type)
            set |= 1u << i;
    return set;
}

const char *ia_alg_digest(enum ia_alg alg)
{
    return find_row(alg)->digest;
}

bool ia_alg_is_pss(enum ia_alg alg)
{
    return find_row(alg)->pss;
}
