// SPDX-License-Identifier: ISC
/* check chain: would this certificate be admitted under these registered CAs? */
#include "cli/check.h"
#include "cli/pem_blocks.h"
#include "common/rfc3339.h"
#include "common/str.h"
#include "x509/ca_set.h"
#include "x509/chain.h"
#include "x509/identity.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ITEMS_MAX 1024 /* certificates and CRLs on one command line */

struct list {
    size_t n;
    void *items[ITEMS_MAX];
    const char *files[ITEMS_MAX]; /* where each came from */
};

struct inputs {
    const struct ia_call *call;
    struct list cas, crls, chain; /* chain: the leaf, then the intermediates */
    int64_t at;
};

/* How one kind of PEM block becomes an item of a list. */
typedef enum ia_rc parse_block(const char *pem, void **out, struct ia_err *err);

static enum ia_rc parse_cert(const char *pem, void **out, struct ia_err *err)
{
    struct ia_cert *cert = NULL;
    enum ia_rc rc = ia_cert_parse_pem(pem, &cert, err);
    *out = cert;
    return rc;
}

static enum ia_rc parse_crl(const char *pem, void **out, struct ia_err *err)
{
    struct ia_crl_spec *spec = calloc(1, sizeof *spec);
    char *copy = strdup(pem);
    enum ia_rc rc = spec && copy ? ia_crl_parse_pem(copy, &spec->crl, err) : ia_nomem(err);
    if (rc != IA_OK) {
        free(copy);
        free(spec);
        return rc;
    }
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): ia_nomem returns an error
    spec->pem = copy;
    *out = spec;
    return IA_OK;
}

static enum ia_rc add(struct list *list, const char *file, const char *pem, parse_block *parse, struct ia_err *err)
{
    struct ia_err cause = {0};
    if (list->n == ITEMS_MAX)
        return ia_fail(err, IA_USAGE, "%s: more than %d of them", file, ITEMS_MAX);
    enum ia_rc rc = parse(pem, &list->items[list->n], &cause);
    if (rc != IA_OK)
        return ia_fail(err, rc, "%s: %s", file, cause.msg);
    list->files[list->n++] = file;
    return IA_OK;
}

struct destination {
    struct list *list;
    parse_block *parse;
};

static enum ia_rc take_block(void *ctx, const char *file, const char *pem, struct ia_err *err)
{
    const struct destination *to = ctx;
    return add(to->list, file, pem, to->parse, err);
}

static enum ia_rc add_files(struct list *list, const struct ia_values *files, parse_block *parse, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    struct destination to = {list, parse};
    for (size_t i = 0; rc == IA_OK && i < files->n; i++)
        rc = ia_pem_blocks_each(files->items[i], take_block, &to, err);
    return rc;
}

static enum ia_rc read_inputs(struct inputs *in, struct ia_err *err)
{
    const struct ia_call *call = in->call;
    const char *at = ia_call_get(call, "at");
    in->at = time(NULL);
    enum ia_rc rc = at ? ia_rfc3339_parse(at, &in->at, err) : IA_OK;
    if (rc == IA_OK)
        rc = add_files(&in->cas, ia_call_list(call, "ca"), parse_cert, err);
    if (rc == IA_OK)
        rc = add_files(&in->crls, ia_call_list(call, "crl"), parse_crl, err);
    if (rc == IA_OK)
        rc = add_files(&in->chain, ia_call_list(call, "LEAF.pem"), parse_cert, err);
    if (rc == IA_OK)
        rc = add_files(&in->chain, ia_call_list(call, "INTERMEDIATE.pem"), parse_cert, err);
    return rc;
}

/* The CRLs of each CA, as the registry would hold them. */
static void assign_crls(const struct inputs *in, struct ia_ca_spec *spec, struct ia_crl_spec *room)
{
    spec->crls = room;
    for (size_t i = 0; i < in->crls.n; i++)
        if (ia_crl_signed_by(in->crls.items[i], spec->cert))
            room[spec->n_crls++] = *(const struct ia_crl_spec *)in->crls.items[i];
}

static void note_problem(void *ctx, int64_t ca_id, const char *text)
{
    const struct inputs *in = ctx;
    (void)ia_call_fail(in->call, 0, "%s: %s", in->cas.files[ca_id - 1], text);
}

static enum ia_rc build_set(struct inputs *in, struct ia_ca_set **out, struct ia_err *err)
{
    ia_autofree struct ia_ca_spec *specs = calloc(in->cas.n, sizeof *specs);
    ia_autofree struct ia_crl_spec *room = calloc(in->cas.n * in->crls.n + 1, sizeof *room);
    if (!specs || !room)
        return ia_nomem(err);
    for (size_t i = 0; i < in->cas.n; i++) {
        specs[i] = (struct ia_ca_spec){.ca_id = (int64_t)i + 1, .active = true, .cert = in->cas.items[i]};
        assign_crls(in, &specs[i], room + i * in->crls.n);
    }
    const struct ia_problem_callback problems = {.report = note_problem, .ctx = in};
    const struct ia_ca_set_input input = {.cas = specs, .n = in->cas.n, .now = in->at, .problems = &problems};
    return ia_ca_set_build(&input, out, err);
}

static enum ia_rc verify(struct inputs *in, struct ia_chain *chain, struct ia_err *err)
{
    struct ia_ca_set *set = NULL;
    enum ia_rc rc = build_set(in, &set, err);
    if (rc != IA_OK)
        return rc;
    STACK_OF(X509) *sent = sk_X509_new_null();
    bool complete = sent != NULL;
    for (size_t i = 1; complete && i < in->chain.n; i++)
        complete = sk_X509_push(sent, ia_cert_x509(in->chain.items[i])) > 0;
    X509 *leaf = ia_cert_x509(in->chain.items[0]);
    ia_autofree struct ia_crl_spec *crls = calloc(in->crls.n + 1, sizeof *crls);
    complete = complete && crls;
    for (size_t i = 0; complete && i < in->crls.n; i++)
        crls[i] = *(const struct ia_crl_spec *)in->crls.items[i];
    const struct ia_chain_strict_input strict = {
        .leaf = leaf, .sent = sent, .crls = crls, .n_crls = in->crls.n, .now = in->at};
    if (complete && in->crls.n > 0)
        ia_chain_verify_strict(set, &strict, chain);
    else if (complete)
        ia_chain_verify(set, leaf, sent, in->at, chain);
    sk_X509_free(sent);
    ia_ca_set_free(set);
    return complete ? IA_OK : ia_nomem(err);
}

static void print_identity(X509 *leaf)
{
    struct ia_identity id;
    const char *name;
    ia_identity_read(leaf, &id);
    for (size_t i = 0; (name = ia_identity_name(i)) != NULL; i++) {
        const char *why = NULL, *value = ia_identity_get(&id, name, &why);
        if (value)
            printf("%s=%s\n", name, value);
        else
            printf("%s unset: %s\n", name, why);
    }
}

static int print_decision(const struct inputs *in, const struct ia_chain *chain)
{
    if (chain->reason != IA_R_NONE) {
        printf("deny: %s %s\n", ia_reason_name(chain->reason), chain->detail);
        return IA_EXIT_DENY;
    }
    size_t ca = (size_t)chain->ca_id - 1;
    printf("allow ca=%s subject=%s\n", in->cas.files[ca], ia_cert_info(in->cas.items[ca])->subject);
    print_identity(ia_cert_x509(in->chain.items[0]));
    return IA_EXIT_ALLOW;
}

static void free_crl(struct ia_crl_spec *spec)
{
    ia_crl_free(spec->crl);
    free((char *)spec->pem);
    free(spec);
}

static void clear(struct inputs *in)
{
    for (size_t i = 0; i < in->cas.n; i++)
        ia_cert_free(in->cas.items[i]);
    for (size_t i = 0; i < in->crls.n; i++)
        free_crl(in->crls.items[i]);
    for (size_t i = 0; i < in->chain.n; i++)
        ia_cert_free(in->chain.items[i]);
}

int ia_check_chain(const struct ia_call *call)
{
    static struct inputs in; /* too large for the stack */
    struct ia_err err = {0};
    struct ia_chain chain = {.reason = IA_R_INTERNAL};
    int status;
    in.call = call;
    if (read_inputs(&in, &err) != IA_OK || verify(&in, &chain, &err) != IA_OK)
        status = ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    else
        status = print_decision(&in, &chain);
    clear(&in);
    return status;
}
