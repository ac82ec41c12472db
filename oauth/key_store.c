// SPDX-License-Identifier: ISC
#include "oauth/key_store.h"

#include "common/str.h"
#include "oauth/issuer_set.h"
#include "oauth/json.h"
#include "oauth/jwks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION 1
#define FILE_MAX       (2 * IA_JWKS_MAX + 8192) /* as a JSON string, a key set takes at most twice its bytes */
#define CLOCK_SLACK_S  300                      /* a file from the future is from another clock */

struct ia_key_store {
    char dir[PATH_MAX];
};

/* Can only the owner write to it, and is that us or root? */
static bool is_private(const struct stat *st)
{
    return (st->st_mode & (S_IWGRP | S_IWOTH)) == 0 && (st->st_uid == geteuid() || st->st_uid == 0);
}

enum ia_rc ia_key_store_open(const char *dir, struct ia_key_store **out, struct ia_err *err)
{
    struct stat st;
    if (strlen(dir) > PATH_MAX - IA_VALUE_MAX - 32)
        return ia_fail(err, IA_USAGE, "state_dir: the path is too long");
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return ia_fail(err, IA_USAGE, "state_dir: %.100s is not a directory that can be reached", dir);
    if (!is_private(&st))
        return ia_fail(err, IA_USAGE, "state_dir: others than the broker's user can write to %.100s", dir);
    if (access(dir, W_OK | X_OK) != 0)
        return ia_fail(err, IA_USAGE, "state_dir: the broker's user cannot write to %.100s", dir);
    struct ia_key_store *store = calloc(1, sizeof *store);
    if (!store)
        return ia_nomem(err);
    snprintf(store->dir, sizeof store->dir, "%s", dir);
    *out = store;
    return IA_OK;
}

void ia_key_store_free(struct ia_key_store *store)
{
    free(store);
}

/* The file of that issuer.  False for a name that no valid row has: it could lead out of the directory. */
static bool file_path(const struct ia_key_store *store, const char *name, char out[PATH_MAX])
{
    if (!ia_issuer_name_valid(name))
        return false;
    int n = snprintf(out, PATH_MAX, "%s/jwks-%s.json", store->dir, name);
    return n > 0 && n < PATH_MAX;
}

/* ---- reading */

static enum ia_rc open_file(const char *path, int *fd, size_t *len, struct ia_err *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*fd < 0 && errno == ENOENT)
        return ia_fail(err, IA_UNAVAILABLE, "no keys are stored");
    if (*fd < 0 || fstat(*fd, &st) != 0)
        return ia_fail(err, IA_IO, "%.120s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || !is_private(&st))
        return ia_fail(err, IA_IO, "%.120s: not a file that only the broker's user can write to", path);
    if (st.st_size < 0 || st.st_size > FILE_MAX)
        return ia_fail(err, IA_FORMAT, "%.120s: longer than %d bytes", path, FILE_MAX);
    *len = (size_t)st.st_size;
    return IA_OK;
}

/* The whole file; *text is the caller's. */
static enum ia_rc read_file(const char *path, char **text, size_t *len, struct ia_err *err)
{
    int fd = -1;
    enum ia_rc rc = open_file(path, &fd, len, err);
    char *bytes = rc == IA_OK ? malloc(*len + 1) : NULL;
    if (rc == IA_OK && !bytes)
        rc = ia_nomem(err);
    if (rc == IA_OK && read(fd, bytes, *len) != (ssize_t)*len)
        rc = ia_fail(err, IA_IO, "%.120s: cannot be read", path);
    if (fd >= 0)
        close(fd);
    if (rc == IA_OK)
        *text = bytes;
    else
        free(bytes);
    return rc;
}

static enum ia_rc read_members(const json_t *file, const struct ia_refresh_source *source, int64_t now_s, char **jwks,
                               int64_t *fetched_s, struct ia_err *err)
{
    bool wrong_type;
    const char *issuer = ia_json_text(file, "issuer", &wrong_type);
    const char *url = ia_json_text(file, "jwks_url", &wrong_type);
    const char *text = ia_json_text(file, "jwks", &wrong_type);
    const json_t *at = ia_json_get(file, "fetched_at");
    if (json_integer_value(ia_json_get(file, "version")) != FORMAT_VERSION || !issuer || !text || !json_is_integer(at))
        return ia_fail(err, IA_FORMAT, "the stored keys: not in the format of this version");
    if (strcmp(issuer, source->issuer) != 0 || !ia_same_text(url, source->jwks_url))
        return ia_fail(err, IA_UNAVAILABLE, "the stored keys are from another source");
    int64_t fetched = json_integer_value(at);
    if (fetched < 0 || fetched > now_s + CLOCK_SLACK_S)
        return ia_fail(err, IA_FORMAT, "the stored keys: fetched in the future");
    *jwks = strdup(text);
    *fetched_s = fetched < now_s ? fetched : now_s;
    return *jwks ? IA_OK : ia_nomem(err);
}

enum ia_rc ia_key_store_load(const struct ia_key_store *store, const struct ia_refresh_source *source, int64_t now_s,
                             char **jwks, int64_t *fetched_s, struct ia_err *err)
{
    const char *why;
    char path[PATH_MAX];
    ia_autofree char *text = NULL;
    size_t len = 0;
    if (!file_path(store, source->name, path))
        return ia_fail(err, IA_UNAVAILABLE, "no keys are stored");
    enum ia_rc rc = read_file(path, &text, &len, err);
    if (rc != IA_OK)
        return rc;
    json_auto_t *file = ia_json_load(text, len, &why);
    return file ? read_members(file, source, now_s, jwks, fetched_s, err)
                : ia_fail(err, IA_FORMAT, "%.120s: the text %s", path, why);
}

/* ---- writing */

static bool write_all(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        left -= (size_t)n;
    }
    return true;
}

/* Write to a new file (mkostemp: mode 0600) and put it in place. */
static enum ia_rc replace_file(const struct ia_key_store *store, const char *path, const char *text, struct ia_err *err)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s/.jwks-XXXXXX", store->dir);
    int fd = n > 0 && n < PATH_MAX ? mkostemp(temporary, O_CLOEXEC) : -1;
    if (fd < 0)
        return ia_fail(err, IA_IO, "keys cannot be stored in state_dir: %s", strerror(errno));
    bool written = write_all(fd, text) && fsync(fd) == 0;
    if (close(fd) == 0 && written && rename(temporary, path) == 0)
        return IA_OK;
    int failure = errno;
    unlink(temporary);
    return ia_fail(err, IA_IO, "keys cannot be stored in state_dir: %s", strerror(failure));
}

enum ia_rc ia_key_store_save(const struct ia_key_store *store, const struct ia_refresh_source *source, const char *jwks,
                             int64_t now_s, struct ia_err *err)
{
    char path[PATH_MAX];
    if (!file_path(store, source->name, path))
        return ia_fail(err, IA_USAGE, "keys cannot be stored: the issuer's name is not valid");
    json_auto_t *file = json_pack("{s:i, s:s, s:s?, s:I, s:s}", "version", FORMAT_VERSION, "issuer", source->issuer,
                                  "jwks_url", source->jwks_url, "fetched_at", (json_int_t)now_s, "jwks", jwks);
    char *text = file ? json_dumps(file, JSON_INDENT(1)) : NULL;
    if (!text)
        return ia_fail(err, IA_NOMEM, "keys cannot be stored: out of memory, or not UTF-8");
    enum ia_rc rc = replace_file(store, path, text, err);
    free(text);
    return rc;
}

void ia_key_store_remove(const struct ia_key_store *store, const char *name)
{
    char path[PATH_MAX];
    if (file_path(store, name, path))
        unlink(path);
}
