// SPDX-License-Identifier: ISC
#include "worker/provisioner.h"

#include "jitr/device_check.h"
#include "jitr/provisioning.h"

#include <stdio.h>
#include <stdlib.h>

void ia_provisioner_reload(const struct ia_provisioner *provisioner)
{
    ia_config_sync_invalidate(provisioner->config, IA_LOAD_CAS);
}

static enum ia_rc fill_from(const struct ia_ca_settings *ca, X509 *leaf, struct ia_register_request *request,
                            bool with_identity, struct ia_err *err)
{
    struct ia_identity identity;
    char device_id[IA_VALUE_MAX + 1];
    char *text = NULL;
    ia_identity_read(leaf, &identity);
    if (ia_device_id_derive(ca, &identity, device_id, err) != IA_R_NONE)
        return IA_FORMAT;
    enum ia_rc rc = ia_provisioning_fill(ca, &identity, with_identity, &text, err);
    if (rc != IA_OK)
        return rc;
    free(request->provision);
    request->provision = text;
    request->stale = false;
    (void)snprintf(request->device_id, sizeof request->device_id, "%s", device_id);
    (void)snprintf(request->terms, sizeof request->terms, "%s", ca->terms ? ca->terms : "");
    return IA_OK;
}

enum ia_rc ia_provisioner_fill(const struct ia_provisioner *provisioner, struct ia_register_request *request,
                               bool with_identity, struct ia_err *err)
{
    const struct ia_ca_settings_set *cas = provisioner ? ia_config_sync_ca_settings(provisioner->config) : NULL;
    const struct ia_ca_settings *ca = cas ? ia_ca_settings_find(cas, request->ca_id) : NULL;
    if (!ca)
        return ia_fail(err, IA_UNAVAILABLE, "the CA cannot be used: see iot_auth.ca.problem");
    const unsigned char *der = request->der;
    X509 *leaf = request->der_len > 0 ? d2i_X509(NULL, &der, request->der_len) : NULL;
    if (!leaf)
        return ia_fail(err, IA_UNAVAILABLE, "the templates of the CA have changed");
    enum ia_rc rc = fill_from(ca, leaf, request, with_identity, err);
    X509_free(leaf);
    return rc;
}
