// SPDX-License-Identifier: ISC
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"
#include "x509/chain.h"

#include <check.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Registered CAs (as in pki_set), the leaf, what the device sent beside it, the reason, and every registered CA that
 * counts, the one that the chain ended in first ("" where it did not get to one). */
static const struct {
    const char *label, *registered, *leaf, *sent, *reason, *cas;
} rows[] = {
    {"leaf of a registered intermediate, which was sent too", "inter", "leaf", "leaf inter", "", "1"},
    {"nothing sent beside the leaf", "inter", "leaf", "", "", "1"},
    {"leaf of a registered root", "root", "leaf_of_root", "", "", "1"},
    {"the parent counts as well", "root inter", "leaf", "inter root", "", "2 1"},
    {"unregistered intermediate in between", "root", "leaf", "inter", "", "1"},
    {"two of them, in any order", "root", "leaf_of_sub", "inter sub leaf_of_sub", "", "1"},
    {"the nearest registered CA wins", "root inter sub", "leaf_of_sub", "sub inter root", "", "3 2 1"},
    {"the nearest, where one below it is not registered", "root inter", "leaf_of_sub", "sub inter", "", "2 1"},
    {"intermediate not sent", "root", "leaf", "", "ca_unknown", ""},
    {"unrelated certificates sent", "root", "leaf", "root2 rsa_root inter d1", "", "1"},
    {"no CA registered", "", "leaf", "inter root", "ca_unknown", ""},
    {"another CA registered", "root2", "leaf", "inter root", "ca_unknown", ""},
    {"seven certificates under the anchor", "root", "leaf_of_d6", "d1 d2 d3 d4 d5 d6", "", "1"},
    {"eight: longer than the search goes", "root", "leaf_of_d7", "d1 d2 d3 d4 d5 d6 d7", "ca_unknown", ""},
    {"eight CAs registered on and above", "root d1 d2 d3 d4 d5 d6 d7", "leaf_of_d7", "", "", "8 7 6 5 4 3 2 1"},
    {"nine CAs registered on and above", "root d1 d2 d3 d4 d5 d6 d7 d8", "leaf_of_d8", "", "", "9 8 7 6 5 4 3 2 1"},
    /* keys */
    {"RSA leaf and CA", "rsa_root", "rsa_leaf", "", "", "1"},
    {"Ed25519 leaf and CA", "ed_root", "ed_leaf", "", "", "1"},
    {"Ed25519 leaf, RSA CA", "rsa_root", "ed_leaf_of_rsa", "", "", "1"},
    {"RSA leaf, Ed25519 CA", "ed_root", "rsa_leaf_of_ed", "", "", "1"},
    {"P-384 leaf with SHA-384", "root", "p384_leaf", "", "", "1"},
    /* leaves */
    {"no extensions at all", "root", "plain_leaf", "", "", "1"},
    {"version 1", "root", "v1_leaf", "", "", "1"},
    {"no extended key usage", "root", "ku_only_leaf", "", "", "1"},
    {"serverAuth and clientAuth", "root", "both_eku_leaf", "", "", "1"},
    {"serverAuth only", "root", "server_leaf", "", "certificate_unfit", "1"},
    {"anyExtendedKeyUsage does not list clientAuth", "root", "any_eku_leaf", "", "certificate_unfit", "1"},
    {"keyEncipherment only", "root", "encipher_leaf", "", "certificate_unfit", "1"},
    {"keyAgreement only", "root", "agreement_leaf", "", "certificate_unfit", "1"},
    {"a CA as device", "root", "ca_leaf", "", "certificate_unfit", "1"},
    {"may sign certificates", "root", "certsign_leaf", "", "certificate_unfit", "1"},
    {"unknown critical extension", "root", "critical_leaf", "", "certificate_unfit", "1"},
    {"critical policies: known, and no policy is asked for", "root", "policy_leaf", "", "", "1"},
    {"proxy certificate", "root", "proxy_leaf", "", "certificate_unfit", ""},
    {"signed with SHA-1", "root", "sha1_leaf", "", "certificate_unfit", "1"},
    {"RSA of 1024 bits", "root", "rsa1024_leaf", "", "certificate_unfit", "1"},
    {"expired", "root", "expired_leaf", "", "certificate_expired", "1"},
    {"not yet valid", "root", "future_leaf", "", "certificate_expired", "1"},
    {"in the first second of its validity", "root", "first_second_leaf", "", "", "1"},
    {"in the last second of its validity (RFC 5280 4.1.2.5: inclusive)", "root", "last_second_leaf", "", "", "1"},
    {"in the last second of its CA's validity", "last_second_root", "leaf_of_last", "", "", "1"},
    {"signed itself", "root", "self_leaf", "self_leaf", "certificate_unfit", ""},
    {"empty subject", "root", "nameless_leaf", "", "", "1"},
    {"the registered CA itself as device", "root", "root", "", "certificate_unfit", ""},
    {"a registered intermediate itself as device", "root inter", "inter", "", "certificate_unfit", "1"},
    {"an end entity with a registered CA's name and key", "root inter", "root_key_leaf", "", "certificate_unfit",
     "2 1"},
    /* signatures that are not what they claim */
    {"forged: the registered CA's name and key identifier", "root", "forged_leaf", "", "chain_invalid", ""},
    {"forged, and the real CA sent", "root", "forged_leaf", "root", "chain_invalid", ""},
    {"forged without key identifiers", "root", "forged_leaf_no_ids", "", "chain_invalid", ""},
    {"another root of that name, with its own key identifier", "root", "leaf_of_fake", "fake_root", "ca_unknown", ""},
    {"another root of that name, without", "roll_a", "leaf_of_fake_roll", "fake_roll", "chain_invalid", ""},
    /* CAs that may not */
    {"expired CA", "old_root", "leaf_of_old", "", "certificate_expired", "1"},
    {"CA not yet valid", "next_root", "leaf_of_next", "", "certificate_expired", "1"},
    {"expired intermediate in between", "root", "leaf_of_expired", "expired_inter", "certificate_expired", "1"},
    {"intermediate that is no CA", "root", "leaf_of_no_ca", "no_ca", "chain_invalid", ""},
    {"registered, but no CA", "no_ca", "leaf_of_no_ca", "", "ca_unknown", ""},
    {"registered CA of version 1", "v1_ca", "leaf_of_v1", "", "chain_invalid", "1"},
    {"registered CA without keyCertSign", "no_sign_ca", "leaf_of_no_sign", "", "ca_unknown", ""},
    {"registered CA for servers only", "server_ca", "leaf_of_server", "", "chain_invalid", "1"},
    {"registered CA for any extended key usage", "any_eku_ca", "leaf_of_any_eku", "", "", "1"},
    {"intermediate for any extended key usage", "root", "leaf_of_any_eku", "any_eku_ca", "", "1"},
    {"intermediate for servers only", "root", "leaf_of_server", "server_ca", "chain_invalid", "1"},
    {"registered CA with an unknown critical extension", "critical_ca", "leaf_of_critical", "", "chain_invalid", "1"},
    {"intermediate with an unknown critical extension", "root", "leaf_of_critical", "critical_ca", "chain_invalid",
     "1"},
    {"intermediate signed with SHA-1", "root", "leaf_of_sha1", "sha1_inter", "chain_invalid", "1"},
    {"registered CA signed with SHA-1: an anchor's signature is no part of the path", "sha1_inter", "leaf_of_sha1", "",
     "", "1"},
    {"registered root signed with SHA-1", "sha1_root", "leaf_of_sha1_root", "", "", "1"},
    {"leaf signed with SHA-1 below it", "sha1_root", "sha1_leaf_of_sha1_root", "", "certificate_unfit", "1"},
    {"registered CA with RSA of 1024 bits", "rsa1024_ca", "leaf_of_rsa1024", "", "chain_invalid", "1"},
    {"intermediate with RSA of 1024 bits", "root", "leaf_of_rsa1024_inter", "rsa1024_inter", "chain_invalid", "1"},
    /* constraints */
    {"path length 0, leaf below", "pathlen0", "leaf_of_pathlen0", "", "", "1"},
    {"path length 0, a CA in between", "pathlen0", "leaf_too_deep", "sub_of_pathlen0", "chain_invalid", "1"},
    {"that CA registered: the constraint is above it", "sub_of_pathlen0", "leaf_too_deep", "", "", "1"},
    {"permitted name", "permits_acme", "leaf_in_acme", "", "", "1"},
    {"name not permitted", "permits_acme", "leaf_outside", "", "chain_invalid", "1"},
    {"name not permitted, two steps above", "permits_acme", "leaf_outside_deep", "sub_of_acme", "chain_invalid", "1"},
    {"excluded name, constraint in an intermediate", "root", "leaf_evil", "excludes_evil", "chain_invalid", "1"},
    {"a common name like a host is no dNSName", "permits_acme", "host_leaf_of_acme", "", "", "1"},
    {"nor is an excluded one", "root", "host_leaf_evil", "excludes_evil", "", "1"},
    {"a dNSName beside it is bound", "permits_acme", "host_leaf_with_san", "", "chain_invalid", "1"},
    /* CAs of one name */
    {"roll-over: first", "roll_a roll_b", "leaf_a", "", "", "1"},
    {"roll-over: second", "roll_a roll_b", "leaf_b", "", "", "2"},
    {"roll-over: second, with the wrong twin sent", "roll_a roll_b", "leaf_b", "roll_a roll_b", "", "2"},
    {"roll-over: another kind of key", "roll_a roll_b roll_c", "leaf_c", "", "", "3"},
    {"roll-over: the leaf's is not registered", "roll_a roll_c", "leaf_b", "", "chain_invalid", ""},
    {"roll-over: the leaf's is not registered but sent", "roll_a roll_c", "leaf_b", "roll_b", "chain_invalid", ""},
    {"new with old: the new key vouched for by the old", "old_key", "leaf_of_new_key", "new_with_old", "", "1"},
    {"new with old, registered both", "old_key new_with_old", "leaf_of_new_key", "", "", "2 1"},
    {"new with old, and the new root sent too", "old_key", "leaf_of_new_key", "new_key new_with_old", "", "1"},
    {"new with old without key identifiers: OpenSSL takes it for a root", "roll_a", "leaf_b", "roll_b_by_a",
     "chain_invalid", ""},
    {"a fake of that name sent first", "roll_a roll_b", "leaf_b", "fake_roll fake_root", "", "2"},
    {"intermediates of one name, the wrong one first", "root", "leaf_mid_b", "mid_a mid_b", "", "1"},
    {"intermediates of one name, the right one registered", "root mid_b", "leaf_mid_b", "mid_a mid_b", "", "2 1"},
    {"intermediates of one name, the wrong one registered", "root mid_a", "leaf_mid_b", "mid_a mid_b", "", "1"},
    {"one intermediate in two certificates, the expired one first", "root", "leaf", "inter_expired inter_renewed", "",
     "1"},
    /* statuses */
    {"disabled CA", "-inter", "leaf", "", "ca_inactive", "1"},
    {"disabled CA, its active parent registered too", "root -inter", "leaf", "inter root", "ca_inactive", "2"},
    {"disabled parent", "-root inter", "leaf", "", "ca_inactive", "2"},
    {"disabled grandparent, the parent registered", "-root inter sub", "leaf_of_sub", "", "ca_inactive", "3"},
    {"disabled root above an unregistered intermediate", "-root", "leaf", "inter", "ca_inactive", "1"},
    {"disabled CA of the same name, but another key", "-roll_a roll_b", "leaf_b", "", "", "2"},
    {"disabled CA that is not above", "inter -root2", "leaf", "", "", "1"},
    {"expired leaf of a disabled CA: the CA is what matters", "-root", "expired_leaf", "", "ca_inactive", "1"},
    {"forged leaf of a disabled CA is no event of that CA", "-root", "forged_leaf", "", "chain_invalid", ""},
    /* twins: one subject and key in several certificates */
    {"disabled CA, re-certified by another, which is sent", "root2 -inter", "leaf", "inter_by_root2", "ca_inactive",
     "2"},
    {"disabled CA, re-certified, the twin registered", "-inter inter_by_root2", "leaf", "", "ca_inactive", ""},
    {"the same, registered the other way round", "inter_by_root2 -inter", "leaf", "", "ca_inactive", ""},
    {"disabled CA, back under its name in capitals with another key identifier", "root2 -inter", "leaf_of_other_case",
     "inter_other_case", "ca_inactive", "1"},
    {"an RSA key with an octet too many behind it is taken", "root2", "leaf_of_loose", "rsa_by_root2", "", "1"},
    {"disabled CA, back with its RSA key so encoded", "root2 -rsa_root", "leaf_of_loose", "rsa_by_root2", "ca_inactive",
     "1"},
    {"the same, the twin registered", "rsa_by_root2 -rsa_root", "leaf_of_loose", "", "ca_inactive", "1"},
    {"disabled twin of a registered parent", "-root_by_root2 root inter", "leaf", "", "ca_inactive", "3"},
    {"renewed CA: the old one expired", "inter_expired inter_renewed", "leaf", "", "", "2 1"},
    {"renewed CA: the old one expired, other order", "inter_renewed inter_expired", "leaf", "", "", "1 2"},
    {"expired CA, renewed but only sent: the nearest registered counts", "root inter_expired", "leaf", "inter_renewed",
     "certificate_expired", "2 1"},
    {"cross-certified roots, no loop", "root_by_root2 root2_by_root", "leaf_of_root2", "", "", "2 1"},
    {"cross-certified roots, one disabled", "-root_by_root2 root2_by_root", "leaf_of_root2", "", "ca_inactive", "2"},
    /* CRLs */
    {"revoked", "inter+revokes_leaf", "leaf", "", "certificate_revoked", "1"},
    {"revoked, the older empty list does not help", "inter+empty+revokes_leaf", "leaf", "", "certificate_revoked", "1"},
    {"revoked, in the other order", "inter+revokes_leaf+empty", "leaf", "", "certificate_revoked", "1"},
    {"a newer list no longer has it", "inter+newer_empty+revokes_leaf", "leaf", "", "", "1"},
    {"another serial number revoked", "inter+other", "leaf", "", "", "1"},
    {"unnumbered lists: the later one counts", "inter+unnumbered+unnumbered_newer", "leaf", "", "", "1"},
    {"unnumbered list", "inter+unnumbered", "leaf", "", "certificate_revoked", "1"},
    {"stale list goes on being used", "inter+stale", "leaf", "", "certificate_revoked", "1"},
    {"list of the future is used", "inter+early", "leaf", "", "certificate_revoked", "1"},
    {"list without nextUpdate", "inter+no_next", "leaf", "", "certificate_revoked", "1"},
    {"forged list does not replace the good one", "inter+forged+revokes_leaf", "leaf", "", "certificate_revoked", "1"},
    {"on hold is revoked", "inter+held", "leaf", "", "certificate_revoked", "1"},
    {"removeFromCRL is not", "inter+removed", "leaf", "", "", "1"},
    {"indirect list does not replace the good one", "inter+indirect+revokes_leaf", "leaf", "", "certificate_revoked",
     "1"},
    {"list of attribute certificates likewise", "inter+attributes+revokes_leaf", "leaf", "", "certificate_revoked",
     "1"},
    {"delta list likewise", "inter+delta+revokes_leaf", "leaf", "", "certificate_revoked", "1"},
    {"unknown critical extension likewise", "inter+critical+revokes_leaf", "leaf", "", "certificate_revoked", "1"},
    {"list of another CA", "inter+of_root", "leaf", "", "", "1"},
    {"one list a scope: users only", "inter+users_only+newer_empty", "leaf", "", "certificate_revoked", "1"},
    {"list registered with the CA's twin", "inter_renewed+revokes_leaf inter", "leaf", "", "certificate_revoked",
     "1 2"},
    {"CA of the same name: its list is not this one's", "roll_a+of_roll_a roll_b", "leaf_b", "", "", "2"},
    {"intermediate revoked by its registered parent", "root+of_root inter", "leaf", "", "certificate_revoked", "2 1"},
    {"two steps above", "root+of_root inter sub", "leaf_of_sub", "", "certificate_revoked", "3 2 1"},
    {"unregistered intermediate revoked", "root+of_root", "leaf", "inter", "certificate_revoked", "1"},
    {"revoked and re-issued: another serial number", "root+of_root inter_renewed", "leaf", "", "", "2 1"},
    {"a revoked twin beside a good one", "root+of_root inter inter_renewed", "leaf", "", "", "3 1 2"},
    {"disabled and revoked: disabled is told", "-inter+revokes_leaf", "leaf", "", "ca_inactive", "1"},
};

static void cas_text(const struct ia_chain *chain, char out[64])
{
    out[0] = '\0';
    for (size_t i = 0; i < chain->n_cas; i++) {
        size_t used = strlen(out);
        (void)snprintf(out + used, 64 - used, "%s%" PRId64, i ? " " : "", chain->cas[i]);
    }
}

/* For a refusal it is the CA that the chain ended in that matters; which others were counted until then does not. */
static void check_cas(size_t row, const struct ia_chain *chain)
{
    char text[64], expected_first[64];
    cas_text(chain, text);
    if (chain->reason == IA_R_NONE) {
        ck_assert_msg(strcmp(text, rows[row].cas) == 0, "%s: CAs '%s'", rows[row].label, text);
        ck_assert_int_eq(chain->ca_id, chain->cas[0]);
        return;
    }
    (void)snprintf(expected_first, sizeof expected_first, "%d", atoi(rows[row].cas));
    (void)snprintf(text, sizeof text, "%" PRId64, chain->ca_id);
    if (rows[row].cas[0] != '\0' || chain->reason == IA_R_CA_UNKNOWN)
        ck_assert_msg(strcmp(text, expected_first) == 0, "%s: ended in %s", rows[row].label, text);
}

START_TEST(chain_rows_decide_as_listed)
{
    size_t i = (size_t)_i;
    struct ia_ca_set *set = pki_set(rows[i].registered, MC_NOW);
    STACK_OF(X509) *sent = pki_stack(rows[i].sent);
    struct ia_chain chain;
    ia_chain_verify(set, pki_cert(rows[i].leaf), sent, MC_NOW, &chain);
    const char *reason = ia_reason_name(chain.reason);
    ck_assert_msg(strcmp(reason, rows[i].reason) == 0, "%s: '%s' (%s)", rows[i].label, reason, chain.detail);
    ck_assert_msg((chain.x509_error == X509_V_OK) == (chain.reason == IA_R_NONE), "%s: alert", rows[i].label);
    ck_assert_msg((chain.detail[0] == '\0') == (chain.reason == IA_R_NONE), "%s: detail", rows[i].label);
    check_cas(i, &chain);
    ck_assert_msg(ERR_peek_error() == 0, "%s: left in the error queue", rows[i].label);
    sk_X509_free(sent);
    ia_ca_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain");
    TCase *c = tcase_create("verify");
    tcase_add_loop_test(c, chain_rows_decide_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
