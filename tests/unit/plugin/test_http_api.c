// SPDX-License-Identifier: ISC
/* Mosquitto 2.1 calls BASIC_AUTH and ACL_CHECK for its http_api listener on another thread: nothing of the plugin's state
 * may be touched there. */
#include "plugin/http_api.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <pthread.h>
#include <string.h>

static struct mosquitto client;
static int login, acl_read, acl_write, ext_auth;

static void *ask_all(void *arg)
{
    (void)arg;
    login = world_basic_auth(&client, NULL);
    acl_read = world_acl(&client, MOSQ_ACL_READ, "devices/dev-1/x");
    acl_write = world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x");
    ext_auth = world_ext_auth(&client, "token");
    world_disconnect(&client);
    return NULL;
}

static const struct {
    const char *option, *address;
    bool admitted;
} requests[] = {
    {"deny", "127.0.0.1", false},    {"loopback", "127.0.0.1", true},  {"loopback", "127.9.9.9", true},
    {"loopback", "::1", true},       {"loopback", "192.0.2.1", false}, {"loopback", "::ffff:127.0.0.1", true},
    {"loopback", "12.7.0.1", false}, {"loopback", NULL, false},
};

START_TEST(question_on_another_thread_is_answered_by_the_option_and_touches_nothing)
{
    pthread_t thread;
    world_start_with("http_api", requests[_i].option);
    struct ia_counters before = world.core->counters;
    worker_forget();
    broker_forget();
    client = world_client("dev-1", "plain_leaf");
    client.address = requests[_i].address;
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_all, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(login, requests[_i].admitted ? MOSQ_ERR_SUCCESS : MOSQ_ERR_AUTH);
    ck_assert_int_eq(acl_read, requests[_i].admitted ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(acl_write, MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(ext_auth, MOSQ_ERR_AUTH);
    ck_assert_mem_eq(&before, &world.core->counters, sizeof before);
    ck_assert_uint_eq(worker_stub.n_requests, 0);
    ck_assert_uint_eq(broker.n_published, 0);
    ck_assert_str_eq(broker.log, "");
    ck_assert_ptr_null(world_session(&client));
    ck_assert_uint_eq(ia_http_api_count(), 4);
    world_stop();
}
END_TEST

static void http_api_cases(TCase *c)
{
    tcase_add_loop_test(c, question_on_another_thread_is_answered_by_the_option_and_touches_nothing, 0,
                        (int)(sizeof requests / sizeof requests[0]));
}

int main(void)
{
    return run_suite("http_api", http_api_cases);
}
