// SPDX-License-Identifier: ISC
#include "jitr/device.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *const roles[] = {"device", "pump"};
static const char *const attrs[] = {"site", "north", "line", "7"};

static struct ia_device_row row_of(const char *id)
{
    struct ia_device_row row = {.device_id = id,
                                .device_status = IA_DEVICE_ACTIVE,
                                .certificate_status = IA_CERT_ACTIVE,
                                .certificate_ca_id = 3,
                                .device_ca_id = 3,
                                .tenant = "acme",
                                .not_after = 1000,
                                .attrs = {.items = attrs, .n = 4},
                                .roles = {.items = roles, .n = 2}};
    memset(row.fingerprint, 7, sizeof row.fingerprint);
    return row;
}

START_TEST(device_keeps_what_its_row_says)
{
    struct ia_device_row row = row_of("pump-1");
    struct ia_device *d = ia_device_new(&row);
    ck_assert_str_eq(ia_device_id(d), "pump-1");
    ck_assert_str_eq(ia_device_tenant(d), "acme");
    const char *first = ia_device_role(d, NULL), *second = ia_device_role(d, first);
    ck_assert_str_eq(first, "device");
    ck_assert_str_eq(second, "pump");
    ck_assert_ptr_null(ia_device_role(d, second));
    ck_assert_str_eq(ia_device_attr(d, "site"), "north");
    ck_assert_str_eq(ia_device_attr(d, "line"), "7");
    ck_assert_ptr_null(ia_device_attr(d, "north")); /* a value is not a name */
    ia_device_free(d);
}
END_TEST

START_TEST(device_without_extras_has_none)
{
    struct ia_device_row row = row_of("pump-1");
    row.tenant = NULL;
    row.roles.n = row.attrs.n = 0;
    struct ia_device *d = ia_device_new(&row);
    ck_assert_ptr_null(ia_device_tenant(d));
    ck_assert_ptr_null(ia_device_role(d, NULL));
    ck_assert_ptr_null(ia_device_attr(d, "site"));
    ia_device_free(d);
}
END_TEST

/* One device with 700 attributes once stopped the worker: no revocation arrived any more. */
START_TEST(device_too_large_to_keep_is_marked_and_has_nothing)
{
    struct ia_device_row row = row_of("pump-1");
    char *large = calloc(1, IA_DEVICE_LISTS_MAX + 2);
    memset(large, 'x', IA_DEVICE_LISTS_MAX + 1);
    const char *const list[] = {large};
    row.roles = (struct ia_texts){.items = list, .n = 1};
    struct ia_device *d = ia_device_new(&row);
    ck_assert_ptr_nonnull(ia_device_fault(d));
    ck_assert_str_eq(ia_device_id(d), "pump-1");
    ck_assert_ptr_null(ia_device_role(d, NULL));
    ck_assert_ptr_null(ia_device_attr(d, "site"));
    ia_device_free(d);
    row.device_id = large;
    d = ia_device_new(&row);
    ck_assert_ptr_nonnull(ia_device_fault(d));
    ck_assert_str_ne(ia_device_id(d), "pump-1");
    ia_device_free(d);
    free(large);
}
END_TEST

/* What the server or the decoder found: the device is refused, and its record says why. */
START_TEST(device_with_a_fault_has_nothing_but_the_fault)
{
    static const char *const list[] = {"a", "b"};
    struct ia_device_row row = row_of("pump-1");
    row.attrs = (struct ia_texts){.items = list, .n = 2};
    struct ia_device *sound = ia_device_new(&row);
    ck_assert_ptr_null(ia_device_fault(sound));
    row.fault = "column attrs is malformed";
    struct ia_device *d = ia_device_new(&row);
    ck_assert_str_eq(ia_device_fault(d), "column attrs is malformed");
    ck_assert_ptr_null(ia_device_attr(d, "a"));
    ck_assert(!ia_device_equal(sound, d));
    row.fault = "column roles is malformed";
    struct ia_device *other = ia_device_new(&row);
    ck_assert(!ia_device_equal(other, d));
    ia_device_free(other);
    ia_device_free(d);
    ia_device_free(sound);
}
END_TEST

START_TEST(device_differs_in_any_part)
{
    struct ia_device_row row = row_of("pump-1"), other = row_of("pump-1");
    struct ia_device *d = ia_device_new(&row), *same = ia_device_new(&row);
    same->resync_epoch = 9; /* marks do not count */
    ck_assert(ia_device_equal(d, same));
    switch (_i) {
    case 0:
        other.device_status = IA_DEVICE_REVOKED;
        break;
    case 1:
        other.certificate_status = IA_CERT_INACTIVE;
        break;
    case 2:
        other.tenant = "acne";
        break;
    case 3:
        other.roles.n = 1;
        break;
    case 4:
        other.attrs.n = 2;
        break;
    case 5:
        other.device_id = "pump-2";
        break;
    case 6:
        other.not_after = 2000;
        break;
    case 7:
        other.tenant = NULL;
        break;
    default:
        other.certificate_ca_id = 4;
    }
    struct ia_device *changed = ia_device_new(&other);
    ck_assert_msg(!ia_device_equal(d, changed), "row %d", _i);
    ia_device_free(d);
    ia_device_free(same);
    ia_device_free(changed);
}
END_TEST

START_TEST(device_lives_until_its_last_reference)
{
    struct ia_device_row row = row_of("pump-1");
    struct ia_device *d = ia_device_new(&row);
    ia_device_ref(d);
    ia_device_free(d);
    ck_assert_str_eq(ia_device_id(d), "pump-1");
    ia_device_free(d);
    ia_device_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("device");
    TCase *c = tcase_create("device");
    tcase_add_test(c, device_keeps_what_its_row_says);
    tcase_add_test(c, device_without_extras_has_none);
    tcase_add_test(c, device_with_a_fault_has_nothing_but_the_fault);
    tcase_add_test(c, device_too_large_to_keep_is_marked_and_has_nothing);
    tcase_add_loop_test(c, device_differs_in_any_part, 0, 9);
    tcase_add_test(c, device_lives_until_its_last_reference);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
