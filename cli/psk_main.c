// SPDX-License-Identifier: ISC
#include "cli/psk.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const usage_text =
    "usage: iot-auth-psk [--key-file FILE] generate DEVICE_ID [--identity ID] [--expires-at TIME]\n"
    "       iot-auth-psk [--key-file FILE] import DEVICE_ID [--identity ID] [--expires-at TIME] < KEY\n"
    "       iot-auth-psk [--key-file FILE] rotate\n"
    "       iot-auth-psk [--key-file FILE] check\n"
    "\n"
    "Pre-shared keys of devices (TLS-PSK).  The registry gets them sealed and never sees a key.\n"
    "\n"
    "  generate  make a key of 32 random bytes, and print IDENTITY:KEY, once\n"
    "  import    read a key of 32 to 128 hexadecimal digits from standard input\n"
    "  rotate    seal all keys again under the first key of the key file; can be started again\n"
    "  check     open all keys, and count them by the key that seals them\n"
    "\n"
    "  --key-file FILE     lines of `ID HEX64`, the first one seals; default $IOT_AUTH_PSK_KEY_FILE\n"
    "  --identity ID       what the client sends; default: the device id\n"
    "  --expires-at TIME   in a format of PostgreSQL, for instance 2031-01-01T00:00:00Z; default: never\n"
    "\n"
    "The database is that of libpq's environment: PGHOST, PGDATABASE, PGUSER, ... or the service iot-auth.\n"
    "Exit status: 0 done, 1 a key or a row failed and was named, 2 usage.\n";

static const struct verb {
    const char *name;
    bool of_device; /* takes a device id, an identity and an expiry */
    int (*run)(const struct ia_psk_command *command);
} verbs[] = {
    {"generate", true, ia_psk_generate},
    {"import", true, ia_psk_import},
    {"rotate", false, ia_psk_rotate},
    {"check", false, ia_psk_check},
};

struct arguments {
    const char *key_file, *identity, *expires_at;
    const struct verb *verb;
    const char *device_id;
};

static const struct verb *find_psk_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int refuse_usage(const struct ia_call *call, const char *text)
{
    return ia_call_fail(call, IA_PSK_USAGE, "%s; see iot-auth-psk --help", text);
}

/* -1: go on. */
static int read_options(const struct ia_call *call, int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"key-file", required_argument, NULL, 'k'},   {"identity", required_argument, NULL, 'i'},
        {"expires-at", required_argument, NULL, 'e'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},          {NULL, 0, NULL, 0}};
    a->key_file = getenv("IOT_AUTH_PSK_KEY_FILE");
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'k':
            a->key_file = optarg;
            break;
        case 'i':
            a->identity = optarg;
            break;
        case 'e':
            a->expires_at = optarg;
            break;
        case 'h':
            return fputs(usage_text, stdout) < 0 ? IA_PSK_FAILED : IA_PSK_DONE;
        case 'v':
            return printf("iot-auth-psk %s\n", IA_VERSION) < 0 ? IA_PSK_FAILED : IA_PSK_DONE;
        default:
            return refuse_usage(call, "that is no option, or its value is missing");
        }
    }
    return -1;
}

static int read_words(const struct ia_call *call, int n, char **words, struct arguments *a)
{
    a->verb = n > 0 ? find_psk_verb(words[0]) : NULL;
    if (!a->verb)
        return refuse_usage(call, "the command must be generate, import, rotate or check");
    if (n != 1 + a->verb->of_device)
        return refuse_usage(call, a->verb->of_device ? "one DEVICE_ID is expected" : "no further word is expected");
    if (!a->verb->of_device && (a->identity || a->expires_at))
        return refuse_usage(call, "--identity and --expires-at belong to generate and import");
    if (!a->key_file || !*a->key_file)
        return refuse_usage(call, "give --key-file, or set IOT_AUTH_PSK_KEY_FILE");
    a->device_id = a->verb->of_device ? words[1] : NULL;
    return -1;
}

static int run_verb(const struct ia_call *call, const struct arguments *a)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {0};
    int status = IA_PSK_FAILED;
    if (ia_keyring_read(a->key_file, &keyring, &err) != IA_OK)
        return ia_call_fail(call, IA_PSK_FAILED, "%s", err.msg);
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (registry) {
        const struct ia_psk_command command = {.call = call,
                                               .registry = registry,
                                               .keyring = keyring,
                                               .device_id = a->device_id,
                                               .identity = a->identity ? a->identity : a->device_id,
                                               .expires_at = a->expires_at};
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): without a verb the arguments are refused
        status = a->verb->run(&command);
    }
    ia_registry_close(registry);
    ia_keyring_free(keyring);
    return status == IA_PSK_DONE ? IA_PSK_DONE : IA_PSK_FAILED; /* the registry's own are others */
}

int main(int argc, char **argv)
{
    const struct ia_call call = {.program = "iot-auth-psk"};
    struct arguments a = {0};
    opterr = 0;
    int status = read_options(&call, argc, argv, &a);
    if (status < 0)
        status = read_words(&call, argc - optind, argv + optind, &a);
    return status < 0 ? run_verb(&call, &a) : status;
}
