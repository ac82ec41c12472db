// SPDX-License-Identifier: ISC
/* The table of admission: printed, and compared with docs/decisions.md; and what holds in every context. */
#include "access/admission.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

#define TABLE_MAX 8192

static size_t append_text(char *out, size_t used, const char *text)
{
    int n = snprintf(out + used, TABLE_MAX - used, "%s", text);
    ck_assert(n >= 0 && used + (size_t)n < TABLE_MAX);
    return used + (size_t)n;
}

/* The table as Markdown. */
static void print_table(char *out)
{
    size_t used = append_text(out, 0, "| step |");
    for (enum ia_admission_context c = IA_ADMIT_DEVICE; c < IA_ADMISSION_CONTEXTS; c++) {
        used = append_text(out, used, " ");
        used = append_text(out, used, ia_admission_context_name(c));
        used = append_text(out, used, " |");
    }
    used = append_text(out, used, "\n| --- |");
    for (enum ia_admission_context c = IA_ADMIT_DEVICE; c < IA_ADMISSION_CONTEXTS; c++)
        used = append_text(out, used, " --- |");
    used = append_text(out, used, "\n");
    for (size_t i = 0; ia_admission_step_name(i); i++) {
        used = append_text(out, used, "| ");
        used = append_text(out, used, ia_admission_step_name(i));
        used = append_text(out, used, " |");
        for (enum ia_admission_context c = IA_ADMIT_DEVICE; c < IA_ADMISSION_CONTEXTS; c++)
            used = append_text(out, used, ia_admission_step_applies(i, c) ? " x |" : " |");
        used = append_text(out, used, "\n");
    }
}

START_TEST(table_is_what_the_documentation_shows)
{
    static char page[65536], table[TABLE_MAX];
    FILE *in = fopen(IA_SOURCE_DIR "/docs/decisions.md", "rbe");
    ck_assert_ptr_nonnull(in);
    page[fread(page, 1, sizeof page - 1, in)] = '\0';
    (void)fclose(in);
    const char *begin = strstr(page, "<!-- admission table -->\n"),
               *end = strstr(page, "<!-- end of the admission table -->");
    ck_assert(begin && end);
    begin += strlen("<!-- admission table -->\n");
    print_table(table);
    ck_assert_msg(strlen(table) == (size_t)(end - begin) && memcmp(table, begin, strlen(table)) == 0,
                  "docs/decisions.md differs from the table in access/admission.c, which is:\n%s", table);
}
END_TEST

static size_t step_at(const char *name)
{
    for (size_t i = 0; ia_admission_step_name(i); i++)
        if (strcmp(ia_admission_step_name(i), name) == 0)
            return i;
    ck_abort_msg("no step %s", name);
}

/* DESIGN section 5: what needs no database comes first. */
START_TEST(only_status_and_addresses_of_the_device_follow_the_question_to_the_database)
{
    static const char *const after[] = {"device status", "device address"};
    size_t at = step_at("device record");
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++)
        ck_assert_str_eq(ia_admission_step_name(at + 1 + i), after[i]);
    ck_assert_ptr_null(ia_admission_step_name(at + 3));
}
END_TEST

START_TEST(zeroed_facts_are_refused_in_every_context)
{
    struct ia_admission a = {.context = (enum ia_admission_context)_i};
    ck_assert_int_eq(ia_admission_decide(&a), IA_R_REGISTRY_UNAVAILABLE);
}
END_TEST

START_TEST(every_context_has_steps_and_every_step_a_context)
{
    for (size_t i = 0; ia_admission_step_name(i); i++) {
        unsigned n = 0;
        for (enum ia_admission_context c = IA_ADMIT_DEVICE; c < IA_ADMISSION_CONTEXTS; c++)
            n += ia_admission_step_applies(i, c);
        ck_assert_msg(n > 0, "%s", ia_admission_step_name(i));
    }
    ck_assert_str_eq(ia_admission_context_name(IA_ADMISSION_CONTEXTS), "");
    ck_assert(!ia_admission_step_applies(1000, IA_ADMIT_DEVICE));
}
END_TEST

START_TEST(reserved_name_is_no_ones_exactly)
{
    static const char *const names[] = {"root", "admin", "ops"};
    struct ia_reserved_names *reserved = NULL;
    struct ia_err err = {0};
    ck_assert_int_eq(ia_reserved_build(names, 3, &reserved, &err), IA_OK);
    for (size_t i = 0; i < 3; i++)
        ck_assert(ia_reserved_has(reserved, names[i]));
    ck_assert(!ia_reserved_has(reserved, "Admin") && !ia_reserved_has(reserved, "admin2"));
    ck_assert(!ia_reserved_has(reserved, NULL) && !ia_reserved_has(NULL, "admin"));
    ia_reserved_free(ia_reserved_ref(reserved));
    ck_assert(ia_reserved_has(reserved, "ops"));
    ia_reserved_free(reserved);
}
END_TEST

static void admission_cases(TCase *c)
{
    tcase_add_test(c, table_is_what_the_documentation_shows);
    tcase_add_test(c, only_status_and_addresses_of_the_device_follow_the_question_to_the_database);
    tcase_add_loop_test(c, zeroed_facts_are_refused_in_every_context, 0, IA_ADMISSION_CONTEXTS);
    tcase_add_test(c, reserved_name_is_no_ones_exactly);
    tcase_add_test(c, every_context_has_steps_and_every_step_a_context);
}

int main(void)
{
    return run_suite("admission", admission_cases);
}
