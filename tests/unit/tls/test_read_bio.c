// SPDX-License-Identifier: ISC
/* Who stops the reads of a TLS connection: in which order the stages are asked, and that neither a freed SSL nor a freed BIO
 * leaves anything behind. */
#include "tls/read_bio.h"

#include "tests/unit/suite.h"
#include "tests/unit/tls/tls_pair.h"

#include <openssl/err.h>
#include <string.h>
#include <unistd.h>

static SSL_CTX *server_ctx, *client_ctx;
static struct tls_pair pair;
static char seen[64]; /* what was called, in its order: a letter each */

struct record {
    enum ia_read_answer answer;
    SSL *released; /* by its next answer */
};
static struct record header, parked;

static void note(char what)
{
    size_t n = strlen(seen);
    ck_assert_uint_lt(n, sizeof seen - 1);
    seen[n] = what;
    seen[n + 1] = '\0';
}

static enum ia_read_answer answer_header(void *record)
{
    struct record *r = record;
    note('h');
    if (r->released)
        ia_read_bio_release(r->released, IA_READ_PROXY_HEADER);
    return r->answer;
}

static enum ia_read_answer answer_parked(void *record)
{
    note('p');
    return ((struct record *)record)->answer;
}

static void lose_parked(void *record)
{
    ck_assert_ptr_eq(record, &parked);
    note('L');
}

static void free_header(void *record)
{
    ck_assert_ptr_eq(record, &header);
    note('H');
}

static void free_parked(void *record)
{
    ck_assert_ptr_eq(record, &parked);
    note('P');
}

static const struct ia_read_stage_ops header_ops = {.answer = answer_header, .free = free_header};
static const struct ia_read_stage_ops parked_ops = {.answer = answer_parked, .lost = lose_parked, .free = free_parked};

static void setup(void)
{
    struct ia_err err = {0};
    seen[0] = '\0';
    header = parked = (struct record){.answer = IA_READ_GOES_ON};
    server_ctx = tls_server_ctx(SSL_VERIFY_NONE);
    client_ctx = tls_client_ctx(TLS1_3_VERSION, NULL, NULL);
    ck_assert_int_eq(ia_read_bio_open(&err), IA_OK);
    pair = tls_pair_connect(server_ctx, client_ctx, 0);
    ck_assert(tls_pair_handshake(&pair));
}

static void teardown(void)
{
    tls_pair_close(&pair);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
}

static void stop(enum ia_read_stage stage)
{
    bool is_header = stage == IA_READ_PROXY_HEADER;
    ck_assert(
        ia_read_bio_attach(pair.server, stage, is_header ? &header_ops : &parked_ops, is_header ? &header : &parked));
    ck_assert(ia_read_bio_stop(pair.server, stage));
}

START_TEST(stages_are_asked_in_their_order_until_one_stops_the_read)
{
    stop(IA_READ_PARKED);
    stop(IA_READ_PROXY_HEADER);
    tls_client_sends(&pair, "CONNECT");
    header.answer = parked.answer = IA_READ_RETRIES;
    ck_assert_str_eq(tls_server_reads(&pair), "");
    ck_assert_str_eq(seen, "h");
    header.answer = IA_READ_GOES_ON;
    ck_assert_str_eq(tls_server_reads(&pair), "");
    ck_assert_str_eq(seen, "hhp");
    parked.answer = IA_READ_GOES_ON;
    ck_assert_str_eq(tls_server_reads(&pair), "CONNECT");
}
END_TEST

START_TEST(stage_that_releases_itself_within_its_answer_leaves_the_other_one)
{
    stop(IA_READ_PARKED);
    stop(IA_READ_PROXY_HEADER);
    header.released = pair.server;
    parked.answer = IA_READ_RETRIES;
    tls_client_sends(&pair, "CONNECT");
    ck_assert_str_eq(tls_server_reads(&pair), "");
    ck_assert_str_eq(tls_server_reads(&pair), "");
    ck_assert_str_eq(seen, "hpp");
    ia_read_bio_release(pair.server, IA_READ_PARKED);
    ck_assert_str_eq(tls_server_reads(&pair), "CONNECT");
    ck_assert_str_eq(seen, "hpp");
    ck_assert_ptr_eq(ia_read_bio_record(pair.server, IA_READ_PARKED), &parked); /* it stays attached */
}
END_TEST

START_TEST(failed_read_ends_the_connection)
{
    stop(IA_READ_PROXY_HEADER);
    header.answer = IA_READ_FAILS;
    char byte;
    ERR_clear_error();
    int n = SSL_read(pair.server, &byte, 1);
    ck_assert_int_le(n, 0);
    ck_assert_int_ne(SSL_get_error(pair.server, n), SSL_ERROR_WANT_READ);
}
END_TEST

START_TEST(record_is_attached_once_and_stops_nothing_by_itself)
{
    ck_assert_ptr_null(ia_read_bio_record(pair.server, IA_READ_PARKED));
    ck_assert(!ia_read_bio_stop(pair.server, IA_READ_PARKED)); /* no record */
    ia_read_bio_release(pair.server, IA_READ_PARKED);
    ck_assert(ia_read_bio_attach(pair.server, IA_READ_PARKED, &parked_ops, &parked));
    ck_assert(!ia_read_bio_attach(pair.server, IA_READ_PARKED, &parked_ops, &header));
    ck_assert_ptr_eq(ia_read_bio_record(pair.server, IA_READ_PARKED), &parked);
    tls_client_sends(&pair, "CONNECT");
    ck_assert_str_eq(tls_server_reads(&pair), "CONNECT");
    ck_assert_str_eq(seen, "");
}
END_TEST

START_TEST(freed_ssl_frees_its_records_once_and_the_bio_goes_on_without)
{
    stop(IA_READ_PROXY_HEADER);
    stop(IA_READ_PARKED);
    BIO *bio = SSL_get_rbio(pair.server);
    ck_assert_int_eq(BIO_up_ref(bio), 1);
    SSL_free(pair.server);
    pair.server = NULL;
    ck_assert_str_eq(seen, "LHP");
    char byte;
    ck_assert_int_le(BIO_read(bio, &byte, 1), 0);
    ck_assert_str_eq(seen, "LHP");
    BIO_free(bio);
    ck_assert_str_eq(seen, "LHP");
}
END_TEST

START_TEST(bio_that_is_replaced_is_lost_and_the_record_lives_on)
{
    stop(IA_READ_PARKED);
    ck_assert_int_eq(SSL_set_fd(pair.server, pair.server_fd), 1); /* frees the BIO and makes another one */
    ck_assert_str_eq(seen, "L");
    ia_read_bio_release(pair.server, IA_READ_PARKED);
    tls_client_sends(&pair, "CONNECT");
    ck_assert_str_eq(tls_server_reads(&pair), "CONNECT");
    ck_assert_str_eq(seen, "L");
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, stages_are_asked_in_their_order_until_one_stops_the_read);
    tcase_add_test(c, stage_that_releases_itself_within_its_answer_leaves_the_other_one);
    tcase_add_test(c, failed_read_ends_the_connection);
    tcase_add_test(c, record_is_attached_once_and_stops_nothing_by_itself);
    tcase_add_test(c, freed_ssl_frees_its_records_once_and_the_bio_goes_on_without);
    tcase_add_test(c, bio_that_is_replaced_is_lost_and_the_record_lives_on);
}

int main(void)
{
    return run_suite("read_bio", cases);
}
