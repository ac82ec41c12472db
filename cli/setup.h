// SPDX-License-Identifier: ISC
/* iot-auth setup: database, passfile, configuration and server certificate for one broker on this machine.  Everything is
 * checked first; a step that finds its result there leaves it as it is, so that a second run changes nothing. */
#pragma once

#include "cli/call.h"
#include "cli/registry.h"

#include <sys/types.h>

int ia_setup_run(const struct ia_call *call);

/* ---- for the files cli/setup_*.c */

/* A user of this machine. */
struct ia_user {
    const char *name;
    uid_t uid;
    gid_t gid;
    char *home; /* owned */
};

/* What has become of one thing. */
enum ia_setup_state {
    IA_SETUP_MADE, /* with --dry-run: it would be made */
    IA_SETUP_KEPT, /* it was there */
    IA_SETUP_FOUND,
    IA_SETUP_WARNING,
    IA_SETUP_PROBLEM, /* setup cannot go on: counted */
};

/* What becomes of the password of the broker's role. */
enum ia_setup_password {
    IA_SETUP_PASSWORD_KEPT,    /* the passfile admits the broker */
    IA_SETUP_PASSWORD_OF_FILE, /* the role has none: it gets the passfile's */
    IA_SETUP_PASSWORD_NEW,
};

struct ia_setup {
    const struct ia_call *call;
    bool dry_run;
    size_t problems, made;
    enum ia_setup_password password;
    struct ia_user broker;
    const char *database, *plugin, *mosquitto;
    const char *device_port, *app_port;
    char *folder;                              /* of Mosquitto's configuration; owned, as the rest */
    char *conf, *passfile, *service_file;      /* paths */
    char *certificate, *key;                   /* paths that the configuration names */
    bool has_conf, is_self_signed, has_socket; /* has_socket: as the operating system's user postgres */
    char *db_socket, *db_host, *db_port, *db_user, *db_sslmode, *db_sslrootcert; /* of the administrator's connection */
};

/* setup_say.c: print one line about one thing, "made: …", or as JSON. */
void ia_setup_say(struct ia_setup *setup, enum ia_setup_state state, const char *fmt, ...) IA_PRINTF(3, 4);
void ia_setup_print_json(const char *state, const char *text);

/* setup_user.c: find a user by name; false: there is none. */
bool ia_user_find(const char *name, struct ia_user *out);

/* Run as that user until ia_user_return: for access to files, and for peer authentication on a Unix socket.  NULL:
 * change nothing. */
IA_MUST_USE bool ia_user_become(const struct ia_user *user);
void ia_user_return(void);

/* setup_checks.c: what can be checked without the database.  Fills has_conf. */
void ia_setup_check(struct ia_setup *setup);

/* setup_files.c: the server's certificate, the configuration, the service.  false: the error has been printed. */
bool ia_setup_certificate(struct ia_setup *setup);
bool ia_setup_configuration(struct ia_setup *setup);
bool ia_setup_service(struct ia_setup *setup);
/* A file beside `path`, for rename(); the caller frees *name.  false: the error has been printed, and there is no file. */
bool ia_setup_write_beside(struct ia_setup *setup, const char *path, const char *text, mode_t mode, uid_t uid,
                           gid_t gid, char **name);
/* Can Mosquitto's configuration, which has no quotes, hold this path? */
bool ia_setup_is_plain_path(const char *path);

/* setup_database.c: database, migrations, roles, password.  Returns an ia_exit. */
int ia_setup_database(struct ia_setup *setup);

/* setup_password.c, in this order: decide what to do with the broker's password, over a connection to any database of
 * the server, without a change; do it, in the registry's database; log in as the broker does.  Each returns an ia_exit;
 * the error has been printed. */
int ia_setup_password_decide(struct ia_setup *setup, struct ia_registry *registry);
int ia_setup_password(struct ia_setup *setup, struct ia_registry *registry);
int ia_setup_password_check(struct ia_setup *setup);
