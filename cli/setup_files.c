// SPDX-License-Identifier: ISC
/* The files that setup writes.  Each appears whole or not at all, and one that is there is never replaced. */
#include "cli/input.h"
#include "cli/setup.h"
#include "common/str.h"
#include "x509/server_credential.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVICE_FILE_MAX (1 << 20)

static bool refuse_file(struct ia_setup *setup, const char *path)
{
    ia_setup_say(setup, IA_SETUP_PROBLEM, "%s: %s", path, strerror(errno));
    return false;
}

static bool write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t n = write(fd, text, left);
        if (n < 0)
            return false;
        text += n;
        left -= (size_t)n;
    }
    return true;
}

bool ia_setup_write_beside(struct ia_setup *setup, const char *path, const char *text, mode_t mode, uid_t uid,
                           gid_t gid, char **name)
{
    if (asprintf(name, "%s.%ld.new", path, (long)getpid()) < 0) {
        *name = NULL;
        return refuse_file(setup, path);
    }
    int fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return refuse_file(setup, *name);
    bool written = fchown(fd, uid, gid) == 0 && fchmod(fd, mode) == 0 && write_all(fd, text) && fsync(fd) == 0;
    int error = errno;
    (void)close(fd);
    if (!written)
        (void)unlink(*name);
    errno = error;
    return written || refuse_file(setup, *name);
}

/* A new file with this owner and mode, or nothing: a file that exists is not touched. */
static bool write_new(struct ia_setup *setup, const char *path, const char *text, mode_t mode, uid_t uid, gid_t gid)
{
    ia_autofree char *name = NULL;
    if (!ia_setup_write_beside(setup, path, text, mode, uid, gid, &name))
        return false;
    bool linked = link(name, path) == 0; /* unlike rename(), fails where `path` exists */
    int error = errno;
    (void)unlink(name);
    errno = error;
    return linked || refuse_file(setup, path);
}

/* ---- the server's certificate */

static bool write_pair(struct ia_setup *setup, const char *cert_pem, const char *key_pem)
{
    if (!write_new(setup, setup->key, key_pem, 0640, geteuid(), setup->broker.gid))
        return false;
    if (write_new(setup, setup->certificate, cert_pem, 0644, geteuid(), getegid()))
        return true;
    (void)unlink(setup->key);
    return false;
}

static bool make_pair(struct ia_setup *setup, const char *name)
{
    char *cert_pem = NULL, *key_pem = NULL;
    struct ia_err err = {0};
    if (ia_server_credential_make(name, &cert_pem, &key_pem, &err) != IA_OK) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s", err.msg);
        return false;
    }
    bool written = write_pair(setup, cert_pem, key_pem);
    OPENSSL_cleanse(key_pem, strlen(key_pem));
    free(key_pem);
    free(cert_pem);
    return written;
}

bool ia_setup_certificate(struct ia_setup *setup)
{
    char host[256] = "localhost";
    const char *name = ia_call_get(setup->call, "server-name");
    if (setup->has_conf || !setup->is_self_signed)
        return true;                             /* what the configuration names */
    if (access(setup->certificate, F_OK) == 0) { /* with its key: ia_setup_check has seen both */
        ia_setup_say(setup, IA_SETUP_KEPT, "server certificate %s", setup->certificate);
        return true;
    }
    if (!name && gethostname(host, sizeof host - 1) == 0)
        name = host;
    if (!name || !*name)
        name = "localhost";
    if (!setup->dry_run && !make_pair(setup, name))
        return false;
    ia_setup_say(setup, IA_SETUP_MADE, "self-signed server certificate %s for %s and localhost, with its key %s",
                 setup->certificate, name, setup->key);
    ia_setup_say(setup, IA_SETUP_WARNING,
                 "the self-signed certificate is for trying out, valid for %d days: clients take it with --cafile %s",
                 IA_SELF_SIGNED_DAYS, setup->certificate);
    return true;
}

/* ---- the configuration of the broker */

/* Mosquitto's configuration knows no quotes: a path with white space would end in the middle. */
bool ia_setup_is_plain_path(const char *path)
{
    return path[0] == '/' && !strpbrk(path, " \t\r\n'\\");
}

static const char configuration[] =
    "# SPDX-License-Identifier: ISC\n"
    "# Written by `iot-auth setup`.  All options of the plugin: mosquitto_iot_auth(5).\n"
    "set_tcp_nodelay true\n"
    "allow_anonymous false\n"
    "\n"
    "plugin %s\n"
    "plugin_opt_db_conninfo host=%s port=%s dbname=%s user=iot_auth_broker passfile=%s%s%s\n"
    "\n"
    "# Devices: a certificate is required.  Mosquitto requires a cafile; the plugin does not use it: the CAs of devices\n"
    "# are those of the registry.\n"
    "listener %s\n"
    "certfile %s\n"
    "keyfile %s\n"
    "cafile %s\n"
    "require_certificate true\n"
    "\n"
    "# Apps: an access token as password, with any username.\n"
    "listener %s\n"
    "certfile %s\n"
    "keyfile %s\n";

/* Options that only a new configuration takes. */
static bool has_configuration_options(const struct ia_call *call)
{
    static const char *const names[] = {"server-cert", "server-name", "device-port", "app-port", "plugin"};
    for (size_t i = 0; i < IA_COUNT(names); i++)
        if (ia_call_has(call, names[i]))
            return true;
    return false;
}

static bool keep_configuration(struct ia_setup *setup)
{
    ia_setup_say(setup, IA_SETUP_KEPT, "configuration %s", setup->conf);
    if (has_configuration_options(setup->call))
        ia_setup_say(setup, IA_SETUP_WARNING, "options for a new configuration were ignored: edit %s, or remove it",
                     setup->conf);
    return true;
}

bool ia_setup_configuration(struct ia_setup *setup)
{
    ia_autofree char *text = NULL;
    const char *root = setup->db_sslrootcert;
    if (setup->has_conf)
        return keep_configuration(setup);
    if (asprintf(&text, configuration, setup->plugin, setup->db_host, setup->db_port, setup->database, setup->passfile,
                 root ? " sslrootcert=" : "", root ? root : "", setup->device_port, setup->certificate, setup->key,
                 setup->certificate, setup->app_port, setup->certificate, setup->key) < 0)
        return refuse_file(setup, setup->conf);
    if (!setup->dry_run && !write_new(setup, setup->conf, text, 0644, geteuid(), getegid()))
        return false;
    ia_setup_say(setup, IA_SETUP_MADE, "configuration %s: devices on port %s, apps on port %s", setup->conf,
                 setup->device_port, setup->app_port);
    if (setup->dry_run && !setup->call->quiet && !setup->call->json)
        printf("%s", text);
    return true;
}

/* ---- the service of pg_service.conf, by which iot-auth finds the registry */

static bool has_section(const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "[iot-auth]", strlen("[iot-auth]")) == 0)
            return true;
    }
    return false;
}

/* Without a user each user of this machine is the role of the same name. */
static char *section_text(const struct ia_setup *setup, const char *host)
{
    char *text = NULL;
    bool is_user = setup->db_user && !setup->has_socket;
    int len = asprintf(&text, "[iot-auth]\nhost=%s\nport=%s\ndbname=%s\n%s%s%s%s%s%s%s%s%s", host, setup->db_port,
                       setup->database, is_user ? "user=" : "", is_user ? setup->db_user : "", is_user ? "\n" : "",
                       setup->db_sslmode ? "sslmode=" : "", setup->db_sslmode ? setup->db_sslmode : "",
                       setup->db_sslmode ? "\n" : "", setup->db_sslrootcert ? "sslrootcert=" : "",
                       setup->db_sslrootcert ? setup->db_sslrootcert : "", setup->db_sslrootcert ? "\n" : "");
    return len < 0 ? NULL : text;
}

/* The old file with the section behind it takes the place of the old file. */
static bool append_section(struct ia_setup *setup, const char *old, const char *section)
{
    ia_autofree char *text = NULL, *name = NULL;
    size_t len = strlen(old);
    const char *between = len == 0 ? "" : old[len - 1] == '\n' ? "\n" : "\n\n";
    struct stat info = {.st_mode = 0644, .st_uid = geteuid(), .st_gid = getegid()};
    (void)stat(setup->service_file, &info);
    if (asprintf(&text, "%s%s%s", old, between, section) < 0)
        return refuse_file(setup, setup->service_file);
    if (!ia_setup_write_beside(setup, setup->service_file, text, info.st_mode & 0777, info.st_uid, info.st_gid, &name))
        return false;
    if (rename(name, setup->service_file) == 0)
        return true;
    int error = errno;
    (void)unlink(name);
    errno = error;
    return refuse_file(setup, setup->service_file);
}

/* Debian makes the folder with PostgreSQL's server, which a broker's machine may not have. */
static bool make_service_folder(struct ia_setup *setup)
{
    ia_autofree char *path = strdup(setup->service_file);
    const char *folder = path ? dirname(path) : NULL;
    if (folder && (mkdir(folder, 0755) == 0 || errno == EEXIST))
        return true;
    return refuse_file(setup, folder ? folder : setup->service_file);
}

bool ia_setup_service(struct ia_setup *setup)
{
    ia_autofree char *old = NULL, *section = NULL;
    struct ia_err err = {0};
    if (access(setup->service_file, F_OK) == 0 &&
        ia_cli_read_text(setup->service_file, SERVICE_FILE_MAX, &old, &err) != IA_OK) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s", err.msg);
        return false;
    }
    if (old && has_section(old)) {
        ia_setup_say(setup, IA_SETUP_KEPT, "service iot-auth in %s", setup->service_file);
        return true;
    }
    if (!setup->dry_run && !make_service_folder(setup))
        return false;
    section = section_text(setup, setup->has_socket ? setup->db_socket : setup->db_host);
    if (!section || (!setup->dry_run && !append_section(setup, old ? old : "", section)))
        return false;
    ia_setup_say(setup, IA_SETUP_MADE, "service iot-auth in %s: iot-auth uses it to find the registry",
                 setup->service_file);
    return true;
}
