// SPDX-License-Identifier: ISC
#include "psk/keyring.h"

#include "common/str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (4 * 1024 * 1024) /* more than a line for each id */

struct keyring_key {
    uint16_t id;
    uint8_t bytes[IA_KEYRING_KEY_LEN];
};

struct ia_keyring {
    size_t n;
    struct keyring_key *keys;           /* in the file's order; n of them */
    uint16_t at[IA_KEYRING_ID_MAX + 1]; /* by id: 1 + the index of its key, 0 where there is none */
};

/* The id at the beginning of text[0..len), with the number of its digits in *digits.  -1: there is none. */
static int read_id(const char *text, size_t len, size_t *digits)
{
    int id = 0;
    *digits = 0;
    while (*digits < len && text[*digits] >= '0' && text[*digits] <= '9') {
        id = id * 10 + (text[*digits] - '0');
        if (id > IA_KEYRING_ID_MAX)
            return -1;
        ++*digits;
    }
    return *digits > 0 ? id : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Add the key of one line, from which the blanks at both ends have been removed. */
static enum ia_rc add_line(struct ia_keyring *keyring, const char *line, size_t len, unsigned number,
                           struct ia_err *err)
{
    size_t digits;
    int id = read_id(line, len, &digits);
    if (id < 0)
        return ia_fail(err, IA_USAGE, "line %u must start with a key id from 0 to %d", number, IA_KEYRING_ID_MAX);
    size_t at = digits;
    while (at < len && is_blank(line[at]))
        at++;
    struct keyring_key *key = &keyring->keys[keyring->n];
    if (at == digits || len - at != 2 * sizeof key->bytes || !ia_hex_read(line + at, sizeof key->bytes, key->bytes))
        return ia_fail(err, IA_USAGE, "line %u does not have 64 hexadecimal digits after the key id", number);
    if (keyring->at[id])
        return ia_fail(err, IA_USAGE, "line %u has the key id %d, which an earlier line has already", number, id);
    key->id = (uint16_t)id;
    keyring->at[id] = (uint16_t)++keyring->n;
    return IA_OK;
}

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 1;
    for (const char *at = text; (at = memchr(at, '\n', len - (size_t)(at - text))); at++)
        n++;
    return n;
}

static enum ia_rc add_lines(struct ia_keyring *keyring, const char *text, size_t len, struct ia_err *err)
{
    unsigned number = 1;
    for (const char *end = text + len, *line = text; line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline ? newline + 1 : end, *stop = newline ? newline : end;
        while (line < stop && is_blank(*line))
            line++;
        while (stop > line && is_blank(stop[-1]))
            stop--;
        if (line < stop && *line != '#') {
            enum ia_rc rc = add_line(keyring, line, (size_t)(stop - line), number, err);
            if (rc != IA_OK)
                return rc;
        }
        line = next;
    }
    return keyring->n > 0 ? IA_OK : ia_fail(err, IA_USAGE, "the key file has no key: write a line 'ID HEX64'");
}

enum ia_rc ia_keyring_parse(const char *text, size_t len, struct ia_keyring **out, struct ia_err *err)
{
    size_t room = count_lines(text, len);
    if (room > IA_KEYRING_ID_MAX + 1)
        room = IA_KEYRING_ID_MAX + 1; /* ids are used once */
    struct ia_keyring *keyring = calloc(1, sizeof *keyring);
    if (!keyring)
        return ia_nomem(err);
    /* One more: the line that is refused is read into it. */
    keyring->keys = OPENSSL_zalloc((room + 1) * sizeof *keyring->keys);
    if (!keyring->keys) {
        free(keyring);
        return ia_nomem(err);
    }
    enum ia_rc rc = add_lines(keyring, text, len, err);
    if (rc == IA_OK)
        *out = keyring;
    else
        ia_keyring_free(keyring);
    return rc;
}

void ia_keyring_free(struct ia_keyring *keyring)
{
    if (!keyring)
        return;
    OPENSSL_clear_free(keyring->keys, (keyring->n + 1) * sizeof *keyring->keys);
    free(keyring);
}

struct ia_keyring *ia_keyring_copy(const struct ia_keyring *keyring)
{
    struct ia_keyring *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *keyring;
    copy->keys = OPENSSL_memdup(keyring->keys, (keyring->n + 1) * sizeof *keyring->keys);
    if (copy->keys)
        return copy;
    free(copy);
    return NULL;
}

bool ia_keyring_same(const struct ia_keyring *a, const struct ia_keyring *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        const uint8_t *other = ia_keyring_find(b, a->keys[i].id);
        same = other && CRYPTO_memcmp(other, a->keys[i].bytes, IA_KEYRING_KEY_LEN) == 0;
    }
    return same;
}

static enum ia_rc check_file(int fd, const char *path, off_t *size, struct ia_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ia_fail(err, IA_IO, "%s: %s", path, strerrordesc_np(errno));
    if (!S_ISREG(st.st_mode))
        return ia_fail(err, IA_USAGE, "%s is not a regular file", path);
    if (st.st_uid != geteuid())
        return ia_fail(err, IA_USAGE, "%s belongs to user %u and not to this process's user %u: chown it", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return ia_fail(err, IA_USAGE, "%s is accessible to its group or to others: chmod 600", path);
    if (st.st_size > FILE_BYTES_MAX)
        return ia_fail(err, IA_USAGE, "%s has more than %d bytes", path, FILE_BYTES_MAX);
    *size = st.st_size;
    return IA_OK;
}

static enum ia_rc read_all(int fd, const char *path, char *text, size_t size, size_t *len, struct ia_err *err)
{
    for (*len = 0; *len < size;) {
        ssize_t n = read(fd, text + *len, size - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ia_fail(err, IA_IO, "%s: %s", path, strerrordesc_np(errno));
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    return IA_OK;
}

/* The text of a key file says nothing of its keys, but which line is wrong; the path is put in front. */
static enum ia_rc parse_file(int fd, const char *path, struct ia_keyring **out, struct ia_err *err)
{
    off_t size = 0;
    size_t len = 0;
    enum ia_rc rc = check_file(fd, path, &size, err);
    if (rc != IA_OK)
        return rc;
    char *text = OPENSSL_malloc((size_t)size + 1);
    if (!text)
        return ia_nomem(err);
    struct ia_err why = {.rc = IA_OK};
    rc = read_all(fd, path, text, (size_t)size, &len, err);
    if (rc == IA_OK) {
        rc = ia_keyring_parse(text, len, out, &why);
        if (rc != IA_OK)
            rc = ia_fail(err, rc, "%s: %s", path, why.msg);
    }
    OPENSSL_clear_free(text, (size_t)size + 1);
    return rc;
}

enum ia_rc ia_keyring_read(const char *path, struct ia_keyring **out, struct ia_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO does not block */
    if (fd < 0)
        return ia_fail(err, IA_IO, "%s: %s", path, strerrordesc_np(errno));
    enum ia_rc rc = parse_file(fd, path, out, err);
    close(fd);
    return rc;
}

int ia_keyring_sealing_id(const struct ia_keyring *keyring)
{
    return keyring->keys[0].id;
}

const uint8_t *ia_keyring_find(const struct ia_keyring *keyring, int id)
{
    if (id < 0 || id > IA_KEYRING_ID_MAX || !keyring->at[id])
        return NULL;
    return keyring->keys[keyring->at[id] - 1].bytes;
}

size_t ia_keyring_count(const struct ia_keyring *keyring)
{
    return keyring->n;
}
