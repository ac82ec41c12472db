// SPDX-License-Identifier: ISC
#include "jitr/device_cache.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fingerprint_of(unsigned n, uint8_t out[32])
{
    memset(out, 0, 32);
    uint32_t mixed = n * 2654435761u;
    memcpy(out, &mixed, sizeof mixed);
    memcpy(out + 8, &n, sizeof n);
}

static struct ia_device *device(unsigned n, const char *id)
{
    struct ia_device_row row = {.device_id = id, .device_status = IA_DEVICE_ACTIVE};
    fingerprint_of(n, row.fingerprint);
    return ia_device_new(&row);
}

static struct ia_device *find(struct ia_device_cache *cache, unsigned n)
{
    uint8_t fingerprint[32];
    fingerprint_of(n, fingerprint);
    return ia_device_cache_find(cache, fingerprint);
}

static bool put(struct ia_device_cache *cache, unsigned n)
{
    char id[32];
    (void)snprintf(id, sizeof id, "device-%u", n);
    return ia_device_cache_put(cache, device(n, id));
}

static bool count(void *ctx, struct ia_device *d)
{
    (void)d;
    ++*(int *)ctx;
    return true;
}

static int records_of(struct ia_device_cache *cache, const char *id)
{
    int n = 0;
    ia_device_cache_each(cache, id, count, &n);
    return n;
}

START_TEST(cache_finds_what_was_put_by_both_keys)
{
    struct ia_device_cache *cache = ia_device_cache_new(100000);
    for (unsigned n = 0; n < 20000; n++)
        ck_assert(put(cache, n));
    ck_assert_uint_eq(ia_device_cache_count(cache), 20000);
    for (unsigned n = 0; n < 20000; n++) {
        char id[32];
        (void)snprintf(id, sizeof id, "device-%u", n);
        ck_assert_str_eq(ia_device_id(find(cache, n)), id);
        ck_assert_int_eq(records_of(cache, id), 1);
    }
    ck_assert_ptr_null(find(cache, 20000));
    ck_assert_int_eq(records_of(cache, "device-20000"), 0);
    ia_device_cache_free(cache);
}
END_TEST

START_TEST(cache_put_replaces_the_record_of_a_fingerprint)
{
    struct ia_device_cache *cache = ia_device_cache_new(10);
    ck_assert(ia_device_cache_put(cache, device(1, "before")));
    ck_assert(ia_device_cache_put(cache, device(1, "after")));
    ck_assert_uint_eq(ia_device_cache_count(cache), 1);
    ck_assert_str_eq(ia_device_id(find(cache, 1)), "after");
    ck_assert_int_eq(records_of(cache, "before"), 0);
    ia_device_cache_free(cache);
}
END_TEST

START_TEST(cache_keeps_both_certificates_of_a_device)
{
    struct ia_device_cache *cache = ia_device_cache_new(10);
    ck_assert(ia_device_cache_put(cache, device(1, "pump")));
    ck_assert(ia_device_cache_put(cache, device(2, "pump")));
    ck_assert_int_eq(records_of(cache, "pump"), 2);
    uint8_t fingerprint[32];
    fingerprint_of(1, fingerprint);
    ia_device_cache_remove(cache, fingerprint);
    ck_assert_int_eq(records_of(cache, "pump"), 1);
    ia_device_cache_free(cache);
}
END_TEST

START_TEST(cache_never_holds_more_than_its_capacity_and_spares_the_used)
{
    struct ia_device_cache *cache = ia_device_cache_new(1000);
    for (unsigned n = 0; n < 5000; n++) {
        ck_assert(put(cache, n));
        if (n >= 10)
            for (unsigned hot = 0; hot < 10; hot++)
                (void)find(cache, hot);
    }
    ck_assert_uint_eq(ia_device_cache_count(cache), 1000);
    ck_assert(ia_device_cache_is_full(cache));
    for (unsigned hot = 0; hot < 10; hot++)
        ck_assert_msg(find(cache, hot) != NULL, "device %u was looked at all the time", hot);
    ia_device_cache_free(cache);
}
END_TEST

/* Random puts and removes against a plain array: deletion by backward shift is where open addressing goes wrong. */
START_TEST(cache_agrees_with_an_array_after_any_history)
{
    enum { UNIVERSE = 3000 };
    static bool there[UNIVERSE];
    struct ia_device_cache *cache = ia_device_cache_new(100000);
    memset(there, 0, sizeof there);
    srand((unsigned)_i);
    for (int step = 0; step < 60000; step++) {
        unsigned n = (unsigned)rand() % UNIVERSE;
        uint8_t fingerprint[32];
        fingerprint_of(n, fingerprint);
        there[n] = rand() % 3 != 0;
        if (there[n])
            ck_assert(put(cache, n));
        else
            ia_device_cache_remove(cache, fingerprint);
    }
    for (unsigned n = 0; n < UNIVERSE; n++) {
        char id[32];
        (void)snprintf(id, sizeof id, "device-%u", n);
        ck_assert_msg((find(cache, n) != NULL) == there[n], "seed %d, device %u", _i, n);
        ck_assert_int_eq(records_of(cache, id), there[n]);
    }
    ia_device_cache_free(cache);
}
END_TEST

START_TEST(cache_sweep_removes_all_and_only_the_unseen)
{
    struct ia_device_cache *cache = ia_device_cache_new(100000);
    for (unsigned n = 0; n < 10000; n++) {
        ck_assert(put(cache, n));
        find(cache, n)->resync_epoch = n % 3 == 0;
    }
    ia_device_cache_sweep_begin(cache);
    for (int slices = 0; !ia_device_cache_sweep(cache, 1, 100); slices++)
        ck_assert_int_lt(slices, 10000);
    for (unsigned n = 0; n < 10000; n++)
        ck_assert_int_eq(find(cache, n) != NULL, n % 3 == 0);
    ia_device_cache_free(cache);
}
END_TEST

/* A table that grows while a sweep is under way moves records behind its back. */
START_TEST(cache_sweep_survives_growth)
{
    struct ia_device_cache *cache = ia_device_cache_new(100000);
    for (unsigned n = 0; n < 700; n++)
        ck_assert(put(cache, n));
    ia_device_cache_sweep_begin(cache);
    (void)ia_device_cache_sweep(cache, 1, 300);
    for (unsigned n = 1000; n < 9000; n++) {
        ck_assert(put(cache, n));
        find(cache, n)->resync_epoch = 1;
    }
    while (!ia_device_cache_sweep(cache, 1, 300))
        ;
    ck_assert_uint_eq(ia_device_cache_count(cache), 8000);
    ia_device_cache_free(cache);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache");
    TCase *c = tcase_create("cache");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, cache_finds_what_was_put_by_both_keys);
    tcase_add_test(c, cache_put_replaces_the_record_of_a_fingerprint);
    tcase_add_test(c, cache_keeps_both_certificates_of_a_device);
    tcase_add_test(c, cache_never_holds_more_than_its_capacity_and_spares_the_used);
    tcase_add_loop_test(c, cache_agrees_with_an_array_after_any_history, 0, 5);
    tcase_add_test(c, cache_sweep_removes_all_and_only_the_unseen);
    tcase_add_test(c, cache_sweep_survives_growth);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
