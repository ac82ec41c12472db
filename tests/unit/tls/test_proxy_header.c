// SPDX-License-Identifier: ISC
/* PROXY protocol, version 2: what is accepted, and that no byte too many is asked for. */
#include "tls/proxy_header.h"

#include "tests/unit/suite.h"

#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4        "\xCB\0\x71\x07\x7F\0\0\x01\xC3\x50\x22\xB3"
#define ZEROS16   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

static const struct {
    const char *bytes; /* behind the signature */
    size_t n;
    enum ia_proxy_verdict verdict;
    const char *address;
} headers[] = {
    {"\x21\x11\0\x0C" V4, 16, IA_PROXY_CLIENT, "203.0.113.7"},
    {"\x21\x11\0\x10" V4 "\x04\0\x01x", 20, IA_PROXY_CLIENT, "203.0.113.7"},
    {"\x21\x21\0\x24\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x07" ZEROS16 "\0\0\0\0", 40, IA_PROXY_CLIENT, "2001:db8::7"},
    {"\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xCB\0\x71\x08" ZEROS16 "\0\0\0\0", 40, IA_PROXY_CLIENT, "203.0.113.8"},
    {"\x20\0\0\0", 4, IA_PROXY_LOCAL, ""},
    {"\x20\x11\0\x0C" V4, 16, IA_PROXY_LOCAL, ""},
    {"\x21\0\0\0", 4, IA_PROXY_REFUSED, ""},              /* AF_UNSPEC: nobody's address */
    {"\x21\x12\0\x0C" V4, 16, IA_PROXY_REFUSED, ""},      /* UDP */
    {"\x21\x31\0\xD8", 4, IA_PROXY_REFUSED, ""},          /* AF_UNIX */
    {"\x22\x11\0\x0C" V4, 16, IA_PROXY_REFUSED, ""},      /* a command that does not exist */
    {"\x11\x11\0\x0C" V4, 16, IA_PROXY_REFUSED, ""},      /* a version that does not exist */
    {"\x21\x11\0\x0B" V4, 15, IA_PROXY_REFUSED, ""},      /* too short for its addresses */
    {"\x21\x21\0\x0C" V4, 16, IA_PROXY_REFUSED, ""},      /* likewise */
    {"\x21\x11\x02\x09" V4, 16, IA_PROXY_REFUSED, ""},    /* longer than 536 bytes */
    {"\x21\x11\x02\x08" V4, 16, IA_PROXY_INCOMPLETE, ""}, /* 536 bytes */
};

START_TEST(header_has_one_outcome_in_one_piece_and_in_many)
{
    uint8_t bytes[64];
    char address[INET6_ADDRSTRLEN] = "";
    size_t needed = 0, n = 12 + headers[_i].n;
    enum ia_proxy_verdict verdict = IA_PROXY_INCOMPLETE;
    memcpy(bytes, SIGNATURE, 12);
    memcpy(bytes + 12, headers[_i].bytes, headers[_i].n);
    for (size_t have = 0; have <= n && verdict == IA_PROXY_INCOMPLETE; have++) {
        verdict = ia_proxy_header_read(bytes, have, &needed, address);
        ck_assert(verdict != IA_PROXY_INCOMPLETE || (needed > have && needed <= IA_PROXY_HEADER_MAX));
    }
    ck_assert_int_eq(verdict, headers[_i].verdict);
    ck_assert_str_eq(address, headers[_i].address);
    if (verdict != IA_PROXY_INCOMPLETE)
        ck_assert_int_eq(ia_proxy_header_read(bytes, n, &needed, address), verdict);
}
END_TEST

/* Version 1, TLS, or anything else is refused at its first byte that differs. */
START_TEST(other_beginnings_are_refused_at_once)
{
    size_t needed = 0;
    char address[INET6_ADDRSTRLEN] = "";
    ck_assert_int_eq(ia_proxy_header_read((const uint8_t *)"P", 1, &needed, address), IA_PROXY_REFUSED);
    ck_assert_int_eq(ia_proxy_header_read((const uint8_t *)"\x16\x03\x01", 3, &needed, address), IA_PROXY_REFUSED);
    for (size_t i = 0; i < 12; i++) {
        uint8_t bytes[12];
        memcpy(bytes, SIGNATURE, 12);
        bytes[i] ^= 1;
        ck_assert_int_eq(ia_proxy_header_read(bytes, i + 1, &needed, address), IA_PROXY_REFUSED);
    }
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, header_has_one_outcome_in_one_piece_and_in_many, 0,
                        (int)(sizeof headers / sizeof headers[0]));
    tcase_add_test(c, other_beginnings_are_refused_at_once);
}

int main(void)
{
    return run_suite("proxy_header", cases);
}
