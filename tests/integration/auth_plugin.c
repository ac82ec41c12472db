// SPDX-License-Identifier: ISC
/* Another authentication plugin, for test_defer_neutral.py: users with passwords, one extended authentication method and
 * rights by topic prefix.  It stands for whatever plugin a broker has beside ours.
 *
 * Option `state`: a file; while it exists, `ops` may not write below last/ and `reader` may not read below ops/. */
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions);
int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options, int n);
int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int n);

static mosquitto_plugin_id_t *plugin_id;
static char *state_file;

static const struct {
    const char *name, *password;
} users[] = {{"ops", "secret"}, {"reader", "letmein"}};

#define READ_SUBSCRIBE (MOSQ_ACL_READ | MOSQ_ACL_SUBSCRIBE)

static const struct {
    const char *user, *prefix;
    int access;
} rights[] = {
    {"ops", "ops/", MOSQ_ACL_WRITE | READ_SUBSCRIBE},
    {"ops", "$share/g/ops/", MOSQ_ACL_SUBSCRIBE},
    {"ops", "up/", MOSQ_ACL_WRITE},
    {"reader", "ops/", READ_SUBSCRIBE},
    {"reader", "up/", READ_SUBSCRIBE},
    {"ops", "last/", MOSQ_ACL_WRITE},
    {"reader", "last/", READ_SUBSCRIBE},
    {"method", "ops/", MOSQ_ACL_WRITE | READ_SUBSCRIBE},
};

static int check_password(int event, void *event_data, void *userdata)
{
    (void)event, (void)userdata;
    const struct mosquitto_evt_basic_auth *ev = event_data;
    if (!ev->username)
        return MOSQ_ERR_PLUGIN_DEFER;
    for (size_t i = 0; i < sizeof users / sizeof users[0]; i++)
        if (strcmp(ev->username, users[i].name) == 0 && ev->password && strcmp(ev->password, users[i].password) == 0)
            return MOSQ_ERR_SUCCESS;
    return MOSQ_ERR_AUTH;
}

static bool is_revoked(const char *user, int wanted, const char *prefix)
{
    bool writes = wanted == MOSQ_ACL_WRITE && strcmp(user, "ops") == 0 && strcmp(prefix, "last/") == 0;
    bool reads = wanted == MOSQ_ACL_READ && strcmp(user, "reader") == 0 && strcmp(prefix, "ops/") == 0;
    return (writes || reads) && state_file && access(state_file, F_OK) == 0;
}

static int check_topic(int event, void *event_data, void *userdata)
{
    (void)event, (void)userdata;
    const struct mosquitto_evt_acl_check *ev = event_data;
    const char *user = mosquitto_client_username(ev->client);
    if (!user)
        return MOSQ_ERR_ACL_DENIED;
    if (ev->access == MOSQ_ACL_UNSUBSCRIBE) /* some subscriptions are meant to stay */
        return strncmp(ev->topic, "ops/keep", 8) == 0 ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_SUCCESS;
    for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++)
        if (strcmp(rights[i].user, user) == 0 && (rights[i].access & ev->access) &&
            strncmp(ev->topic, rights[i].prefix, strlen(rights[i].prefix)) == 0)
            return is_revoked(user, ev->access, rights[i].prefix) ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_SUCCESS;
    return MOSQ_ERR_ACL_DENIED;
}

static bool data_is(const struct mosquitto_evt_extended_auth *ev, const char *text)
{
    return ev->data_in && ev->data_in_len == strlen(text) && memcmp(ev->data_in, text, ev->data_in_len) == 0;
}

static int answer_challenge(struct mosquitto_evt_extended_auth *ev)
{
    ev->data_out = mosquitto_strdup("who?");
    if (!ev->data_out)
        return MOSQ_ERR_NOMEM;
    ev->data_out_len = 4;
    return MOSQ_ERR_AUTH_CONTINUE;
}

/* Method TEST: `method` is admitted at once, `ask` gets a question, whose answer must be `method`. */
static int check_method(int event, void *event_data, void *userdata)
{
    (void)userdata;
    struct mosquitto_evt_extended_auth *ev = event_data;
    if (!ev->auth_method || strcmp(ev->auth_method, "TEST") != 0)
        return MOSQ_ERR_PLUGIN_DEFER;
    if (event == MOSQ_EVT_EXT_AUTH_START && data_is(ev, "ask"))
        return answer_challenge(ev);
    if (!data_is(ev, "method"))
        return MOSQ_ERR_AUTH;
    return mosquitto_set_username(ev->client, "method");
}

static const struct {
    int event;
    int (*callback)(int event, void *event_data, void *userdata);
} callbacks[] = {
    {MOSQ_EVT_BASIC_AUTH, check_password},
    {MOSQ_EVT_ACL_CHECK, check_topic},
    {MOSQ_EVT_EXT_AUTH_START, check_method},
    {MOSQ_EVT_EXT_AUTH_CONTINUE, check_method},
};

#define N_CALLBACKS (sizeof callbacks / sizeof callbacks[0])

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++)
        if (supported_versions[i] == 5)
            return 5;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options, int n)
{
    *userdata = NULL;
    plugin_id = identifier;
    for (int i = 0; i < n; i++)
        if (strcmp(options[i].key, "state") == 0)
            state_file = strdup(options[i].value);
    for (size_t i = 0; i < N_CALLBACKS; i++) {
        int rc = mosquitto_callback_register(identifier, callbacks[i].event, callbacks[i].callback, NULL, NULL);
        if (rc != MOSQ_ERR_SUCCESS)
            return rc;
    }
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int n)
{
    (void)userdata, (void)options, (void)n;
    for (size_t i = 0; i < N_CALLBACKS; i++)
        (void)mosquitto_callback_unregister(plugin_id, callbacks[i].event, callbacks[i].callback, NULL);
    free(state_file);
    return MOSQ_ERR_SUCCESS;
}
