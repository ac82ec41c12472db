// SPDX-License-Identifier: ISC
/* Policy decisions as text tables: runs every *.cases file in this directory; README.md describes their format.  A
 * failure prints file, line and text of the row. */
#include "acl/rule_text.h"
#include "common/str.h"

#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MAX 64
#define ROLES_MAX 8
#define VARS_MAX  16

/* The current case.  Its text is kept because the rules borrow from it. */
struct table {
    char file[256];
    int line;
    char row[1024];
    struct ia_rule rules[RULES_MAX];
    size_t n_rules;
    const char *roles[ROLES_MAX];
    size_t n_roles;
    char *vars[VARS_MAX]; /* NAME=VALUE */
    size_t n_vars;
    char *kept[RULES_MAX + ROLES_MAX + VARS_MAX];
    size_t n_kept;
    int expectations;
};

static glob_t files;

static char *keep(struct table *t, const char *text)
{
    char *copy = strdup(text);
    ck_assert(copy != NULL && t->n_kept < sizeof t->kept / sizeof t->kept[0]);
    return t->kept[t->n_kept++] = copy;
}

static void begin_case(struct table *t)
{
    for (size_t i = 0; i < t->n_kept; i++)
        free(t->kept[i]);
    t->n_kept = t->n_rules = t->n_vars = 0;
    t->roles[0] = "first";
    t->n_roles = 1;
}

static void add_rule(struct table *t, const char *row)
{
    struct ia_err err = {0};
    ck_assert(t->n_rules < RULES_MAX);
    struct ia_rule *rule = &t->rules[t->n_rules++];
    *rule = (struct ia_rule){.rule_id = (int64_t)t->n_rules, .role = t->roles[t->n_roles - 1]};
    ck_assert_msg(ia_rule_parse(keep(t, row), rule, &err) == IA_OK, "%s:%d: %s", t->file, t->line, err.msg);
}

static const char *value_of(const struct table *t, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < t->n_vars; i++)
        if (strncmp(t->vars[i], name, len) == 0 && t->vars[i][len] == '=')
            return t->vars[i] + len + 1;
    return NULL;
}

static enum ia_verdict decide(const struct table *t, const struct ia_access *access, int64_t *rule_id)
{
    struct ia_policy *policy = NULL;
    const struct ia_policy_spec spec = {
        .roles = t->roles, .n_roles = t->n_roles, .rules = t->rules, .n_rules = t->n_rules};
    ck_assert(ia_policy_build(&spec, NULL, &policy, NULL) == IA_OK);
    const char *const *names;
    const char *values[IA_POLICY_VARIABLES_MAX];
    const struct ia_role *roles[ROLES_MAX];
    size_t n = ia_policy_variables(policy, &names);
    for (size_t i = 0; i < n; i++)
        values[i] = value_of(t, names[i]);
    for (size_t i = 0; i < t->n_roles; i++)
        roles[i] = ia_policy_role(policy, t->roles[i]);
    struct ia_subject who = {.roles = roles, .n_roles = t->n_roles, .values = values};
    enum ia_verdict verdict = ia_policy_check(policy, &who, access, rule_id);
    ck_assert_msg(ia_policy_check(policy, &who, access, NULL) == verdict, "%s:%d: %s", t->file, t->line, t->row);
    ia_policy_free(policy);
    return verdict;
}

/* `allow|deny|nothing ACTION TOPIC [qos=N] [retain=yes] [by=RULE]`; a topic with spaces stands in double quotes. */
static void expect(struct table *t, char *row)
{
    char want[16], action[16], topic[512];
    int used = 0;
    if (sscanf(row, "%15s %15s \"%511[^\"]\"%n", want, action, topic, &used) != 3)
        ck_assert_msg(sscanf(row, "%15s %15s %511s%n", want, action, topic, &used) == 3, "%s:%d: %s", t->file, t->line,
                      t->row);
    struct ia_access access = {.action = (enum ia_action)ia_action_from_name(action), .topic = topic};
    int64_t by = -1, rule_id = -2;
    char *rest = NULL;
    for (char *word = strtok_r(row + used, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        int qos;
        if (sscanf(word, "qos=%d", &qos) == 1)
            access.qos = (uint8_t)qos;
        else if (strcmp(word, "retain=yes") == 0)
            access.retain = true;
        else
            ck_assert_msg(sscanf(word, "by=%ld", &by) == 1, "%s:%d: '%s'?", t->file, t->line, word);
    }
    static const char *const words[] = {[IA_DENY] = "deny", [IA_NO_MATCH] = "nothing", [IA_ALLOW] = "allow"};
    enum ia_verdict got = decide(t, &access, &rule_id);
    ck_assert_msg(strcmp(words[got], want) == 0, "%s:%d: %s: got %s by rule %ld", t->file, t->line, t->row, words[got],
                  rule_id);
    ck_assert_msg(by == -1 || by == rule_id, "%s:%d: %s: by rule %ld", t->file, t->line, t->row, rule_id);
    t->expectations++;
}

static void read_row(struct table *t, char *row)
{
    if (row[0] == '\0' || row[0] == '#')
        return;
    if (strncmp(row, "case ", 5) == 0)
        begin_case(t);
    else if (strncmp(row, "role ", 5) == 0)
        t->roles[t->n_rules ? t->n_roles++ : 0] = keep(t, row + 5);
    else if (strncmp(row, "set ", 4) == 0)
        t->vars[t->n_vars++] = keep(t, row + 4);
    else if (strncmp(row, "ALLOW ", 6) == 0 || strncmp(row, "DENY ", 5) == 0)
        add_rule(t, row);
    else
        expect(t, row);
    ck_assert(t->n_roles <= ROLES_MAX && t->n_vars <= VARS_MAX);
}

START_TEST(policy_table_decides_as_written)
{
    struct table t = {0};
    (void)snprintf(t.file, sizeof t.file, "%s", files.gl_pathv[_i]);
    begin_case(&t);
    FILE *in = fopen(t.file, "r");
    ck_assert(in != NULL);
    while (fgets(t.row, sizeof t.row, in)) {
        char row[sizeof t.row];
        t.line++;
        t.row[strcspn(t.row, "\n")] = '\0';
        memcpy(row, t.row, sizeof row);
        read_row(&t, row);
    }
    (void)fclose(in);
    begin_case(&t);
    ck_assert_msg(t.expectations > 0, "%s expects nothing", t.file);
}
END_TEST

int main(void)
{
    if (glob(IA_SOURCE_DIR "/tests/unit/acl/*.cases", 0, NULL, &files) != 0)
        return EXIT_FAILURE;
    Suite *s = suite_create("policy_cases");
    TCase *c = tcase_create("policy_cases");
    tcase_add_loop_test(c, policy_table_decides_as_written, 0, (int)files.gl_pathc);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    globfree(&files);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
