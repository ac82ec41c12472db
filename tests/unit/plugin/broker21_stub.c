/* What only Mosquitto 2.1 has.  The plugin finds it by its name (dlsym), so a suite without this file runs as on 2.0;
 * with it, a test runs as on 2.1 from ia_mosq_init on. */
#include "tests/unit/plugin/broker_stub.h"

#include <string.h>

__attribute__((visibility("default"))) struct mosquitto *mosquitto_client(const char *client_id);

struct mosquitto *mosquitto_client(const char *client_id)
{
    for (size_t i = 0; i < sizeof broker.known / sizeof broker.known[0]; i++)
        if (broker.known[i] && strcmp(broker.known[i]->id, client_id) == 0)
            return broker.known[i];
    return NULL;
}
