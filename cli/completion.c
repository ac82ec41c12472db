// SPDX-License-Identifier: ISC
/* Both scripts hold the table as lines 'words:options', and go on from the words that were typed. */
#include "cli/completion.h"

#include "cli/verb.h"

#include <stdio.h>
#include <string.h>

/* --name of each option of the verb and of every verb. */
static void print_options(const struct ia_param *params, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(params[i].flags & IA_P_ARGUMENT))
            printf(" --%s", params[i].name);
}

/* Values that a verb's arguments by place are chosen from. */
static void print_choices(const struct ia_verb *verb)
{
    for (size_t i = 0; i < verb->n_params; i++) {
        const char *value = verb->params[i].value;
        if (!(verb->params[i].flags & IA_P_ARGUMENT) || !value || !strchr(value, '|'))
            continue;
        putchar(' ');
        for (; *value; value++)
            putchar(*value == '|' ? ' ' : *value);
    }
}

static void print_lines(void)
{
    const struct ia_verb *verb;
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++) {
        printf("%s:", verb->words);
        print_options(verb->params, verb->n_params);
        print_choices(verb);
        print_options(ia_global_params, ia_n_global_params);
        putchar('\n');
    }
}

/* --name=A|B of the options whose values are known: the value is completed after the option. */
static void print_values(void)
{
    const struct ia_verb *verb;
    for (size_t i = 0; (verb = ia_verb_at(i)) != NULL; i++)
        for (size_t j = 0; j < verb->n_params; j++) {
            const struct ia_param *param = &verb->params[j];
            if (!(param->flags & IA_P_ARGUMENT) && param->value && strchr(param->value, '|'))
                printf("%s --%s:%s\n", verb->words, param->name, param->value);
        }
}

void ia_completion_bash(void)
{
    fputs(
        "# SPDX-License-Identifier: ISC\n"
        "# Made by: iot-auth documentation bash\n"
        "_iot_auth() {\n"
        "    local verbs values word line path='' rest cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
        "    local reply=''\n"
        "    verbs='",
        stdout);
    print_lines();
    fputs("'\n    values='", stdout);
    print_values();
    fputs(
        "'\n"
        "    case ${COMP_WORDS[0]##*/} in iot-auth-check) path='check' ;; esac\n"
        "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
        "        case $word in -*) continue ;; esac\n"
        "        rest=\"${path:+$path }$word\"\n"
        "        while IFS= read -r line; do\n"
        "            case \"${line%%:*} \" in \"$rest \"*) path=$rest; break ;; esac\n"
        "        done <<< \"$verbs\"\n"
        "    done\n"
        "    while IFS= read -r line; do\n"
        "        if [ \"${line%%:*}\" = \"$path $before\" ]; then\n"
        "            line=${line#*:}\n"
        "            mapfile -t COMPREPLY < <(compgen -W \"${line//|/ }\" -- \"$cur\")\n"
        "            return\n"
        "        fi\n"
        "    done <<< \"$values\"\n"
        "    while IFS= read -r line; do\n"
        "        if [ -n \"$line\" ] && [ \"${line%%:*}\" = \"$path\" ]; then\n"
        "            reply=${line#*:}\n"
        "        else\n"
        "            case \"$line\" in \"${path:+$path }\"*) rest=${line%%:*}; rest=${rest#\"${path:+$path }\"}; reply+=\" ${rest%% *}\" ;; esac\n"
        "        fi\n"
        "    done <<< \"$verbs\"\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"$reply\" -- \"$cur\" | sort -u)\n"
        "    [ \"${#COMPREPLY[@]}\" -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
        "}\n"
        "complete -F _iot_auth iot-auth iot-auth-check\n",
        stdout);
}

void ia_completion_zsh(void)
{
    puts("#compdef iot-auth iot-auth-check\n"
         "# SPDX-License-Identifier: ISC\n"
         "# Made by: iot-auth documentation zsh\n"
         "autoload -U +X bashcompinit && bashcompinit");
    ia_completion_bash();
}
