// SPDX-License-Identifier: ISC
/* What is answered to the broker.  Built three times: as on Mosquitto 2.0, and with the functions by which 2.1 and
 * Debian 12's 2.0.11 are known. */
#include "plugin/mosquitto_compat.h"
#include "tests/unit/plugin/broker_stub.h"
#include "tests/unit/suite.h"

#include <string.h>

#ifdef AS_ON_21
#define IS_21 true
__attribute__((visibility("default"))) struct mosquitto *mosquitto_client(const char *client_id);

static struct mosquitto known = {.id = "known"};

struct mosquitto *mosquitto_client(const char *client_id)
{
    return strcmp(client_id, known.id) == 0 ? &known : NULL;
}
__attribute__((visibility("default"))) int mosquitto_plugin_set_info(mosquitto_plugin_id_t *id, const char *name,
                                                                     const char *version);

static const char *introduced_as, *introduced_version;

int mosquitto_plugin_set_info(mosquitto_plugin_id_t *id, const char *name, const char *version)
{
    ck_assert_ptr_nonnull(id);
    introduced_as = name;
    introduced_version = version;
    return MOSQ_ERR_SUCCESS;
}
#else
#define IS_21 false
#endif

#ifdef AS_ON_2011
#define REPORTS_WEBSOCKETS_ADDRESS true
__attribute__((visibility("default"))) void context__add_to_disused(void);

void context__add_to_disused(void)
{
}
#else
#define REPORTS_WEBSOCKETS_ADDRESS IS_21
#endif

START_TEST(version_is_known_by_its_function)
{
    ck_assert(!ia_mosq_is_21()); /* not asked yet: what both can */
    ck_assert_ptr_null(ia_mosq_client("known"));
    ia_mosq_init();
    ck_assert_int_eq(ia_mosq_is_21(), IS_21);
#ifdef AS_ON_21
    ck_assert_ptr_eq(ia_mosq_client("known"), &known);
#endif
    ck_assert_ptr_null(ia_mosq_client("unknown"));
}
END_TEST

static char an_id;

/* On 2.0 the function is not there, and nothing happens. */
START_TEST(plugin_is_introduced_where_there_is_a_place_for_it)
{
    ia_mosq_introduce((mosquitto_plugin_id_t *)&an_id, "1.2.3");
#ifdef AS_ON_21
    ck_assert_str_eq(introduced_as, "iot-auth");
    ck_assert_str_eq(introduced_version, "1.2.3");
#endif
}
END_TEST

/* 2.0 answers only MOSQ_ERR_AUTH with a CONNACK.  0x85, 0x88, 0x8A: MQTT 5's codes, which 2.1 passes on. */
static const struct {
    enum ia_reason reason;
    int on_20;       /* and to MQTT 3.1.1 on 2.1, and by extended authentication anywhere */
    int on_21_mqtt5; /* at once, by BASIC_AUTH */
} answers[] = {
    {IA_R_ADDRESS_DENIED, MOSQ_ERR_AUTH, 0x8A},          {IA_R_CLIENT_ID_MISMATCH, MOSQ_ERR_AUTH, 0x85},
    {IA_R_REGISTRY_UNAVAILABLE, MOSQ_ERR_UNKNOWN, 0x88}, {IA_R_SNAPSHOT_STALE, MOSQ_ERR_UNKNOWN, 0x88},
    {IA_R_TOKEN_KEY_UNKNOWN, MOSQ_ERR_UNKNOWN, 0x88},    {IA_R_DEVICE_REVOKED, MOSQ_ERR_AUTH, MOSQ_ERR_AUTH},
    {IA_R_DEVICE_PENDING, MOSQ_ERR_AUTH, MOSQ_ERR_AUTH}, {IA_R_NO_CREDENTIAL, MOSQ_ERR_AUTH, MOSQ_ERR_AUTH},
    {IA_R_TOKEN_EXPIRED, MOSQ_ERR_AUTH, MOSQ_ERR_AUTH},  {IA_R_QUOTA_EXCEEDED, MOSQ_ERR_AUTH, MOSQ_ERR_AUTH},
    {IA_R_INTERNAL, MOSQ_ERR_AUTH, MOSQ_ERR_AUTH},
};

START_TEST(refusals_are_answered_as_the_version_can)
{
    const struct mosquitto old = {.version = 4}, new = {.version = 5};
    enum ia_reason reason = answers[_i].reason;
    ia_mosq_init();
    ck_assert_msg(ia_mosq_refusal(&old, reason) == answers[_i].on_20, "%s", ia_reason_name(reason));
    ck_assert_msg(ia_mosq_refusal(&new, reason) == (IS_21 ? answers[_i].on_21_mqtt5 : answers[_i].on_20), "%s",
                  ia_reason_name(reason));
    ck_assert_msg(ia_mosq_ext_refusal(reason) == answers[_i].on_20, "%s", ia_reason_name(reason));
}
END_TEST

/* Never SUCCESS or DEFER: those can let a client in. */
START_TEST(no_reason_is_answered_with_anything_that_lets_in)
{
    const struct mosquitto clients[] = {{.version = 3}, {.version = 4}, {.version = 5}};
    ia_mosq_init();
    for (int reason = 1; reason < IA_REASON_COUNT; reason++) {
        for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
            int rc = ia_mosq_refusal(&clients[i], (enum ia_reason)reason);
            ck_assert_msg(rc > 0 && rc != MOSQ_ERR_PLUGIN_DEFER, "%s: %d", ia_reason_name((enum ia_reason)reason), rc);
        }
        int rc = ia_mosq_ext_refusal((enum ia_reason)reason);
        ck_assert(rc > 0 && rc != MOSQ_ERR_PLUGIN_DEFER);
        ck_assert_int_ne(rc, MOSQ_ERR_AUTH_CONTINUE);
    }
}
END_TEST

START_TEST(next_tick_is_asked_for_where_it_can_be)
{
    struct mosquitto_evt_tick tick = {.next_ns = -1};
    ia_mosq_init();
    ia_mosq_next_tick(&tick, 50);
    ck_assert_int_eq(tick.next_ns, IS_21 ? 50 : -1);
}
END_TEST

START_TEST(address_shows_a_connection)
{
    const struct mosquitto connected = {.address = "192.0.2.1"}, offline = {.address = NULL};
    ck_assert(ia_mosq_has_address(&connected));
    ck_assert(!ia_mosq_has_address(&offline));
}
END_TEST

/* 2.0.15 to 2.0.22 take it from a header that the client sends. */
START_TEST(address_of_a_websocket_counts_where_it_is_the_sockets)
{
    const struct mosquitto mqtt = {.address = "192.0.2.1", .protocol = mp_mqtt};
    const struct mosquitto websocket = {.address = "192.0.2.1", .protocol = mp_websockets};
    ia_mosq_init();
    ck_assert_str_eq(ia_mosq_address(&mqtt), "192.0.2.1");
    ck_assert_int_eq(ia_mosq_address(&websocket) != NULL, REPORTS_WEBSOCKETS_ADDRESS);
    ck_assert(ia_mosq_has_address(&websocket)); /* it is connected all the same */
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, plugin_is_introduced_where_there_is_a_place_for_it);
    tcase_add_test(c, version_is_known_by_its_function);
    tcase_add_loop_test(c, refusals_are_answered_as_the_version_can, 0, (int)(sizeof answers / sizeof answers[0]));
    tcase_add_test(c, no_reason_is_answered_with_anything_that_lets_in);
    tcase_add_test(c, next_tick_is_asked_for_where_it_can_be);
    tcase_add_test(c, address_shows_a_connection);
    tcase_add_test(c, address_of_a_websocket_counts_where_it_is_the_sockets);
}

int main(void)
{
    return run_suite("mosq", cases);
}
