// SPDX-License-Identifier: ISC
/* A hostile PROXY header, read in one piece and byte by byte: both have the same outcome, which never asks for more bytes
 * than a header may have. */
#include "tls/proxy_header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char whole[INET6_ADDRSTRLEN] = "", pieces[INET6_ADDRSTRLEN] = "";
    size_t needed = 0, n = size < IA_PROXY_HEADER_MAX ? size : IA_PROXY_HEADER_MAX;
    enum ia_proxy_verdict first = ia_proxy_header_read(data, n, &needed, whole), verdict = IA_PROXY_INCOMPLETE;
    must(first != IA_PROXY_INCOMPLETE || (needed > n && needed <= IA_PROXY_HEADER_MAX));
    must(first != IA_PROXY_CLIENT || whole[0]);
    for (size_t have = 0; verdict == IA_PROXY_INCOMPLETE && have <= n; have++)
        verdict = ia_proxy_header_read(data, have, &needed, pieces);
    must(verdict == first);
    must(first != IA_PROXY_CLIENT || strcmp(whole, pieces) == 0);
    return 0;
}
