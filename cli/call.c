// SPDX-License-Identifier: ISC
/* Reading the command line, strictly: a word that is not in the table is an error with the nearest one, nothing may be
 * abbreviated, and a value that looks like an option must be joined to its option by '='.  A misspelt option must never
 * become a change that nobody asked for. */
#include "cli/call.h"

#include "cli/nearest.h"
#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS_MAX 256 /* different words that a suggestion may come from */
#define VERB_MAX  64  /* the words of a verb */

struct reader {
    struct ia_call *call;
    int argc;
    char **argv;
    int at;              /* the next word */
    char path[VERB_MAX]; /* the words of the verb so far */
    bool help, version;
    bool only_arguments; /* after -- */
    size_t n_arguments;  /* arguments by place so far */
};

/* ---- which verb */

/* Is `path` the beginning of the verb's words, up to a space or the end? */
static bool begins_with(const char *words, const char *path)
{
    size_t len = strlen(path);
    return len == 0 || (strncmp(words, path, len) == 0 && (words[len] == ' ' || words[len] == '\0'));
}

static const struct ia_verb *find_verb(const char *path)
{
    const struct ia_verb *verb;
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++)
        if (strcmp(verb->words, path) == 0)
            return verb;
    return NULL;
}

static bool path_exists(const char *path)
{
    const struct ia_verb *verb;
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++)
        if (begins_with(verb->words, path))
            return true;
    return false;
}

/* The word that the verbs have after `path`: copied into text[size]. */
static bool next_word(const char *words, const char *path, char *text, size_t size)
{
    size_t len = strlen(path);
    if (!begins_with(words, path) || !words[len])
        return false;
    words += len + (len > 0);
    (void)snprintf(text, size, "%.*s", (int)strcspn(words, " "), words);
    return true;
}

/* The nearest word that may follow `path`, in text[size]; false where none is near. */
static bool suggest_word(const char *path, const char *typed, char *text, size_t size)
{
    static char words[WORDS_MAX][32];
    const char *list[WORDS_MAX];
    size_t n = 0;
    const struct ia_verb *verb;
    for (size_t i = 0; n < WORDS_MAX && (verb = ia_verb_at(i)) != NULL; i++)
        if (next_word(verb->words, path, words[n], sizeof words[n])) {
            list[n] = words[n];
            n++;
        }
    const char *nearest = ia_nearest(typed, list, n);
    if (nearest)
        (void)snprintf(text, size, "%s", nearest);
    return nearest != NULL;
}

static enum ia_rc refuse_word(const struct reader *r, const char *typed, struct ia_err *err)
{
    char near[32];
    bool is_near = suggest_word(r->path, typed, near, sizeof near);
    const char *of = *r->path ? " after " : "";
    if (is_near)
        return ia_fail(err, IA_USAGE, "unknown command '%.40s'%s%s; did you mean '%s'?", typed, of, r->path, near);
    return ia_fail(err, IA_USAGE, "unknown command '%.40s'%s%s; see %s --help", typed, of, r->path, r->call->program);
}

static enum ia_rc take_verb_word(struct reader *r, const char *word, struct ia_err *err)
{
    char longer[VERB_MAX];
    int n = snprintf(longer, sizeof longer, "%s%s%s", r->path, *r->path ? " " : "", word);
    if (n < 0 || (size_t)n >= sizeof longer || !path_exists(longer))
        return refuse_word(r, word, err);
    (void)snprintf(r->path, sizeof r->path, "%s", longer);
    r->call->verb = find_verb(r->path);
    return IA_OK;
}

/* ---- values */

static enum ia_rc add_value(struct reader *r, size_t param, const char *value, struct ia_err *err)
{
    struct ia_values *values = &r->call->values[param];
    const char **grown = realloc(values->items, (values->n + 1) * sizeof *grown);
    if (!grown)
        return ia_nomem(err);
    grown[values->n++] = value;
    values->items = grown;
    return IA_OK;
}

/* A copy that lives as long as the call. */
static const char *keep_text(struct ia_call *call, const char *text, size_t len)
{
    char **grown = realloc(call->owned, (call->n_owned + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    call->owned = grown;
    char *copy = strndup(text, len);
    if (copy)
        call->owned[call->n_owned++] = copy;
    return copy;
}

/* The display name of a parameter in messages: --name or NAME. */
static const char *param_title(const struct ia_param *param, char *text, size_t size)
{
    (void)snprintf(text, size, "%s%s", param->flags & IA_P_ARGUMENT ? "" : "--", param->name);
    return text;
}

/* Where the table lists the values (A|B|C), the value must be one of them; upper or lower case does not matter. */
static enum ia_rc check_choice(struct reader *r, const struct ia_param *param, const char **value, struct ia_err *err)
{
    char words[16][32], title[48];
    const char *list[16];
    size_t n = 0;
    for (const char *at = param->value; n < 16 && *at; at += *at == '|') {
        size_t len = strcspn(at, "|");
        (void)snprintf(words[n], sizeof words[n], "%.*s", (int)len, at);
        list[n] = words[n];
        if (strcasecmp(words[n], *value) == 0) {
            const char *canonical = keep_text(r->call, words[n], len);
            *value = canonical ? canonical : *value;
            return canonical ? IA_OK : ia_nomem(err);
        }
        n++;
        at += len;
    }
    const char *nearest = ia_nearest(*value, list, n);
    param_title(param, title, sizeof title);
    if (nearest)
        return ia_fail(err, IA_USAGE, "%s '%.40s' is not one of %s; did you mean %s?", title, *value, param->value,
                       nearest);
    return ia_fail(err, IA_USAGE, "%s '%.40s' is not one of %s", title, *value, param->value);
}

static enum ia_rc take_one_value(struct reader *r, size_t param, const char *value, struct ia_err *err)
{
    const struct ia_param *p = &r->call->verb->params[param];
    if (p->value && strchr(p->value, '|')) {
        enum ia_rc rc = check_choice(r, p, &value, err);
        if (rc != IA_OK)
            return rc;
    }
    return add_value(r, param, value, err);
}

/* a,b,c of one word are three values; an empty word is the empty list. */
static enum ia_rc take_split_values(struct reader *r, size_t param, const char *value, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    while (rc == IA_OK && value && *value) {
        size_t len = strcspn(value, ",");
        const char *part = keep_text(r->call, value, len);
        rc = part ? take_one_value(r, param, part, err) : ia_nomem(err);
        value += len + (value[len] == ',');
    }
    return rc;
}

static enum ia_rc take_value(struct reader *r, size_t param, const char *value, struct ia_err *err)
{
    const struct ia_param *p = &r->call->verb->params[param];
    char title[48];
    struct ia_values *values = &r->call->values[param];
    if (values->given && !(p->flags & IA_P_LIST))
        return ia_fail(err, IA_USAGE, "%s is given twice", param_title(p, title, sizeof title));
    values->given = true;
    return p->flags & IA_P_SPLIT ? take_split_values(r, param, value, err) : take_one_value(r, param, value, err);
}

/* ---- options */

/* The value of an option: joined by '=', or the next word. */
static enum ia_rc option_value(struct reader *r, const char *name, const char *joined, const char **value,
                               struct ia_err *err)
{
    *value = joined;
    if (joined)
        return IA_OK;
    if (r->at >= r->argc)
        return ia_fail(err, IA_USAGE, "--%s needs a value", name);
    if (strncmp(r->argv[r->at], "--", 2) == 0 && r->argv[r->at][2])
        return ia_fail(err, IA_USAGE, "--%s needs a value; one that begins with -- is written --%s=VALUE", name, name);
    *value = r->argv[r->at++];
    return IA_OK;
}

static enum ia_rc take_global(struct reader *r, const char *name, const char *joined, bool *known, struct ia_err *err)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"json", &r->call->json}, {"quiet", &r->call->quiet}, {"utc", &r->call->utc},
                 {"yes", &r->call->yes},   {"help", &r->help},         {"version", &r->version}};
    *known = true;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(flags[i].name, name) != 0)
            continue;
        if (joined)
            return ia_fail(err, IA_USAGE, "--%s takes no value", name);
        *flags[i].flag = true;
        return IA_OK;
    }
    if (strcmp(name, "conninfo") == 0)
        return option_value(r, name, joined, &r->call->conninfo, err);
    *known = false;
    return IA_OK;
}

static enum ia_rc refuse_option(const struct reader *r, const char *name, struct ia_err *err)
{
    const char *list[IA_VERB_PARAMS_MAX + 16];
    size_t n = 0;
    const struct ia_verb *verb = r->call->verb;
    for (size_t i = 0; verb && i < verb->n_params; i++)
        if (!(verb->params[i].flags & IA_P_ARGUMENT))
            list[n++] = verb->params[i].name;
    for (size_t i = 0; i < ia_n_global_params; i++)
        list[n++] = ia_global_params[i].name;
    const char *nearest = ia_nearest(name, list, n);
    if (nearest)
        return ia_fail(err, IA_USAGE, "unknown option --%.40s; did you mean --%s?", name, nearest);
    if (!verb)
        return ia_fail(err, IA_USAGE, "unknown option --%.40s; options of a command follow the command", name);
    return ia_fail(err, IA_USAGE, "unknown option --%.40s; see %s %s --help", name, r->call->program, verb->words);
}

static bool find_option(const struct ia_verb *verb, const char *name, size_t *param)
{
    for (size_t i = 0; verb && i < verb->n_params; i++) {
        *param = i;
        if (!(verb->params[i].flags & IA_P_ARGUMENT) && strcmp(verb->params[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Words that follow the value of an option which takes several. */
static enum ia_rc take_following(struct reader *r, size_t param, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    while (rc == IA_OK && r->at < r->argc && r->argv[r->at][0] != '-')
        rc = take_value(r, param, r->argv[r->at++], err);
    return rc;
}

static enum ia_rc take_option(struct reader *r, const char *word, struct ia_err *err)
{
    char name[48];
    size_t len = strcspn(word, "="), param = 0;
    const char *joined = word[len] ? word + len + 1 : NULL, *value = NULL;
    bool known = false;
    (void)snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), word);
    if (!find_option(r->call->verb, name, &param)) {
        enum ia_rc rc = take_global(r, name, joined, &known, err);
        return rc == IA_OK && !known ? refuse_option(r, name, err) : rc;
    }
    const struct ia_param *p = &r->call->verb->params[param];
    if (!p->value && joined)
        return ia_fail(err, IA_USAGE, "--%s takes no value", name);
    if (!p->value)
        return take_value(r, param, "true", err);
    enum ia_rc rc = option_value(r, name, joined, &value, err);
    if (rc == IA_OK)
        rc = take_value(r, param, value, err);
    if (rc == IA_OK && p->flags & IA_P_FOLLOWING && !joined)
        rc = take_following(r, param, err);
    return rc;
}

/* ---- arguments by place */

static enum ia_rc take_argument(struct reader *r, const char *word, struct ia_err *err)
{
    const struct ia_verb *verb = r->call->verb;
    size_t place = 0;
    for (size_t i = 0; i < verb->n_params; i++) {
        if (!(verb->params[i].flags & IA_P_ARGUMENT))
            continue;
        bool is_last = verb->params[i].flags & IA_P_LIST;
        if (place++ != r->n_arguments && !is_last)
            continue;
        r->n_arguments += !is_last;
        return take_value(r, i, word, err);
    }
    return ia_fail(err, IA_USAGE, "'%.60s' is one argument too many", word);
}

static enum ia_rc take_word(struct reader *r, const char *word, struct ia_err *err)
{
    if (!r->only_arguments && strcmp(word, "--") == 0) {
        r->only_arguments = true;
        return IA_OK;
    }
    if (!r->only_arguments && strcmp(word, "-h") == 0) {
        r->help = true;
        return IA_OK;
    }
    if (!r->only_arguments && strncmp(word, "--", 2) == 0)
        return take_option(r, word + 2, err);
    if (!r->only_arguments && word[0] == '-' && word[1])
        return ia_fail(err, IA_USAGE, "unknown option %.40s; options begin with --", word);
    return r->call->verb ? take_argument(r, word, err) : take_verb_word(r, word, err);
}

/* Parameters of which exactly one, or at most one, must be given. */
static enum ia_rc check_alternatives(const struct reader *r, unsigned flag, size_t least, struct ia_err *err)
{
    const struct ia_verb *verb = r->call->verb;
    char names[120] = "", title[48];
    size_t given = 0, len = 0;
    for (size_t i = 0; i < verb->n_params; i++) {
        if (!(verb->params[i].flags & flag))
            continue;
        given += r->call->values[i].given;
        (void)snprintf(names + len, sizeof names - len, "%s%s", len ? ", " : "",
                       param_title(&verb->params[i], title, sizeof title));
        len = strlen(names);
    }
    if (len == 0 || (given >= least && given <= 1))
        return IA_OK;
    return ia_fail(err, IA_USAGE, "give %s one of %s", least ? "exactly" : "at most", names);
}

/* Parameters that belong together, and those that have no meaning beside them. */
static enum ia_rc check_together(const struct reader *r, struct ia_err *err)
{
    const struct ia_verb *verb = r->call->verb;
    char title[48], other[48];
    size_t first = ia_call_flagged(r->call, IA_P_TOGETHER), alone = ia_call_flagged(r->call, IA_P_ALONE);
    if (first == verb->n_params)
        return IA_OK;
    param_title(&verb->params[first], title, sizeof title);
    if (alone < verb->n_params)
        return ia_fail(err, IA_USAGE, "%s has no meaning beside %s",
                       param_title(&verb->params[alone], other, sizeof other), title);
    for (size_t i = 0; i < verb->n_params; i++)
        if (verb->params[i].flags & IA_P_TOGETHER && !r->call->values[i].given)
            return ia_fail(err, IA_USAGE, "%s is missing, which %s needs",
                           param_title(&verb->params[i], other, sizeof other), title);
    return IA_OK;
}

/* What must be there and is not. */
static enum ia_rc check_required(const struct reader *r, struct ia_err *err)
{
    const struct ia_verb *verb = r->call->verb;
    char title[48];
    for (size_t i = 0; i < verb->n_params; i++)
        if (verb->params[i].flags & IA_P_REQUIRED && !r->call->values[i].given)
            return ia_fail(err, IA_USAGE, "%s is missing; see %s %s --help",
                           param_title(&verb->params[i], title, sizeof title), r->call->program,
                           ia_call_words(r->call));
    enum ia_rc rc = check_alternatives(r, IA_P_ONE_OF, 1, err);
    if (rc == IA_OK)
        rc = check_alternatives(r, IA_P_EXCLUSIVE, 0, err);
    return rc == IA_OK ? check_together(r, err) : rc;
}

enum ia_rc ia_call_parse(int argc, char **argv, struct ia_call *call, enum ia_ask *ask, char *path, size_t size,
                         struct ia_err *err)
{
    struct reader r = {.call = call, .argc = argc, .argv = argv, .at = 1};
    enum ia_rc rc = IA_OK;
    while (rc == IA_OK && r.at < argc)
        rc = take_word(&r, argv[r.at++], err);
    (void)snprintf(path, size, "%s", r.path);
    *ask = r.version ? IA_ASK_VERSION : r.help ? IA_ASK_HELP : IA_ASK_RUN;
    if (rc != IA_OK || *ask != IA_ASK_RUN)
        return rc;
    if (!call->verb && *r.path)
        return ia_fail(err, IA_USAGE, "'%s' is not a whole command; see %s %s --help", r.path, call->program, r.path);
    if (!call->verb)
        return ia_fail(err, IA_USAGE, "which command?  see %s --help", call->program);
    return check_required(&r, err);
}

void ia_call_clear(struct ia_call *call)
{
    for (size_t i = 0; i < IA_VERB_PARAMS_MAX; i++)
        free(call->values[i].items);
    for (size_t i = 0; i < call->n_owned; i++)
        free(call->owned[i]);
    free(call->owned);
    *call = (struct ia_call){0};
}

/* ---- what was read */

const struct ia_values *ia_call_list(const struct ia_call *call, const char *name)
{
    static const struct ia_values none;
    for (size_t i = 0; i < call->verb->n_params; i++)
        if (strcmp(call->verb->params[i].name, name) == 0)
            return &call->values[i];
    return &none;
}

const char *ia_call_get(const struct ia_call *call, const char *name)
{
    const struct ia_values *values = ia_call_list(call, name);
    return values->n ? values->items[0] : NULL;
}

bool ia_call_has(const struct ia_call *call, const char *name)
{
    return ia_call_list(call, name)->given;
}

size_t ia_call_flagged(const struct ia_call *call, unsigned flag)
{
    size_t i = 0;
    while (i < call->verb->n_params && !(call->verb->params[i].flags & flag && call->values[i].given))
        i++;
    return i;
}
