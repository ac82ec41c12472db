// SPDX-License-Identifier: ISC
/* Certificates of a folder become devices as they would by registration: the CA is found by the signature, the device id is
 * what the CA's template makes of the certificate. */
#include "cli/bulk.h"
#include "cli/decision.h"
#include "cli/import.h"
#include "cli/input.h"
#include "common/str.h"
#include "jitr/device_check.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct importer {
    const struct ia_call *call;
    struct ia_decision decision;
    struct ia_bulk *bulk;
    const char *ca; /* --ca, or NULL */
};

/* One certificate on its way to the registry. */
struct candidate {
    char device_id[IA_VALUE_MAX + 1];
    char fingerprint[2 * IA_FINGERPRINT_LEN + 1];
    const struct ia_ca_settings *ca;
    char problem[256]; /* "" while there is none */
};

static void refuse_candidate(struct candidate *c, const char *text, const char *detail)
{
    (void)snprintf(c->problem, sizeof c->problem, "%s%s%s", text, *detail ? ": " : "", detail);
}

/* The CA that signed it, which may be INACTIVE: that the devices of a CA are refused for now is no reason not to register
 * them. */
static void find_issuer(const struct importer *im, const struct ia_cert *cert, struct candidate *c)
{
    struct ia_chain chain;
    ia_chain_verify(im->decision.snapshot->cas, ia_cert_x509(cert), NULL, im->decision.now, &chain);
    if (chain.reason != IA_R_NONE && chain.reason != IA_R_CA_INACTIVE) {
        refuse_candidate(c, ia_reason_name(chain.reason), chain.detail);
        return;
    }
    c->ca = ia_ca_settings_find(im->decision.snapshot->ca_settings, chain.ca_id);
    if (!c->ca)
        refuse_candidate(c, "its CA cannot be used", "");
    else if (im->ca && strcmp(im->ca, c->ca->name) != 0)
        refuse_candidate(c, "it is signed by another CA", c->ca->name);
}

static void derive_id(const struct ia_cert *cert, struct candidate *c)
{
    struct ia_identity identity;
    struct ia_err err = {0};
    ia_identity_read(ia_cert_x509(cert), &identity);
    if (ia_device_id_derive(c->ca, &identity, c->device_id, &err) != IA_R_NONE)
        refuse_candidate(c, "identity_invalid", err.msg);
}

static void examine_certificate(const struct importer *im, const char *pem, struct candidate *c)
{
    struct ia_cert *cert = NULL;
    struct ia_err err = {0};
    if (ia_cert_parse_pem(pem, &cert, &err) != IA_OK) {
        refuse_candidate(c, err.msg, "");
        return;
    }
    ia_hex(ia_cert_info(cert)->fingerprint, IA_FINGERPRINT_LEN, c->fingerprint);
    find_issuer(im, cert, c);
    if (!c->problem[0])
        derive_id(cert, c);
    ia_cert_free(cert);
}

static bool import_file(struct importer *im, const char *path, const char *name, int64_t number)
{
    struct candidate c = {0};
    struct ia_err err = {0};
    ia_autofree char *pem = NULL;
    if (ia_input_document(path, &pem, &err) != IA_OK)
        refuse_candidate(&c, err.msg, "");
    else
        examine_certificate(im, pem, &c);
    struct ia_bulk_line line = {.number = number, .source = name, .problem = c.problem[0] ? c.problem : NULL};
    if (!line.problem) {
        line.pem = pem;
        line.values[IA_BULK_DEVICE_ID] = c.device_id;
        line.values[IA_BULK_CA_NAME] = c.ca->name;
        line.values[IA_BULK_STATUS] = ia_call_get(im->call, "status");
        line.values[IA_BULK_FINGERPRINT] = c.fingerprint;
    }
    return ia_bulk_add(im->bulk, &line);
}

/* The regular files of the folder, by name; hidden ones and folders are left out. */
static int import_files(struct importer *im, struct ia_registry *registry, const char *folder)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort), number = 0;
    bool sent = n >= 0;
    for (int i = 0; i < n; i++) {
        ia_autofree char *path = NULL;
        struct stat info;
        if (asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0)
            sent = false;
        else if (sent && entries[i]->d_name[0] != '.' && stat(path, &info) == 0 && S_ISREG(info.st_mode))
            sent = import_file(im, path, entries[i]->d_name, ++number);
        free(entries[i]);
    }
    free(entries);
    if (sent)
        return ia_bulk_finish(im->bulk);
    ia_bulk_abort(im->bulk);
    return ia_registry_fail(registry, NULL);
}

static int import_folder(struct importer *im, const char *folder)
{
    int status = IA_EXIT_DISCONNECTED;
    struct ia_registry *registry = ia_registry_open(im->call, &status);
    if (!registry)
        return status;
    im->bulk = ia_bulk_begin(registry, im->call);
    status = im->bulk ? import_files(im, registry, folder) : ia_registry_status(registry);
    ia_registry_close(registry);
    return status;
}

/* --ca must be one that is registered: a misspelt name would make every file bad. */
static bool is_ca_known(const struct importer *im)
{
    for (size_t i = 0; im->ca && i < im->decision.rows->n_cas; i++)
        if (strcmp(im->decision.rows->cas[i].name, im->ca) == 0)
            return true;
    return im->ca == NULL;
}

int ia_import_certificates(const struct ia_call *call)
{
    struct importer im = {.call = call, .ca = ia_call_get(call, "ca")};
    const char *folder = ia_call_get(call, "DIR");
    struct ia_err err = {0};
    struct stat info;
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
        return ia_call_fail(call, IA_EXIT_USAGE, "%s: %s", folder, errno ? strerror(errno) : "it is not a folder");
    int status = ia_decision_load(&im.decision, call, NULL, &err) == IA_OK
                     ? IA_EXIT_DONE
                     : ia_decision_fail_loaded(&im.decision, call, &err);
    if (status == IA_EXIT_DONE && !is_ca_known(&im))
        status = ia_call_fail(call, IA_EXIT_REFUSED, "CA '%s' is not registered", im.ca);
    if (status == IA_EXIT_DONE)
        status = import_folder(&im, folder);
    ia_decision_clear(&im.decision);
    return status;
}
