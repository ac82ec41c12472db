// SPDX-License-Identifier: ISC
#include "tls/read_bio.h"

#include <openssl/bio.h>
#include <stdlib.h>

struct stage {
    const struct ia_read_stage_ops *ops;
    void *record; /* owned; NULL: this stage has nothing to do with the connection */
    bool stops;
};

/* The stages of one SSL, which owns this by ex_data. */
struct stages {
    BIO *bio; /* which has the callback; NULL: none has, or it is freed */
    struct stage list[IA_READ_STAGES];
};

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    int ssl_index; /* ex_data; made once a process */
    bool indexed;
} reads;

static void clear_callback(struct stages *s)
{
    BIO_set_callback_ex(s->bio, NULL);
    BIO_set_callback_arg(s->bio, NULL);
    s->bio = NULL;
}

static void lose_bio(struct stages *s)
{
    s->bio = NULL;
    for (int i = 0; i < IA_READ_STAGES; i++) {
        struct stage *stage = &s->list[i];
        if (stage->stops && stage->ops->lost)
            stage->ops->lost(stage->record);
        stage->stops = false;
    }
}

static enum ia_read_answer ask_stages(const struct stages *s)
{
    for (int i = 0; i < IA_READ_STAGES; i++) {
        const struct stage *stage = &s->list[i];
        enum ia_read_answer answer = stage->stops ? stage->ops->answer(stage->record) : IA_READ_GOES_ON;
        if (answer != IA_READ_GOES_ON)
            return answer;
    }
    return IA_READ_GOES_ON;
}

static long on_bio(BIO *bio, int oper, const char *argp, size_t len, int argi, long argl, int ret, size_t *processed)
{
    (void)argp, (void)len, (void)argi, (void)argl, (void)processed;
    struct stages *s = (struct stages *)(void *)BIO_get_callback_arg(bio);
    if (oper == BIO_CB_FREE && s)
        lose_bio(s);
    if (oper != BIO_CB_READ || !s)
        return ret;
    enum ia_read_answer answer = ask_stages(s);
    if (answer == IA_READ_GOES_ON)
        return ret;
    BIO_clear_retry_flags(bio);
    if (answer == IA_READ_RETRIES)
        BIO_set_retry_read(bio);
    return -1;
}

static void on_ssl_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    struct stages *s = ptr;
    if (!s)
        return;
    if (s->bio)
        clear_callback(s); /* the BIO may live on, if somebody else has a reference */
    lose_bio(s);
    for (int i = 0; i < IA_READ_STAGES; i++)
        if (s->list[i].record)
            s->list[i].ops->free(s->list[i].record);
    free(s);
}

enum ia_rc ia_read_bio_open(struct ia_err *err)
{
    if (!reads.indexed)
        reads.ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
    reads.indexed = reads.ssl_index >= 0;
    return reads.indexed ? IA_OK : ia_fail(err, IA_CRYPTO, "OpenSSL gives no ex_data index");
}

static struct stages *find_stages(const SSL *ssl)
{
    return reads.indexed ? SSL_get_ex_data(ssl, reads.ssl_index) : NULL;
}

static struct stages *make_stages(SSL *ssl)
{
    struct stages *s = reads.indexed ? calloc(1, sizeof *s) : NULL;
    if (!s || SSL_set_ex_data(ssl, reads.ssl_index, s) == 1)
        return s;
    free(s);
    return NULL;
}

bool ia_read_bio_attach(SSL *ssl, enum ia_read_stage stage, const struct ia_read_stage_ops *ops, void *record)
{
    struct stages *s = find_stages(ssl);
    if (!s)
        s = make_stages(ssl);
    if (!s || s->list[stage].record)
        return false;
    s->list[stage] = (struct stage){.ops = ops, .record = record};
    return true;
}

void *ia_read_bio_record(const SSL *ssl, enum ia_read_stage stage)
{
    const struct stages *s = find_stages(ssl);
    return s ? s->list[stage].record : NULL;
}

bool ia_read_bio_stop(SSL *ssl, enum ia_read_stage stage)
{
    struct stages *s = find_stages(ssl);
    BIO *bio = SSL_get_rbio(ssl);
    if (!s || !s->list[stage].record || !bio)
        return false;
    s->list[stage].stops = true;
    s->bio = bio;
    BIO_set_callback_arg(bio, (char *)s);
    BIO_set_callback_ex(bio, on_bio);
    return true;
}

void ia_read_bio_release(SSL *ssl, enum ia_read_stage stage)
{
    struct stages *s = find_stages(ssl);
    if (!s)
        return;
    s->list[stage].stops = false;
    for (int i = 0; i < IA_READ_STAGES; i++)
        if (s->list[i].stops)
            return;
    if (s->bio)
        clear_callback(s);
}
