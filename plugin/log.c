// SPDX-License-Identifier: ISC
#include "plugin/log.h"

#include "common/clock.h"
#include "common/json_out.h"
#include "common/rfc3339.h"
#include "common/str.h"

#include <mosquitto_plugin.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 1024

static struct {
    bool json;
    const char *node;
} log_settings;

void ia_log_begin(bool json, const char *node)
{
    log_settings.json = json;
    log_settings.node = node;
}

bool ia_log_is_json(void)
{
    return log_settings.json;
}

const char *ia_log_level_word(int level)
{
    static const struct {
        int level;
        const char *word;
    } words[] = {{MOSQ_LOG_ERR, "error"}, {MOSQ_LOG_WARNING, "warning"}, {MOSQ_LOG_NOTICE, "notice"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].level == level)
            return words[i].word;
    return "info";
}

static const char *format_message(int level, const char *message, char *out, size_t size)
{
    char at[IA_RFC3339_SIZE];
    struct ia_json_out j;
    ia_json_out_begin(&j, out, size);
    ia_json_out_text(&j, "level", ia_log_level_word(level));
    ia_json_out_text(&j, "message", message);
    if (log_settings.node)
        ia_json_out_text(&j, "node", log_settings.node);
    ia_json_out_text(&j, "at", ia_rfc3339(ia_wall_us(), at));
    return ia_json_out_end(&j);
}

/* A message that does not fit, with what JSON adds to it, loses its end. */
static void log_json_message(int level, char *message)
{
    char line[IA_LOG_JSON_MAX + 1];
    const char *text = format_message(level, message, line, sizeof line);
    for (size_t length = strlen(message); !text && length > 0;
         text = format_message(level, message, line, sizeof line)) {
        length -= length / 8 + 1;
        message[length] = '\0';
    }
    if (text)
        mosquitto_log_printf(level, "%s", text);
}

/* A name from the registry, or a text of another program, must not pass for another line either. */
static const char *make_shown(char *message)
{
    size_t used = 0;
    for (size_t i = 0, n; message[i]; i += n) {
        bool shown = false;
        n = ia_shown_character(message + i, strnlen(message + i, 4), &shown);
        if (shown)
            memmove(message + used, message + i, n);
        else
            message[used] = '?';
        used += shown ? n : 1;
    }
    message[used] = '\0';
    return message;
}

void ia_log(int level, const char *fmt, ...)
{
    char message[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (log_settings.json)
        log_json_message(level, message);
    else
        mosquitto_log_printf(level, "iot-auth: %s", make_shown(message));
}
