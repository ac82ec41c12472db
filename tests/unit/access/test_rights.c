// SPDX-License-Identifier: ISC
/* Roles and variables of a session: what is missing or does not fit must never leave a DENY out. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

static struct ia_rights rights;

static struct ia_device *device_with(struct ia_texts roles, struct ia_texts attrs, const char *tenant)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.roles = roles;
    row.attrs = attrs;
    row.tenant = tenant;
    struct ia_device *device = ia_device_new(&row);
    ck_assert_ptr_nonnull(device);
    return device;
}

static void rule(int64_t rule_id, const char *role, bool allow, const char *filter)
{
    world.rules[world.n_rules++] = (struct ia_rule){.rule_id = rule_id,
                                                    .role = role,
                                                    .allow = allow,
                                                    .actions = IA_PUBLISH,
                                                    .topic_filter = filter,
                                                    .max_qos = 2,
                                                    .allow_retain = true};
}

/* May that device, of CA 1 and with that client id, publish there?  The rights are resolved for each call. */
static enum ia_verdict may(const struct ia_device *device, const char *client_id, const char *topic)
{
    struct ia_rights_holder who = {
        .ca = ia_ca_settings_find(world.core->snapshot->ca_settings, 1), .device = device, .client_id = client_id};
    struct ia_access access = {.action = IA_PUBLISH, .topic = topic};
    ia_rights_resolve(&rights, world.core->snapshot, &who);
    return ia_rights_check(&rights, world.core->snapshot, &access, NULL);
}

static void stop(struct ia_device *device)
{
    ia_device_free(device);
    ia_rights_clear(&rights);
    world_stop();
}

START_TEST(rights_has_the_roles_of_ca_and_device)
{
    static const char *const own[] = {"extra", "device"}; /* one of them twice over */
    world_rows();
    world.roles[world.n_roles++] = "extra";
    rule(10, "extra", true, "extra/#");
    world_start();
    struct ia_device *device = device_with((struct ia_texts){own, 2}, (struct ia_texts){0}, NULL);
    ck_assert_int_eq(may(device, "c", "extra/x"), IA_ALLOW);
    ck_assert_int_eq(may(device, "c", "devices/dev-1/x"), IA_ALLOW);
    ck_assert_uint_eq(rights.n_roles, 2);
    ck_assert_int_eq(may(device, "c", "other"), IA_NO_MATCH);
    stop(device);
}
END_TEST

/* Dropped a moment ago: it may have held a DENY. */
START_TEST(role_that_is_not_there_denies_all)
{
    static const char *const own[] = {"no-such-role"};
    world_start();
    struct ia_device *device = device_with((struct ia_texts){own, 1}, (struct ia_texts){0}, NULL);
    ck_assert_int_eq(may(device, "c", "devices/dev-1/x"), IA_DENY);
    ck_assert(rights.broken);
    stop(device);
}
END_TEST

START_TEST(no_role_allows_nothing)
{
    world_rows();
    world.cas[0].roles.n = 0;
    world_start();
    struct ia_device *device = device_with((struct ia_texts){0}, (struct ia_texts){0}, NULL);
    ck_assert_int_eq(may(device, "c", "devices/dev-1/x"), IA_NO_MATCH);
    stop(device);
}
END_TEST

/* Each variable of a rule, and the topic that it then stands for; NULL: unset. */
static const struct {
    const char *filter, *topic;
} variables[] = {
    {"v/${device_id}", "v/dev-1"}, {"v/${client_id}", "v/cid"}, {"v/${tenant}", "v/north"}, {"v/${ca}", "v/acme"},
    {"v/${attr.site}", "v/plant"}, {"v/${attr.none}", NULL},    {"v/${attr.wild}", NULL},   {"v/${attr.two}", NULL},
    {"v/${attr.empty}", NULL},     {"v/${attr.dollar}", NULL},  {"v/${app_id}", NULL},      {"v/${issuer}", NULL},
    {"v/${claim.sub}", NULL},
};

static const char *const attrs[] = {"site", "plant", "wild", "#", "two", "a/b", "empty", "", "dollar", "$SYS"};

START_TEST(variable_is_its_value_or_unset)
{
    static const char *const topics[] = {"v/dev-1", "v/cid", "v/north", "v/acme", "v/plant",
                                         "v/#",     "v/",    "v/$SYS",  "v/x"};
    world_rows();
    world.n_rules = 0;
    rule(1, "device", true, variables[_i].filter);
    world_start();
    struct ia_device *device = device_with((struct ia_texts){0}, (struct ia_texts){attrs, 10}, "north");
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        bool wanted = variables[_i].topic && strcmp(variables[_i].topic, topics[i]) == 0;
        ck_assert_msg((may(device, "cid", topics[i]) == IA_ALLOW) == wanted, "%s on %s", variables[_i].filter,
                      topics[i]);
    }
    stop(device);
}
END_TEST

/* An unset variable in a DENY matches any level there. */
START_TEST(unset_variable_in_a_deny_denies)
{
    world_rows();
    world.n_rules = 0;
    rule(1, "device", true, "v/#");
    rule(2, "device", false, "v/${attr.blocked}/x");
    world_start();
    struct ia_device *device = device_with((struct ia_texts){0}, (struct ia_texts){0}, NULL);
    ck_assert_int_eq(may(device, "c", "v/any/x"), IA_DENY);
    ck_assert_int_eq(may(device, "c", "v/any/y"), IA_ALLOW);
    stop(device);
}
END_TEST

/* v5 client ids may hold anything. */
START_TEST(client_id_that_is_no_value_counts_as_unset)
{
    world_rows();
    world.n_rules = 0;
    rule(1, "device", true, "v/${client_id}/#");
    world_start();
    struct ia_device *device = device_with((struct ia_texts){0}, (struct ia_texts){0}, NULL);
    static const char *const hostile[] = {"+", "#", "a/b", "$SYS", "", "a\nb", "\xFF"};
    ck_assert_int_eq(may(device, "c", "v/c/x"), IA_ALLOW);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        ck_assert_int_ne(may(device, hostile[i], "v/c/x"), IA_ALLOW);
        ck_assert_int_ne(may(device, hostile[i], "v/a/b/x"), IA_ALLOW);
    }
    ck_assert_int_ne(may(device, NULL, "v/c/x"), IA_ALLOW);
    stop(device);
}
END_TEST

START_TEST(rights_of_another_snapshot_deny)
{
    world_start();
    struct ia_device *device = device_with((struct ia_texts){0}, (struct ia_texts){0}, NULL);
    struct ia_rights_holder who = {.ca = ia_ca_settings_find(world.core->snapshot->ca_settings, 1), .device = device};
    struct ia_access access = {.action = IA_PUBLISH, .topic = "devices/dev-1/x"};
    ck_assert_int_eq(ia_rights_check(&rights, world.core->snapshot, &access, NULL), IA_DENY);
    ia_rights_resolve(&rights, world.core->snapshot, &who);
    ck_assert_uint_eq(rights.generation, world.core->snapshot->generation);
    ck_assert_int_eq(ia_rights_check(&rights, world.core->snapshot, &access, NULL), IA_ALLOW);
    world_snapshot();
    ia_replies_apply(world.core);
    ck_assert_int_eq(ia_rights_check(&rights, world.core->snapshot, &access, NULL), IA_DENY);
    who.ca = ia_ca_settings_find(world.core->snapshot->ca_settings, 1);
    ia_rights_resolve(&rights, world.core->snapshot, &who);
    ck_assert_int_eq(ia_rights_check(&rights, world.core->snapshot, &access, NULL), IA_ALLOW);
    stop(device);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, rights_has_the_roles_of_ca_and_device);
    tcase_add_test(c, role_that_is_not_there_denies_all);
    tcase_add_test(c, no_role_allows_nothing);
    tcase_add_loop_test(c, variable_is_its_value_or_unset, 0, (int)(sizeof variables / sizeof variables[0]));
    tcase_add_test(c, unset_variable_in_a_deny_denies);
    tcase_add_test(c, client_id_that_is_no_value_counts_as_unset);
    tcase_add_test(c, rights_of_another_snapshot_deny);
}

int main(void)
{
    return run_suite("rights", cases);
}
