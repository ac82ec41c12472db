#!/usr/bin/env bash
# SPDX-License-Identifier: ISC
# The rules of the code that no compiler checks.  Prints rule: file:line for each breach; exits 1 if there is any.
#
#   tests/lint.sh [FOLDER [RULE]…]     (default: this checkout, all rules)
set -uo pipefail
lint=$(cd "$(dirname "$0")" && pwd)/lint # the rules that are programs of their own
cd "${1:-$lint/../..}" || exit 2
shift

python=/usr/bin/python3
folders="common x509 acl oauth psk sql jitr access config tls worker plugin cli"
programs="bench tests/swarm tests/integration" # C that is no part of the product, held to the same form
wanted=" $* "
breaches=0

# check RULE COMMAND…: each line that the command prints ('file:line: text') is a breach of the rule.
check() {
    local rule=$1 line
    shift
    case "$wanted" in "  " | *" $rule "*) ;; *) return 0 ;; esac
    while IFS= read -r line; do
        echo "$rule: $line"
        breaches=$((breaches + 1))
    done < <("$@")
}

# The C files of the given folders that exist.
c_files() {
    local folder
    for folder in "$@"; do
        [ -d "$folder" ] && find "$folder" -name '*.[ch]'
    done | sort
}

# Every text file of the tree: the files under version control, or, where there is no repository, all.
text_files() {
    if [ -e .git ]; then
        git ls-files -- . ':!*.der' ':!tests/fuzz/corpus' | while IFS= read -r file; do [ ! -f "$file" ] || echo "$file"; done
    else
        find . -type f ! -path './build/*' ! -path '*/__pycache__/*' ! -name '*.der' ! -path './tests/fuzz/corpus/*' | sed 's|^\./||' | sort
    fi
}

# The code of the given folders as 'file:line:text', comments blanked out (a string that holds // is cut, which is safe).
code() {
    local files
    mapfile -t files < <(c_files "$@")
    [ "${#files[@]}" -eq 0 ] || awk '
        FNR == 1 { inside = 0 }
        {
            text = $0; out = ""
            while (text != "") {
                if (inside) {
                    end = index(text, "*/")
                    if (!end) break
                    text = substr(text, end + 2); inside = 0
                    continue
                }
                start = index(text, "/*"); line = index(text, "//")
                if (line && (!start || line < start)) { out = out substr(text, 1, line - 1); break }
                if (!start) { out = out text; break }
                out = out substr(text, 1, start - 1); text = substr(text, start + 2); inside = 1
            }
            print FILENAME ":" FNR ":" out
        }' "${files[@]}"
}

# Includes go downward only, from a higher rank to a lower one: plugin > {tls, worker} > config > access > jitr > sql >
# {x509, oauth, acl, psk} > common.  cli stands beside plugin: it includes neither plugin nor worker, and no folder includes cli.
# Nothing is declared but by its header: an `extern` in a .c file would reach up without an include.
ranks="common=0 x509=1 oauth=1 acl=1 psk=1 sql=2 jitr=3 access=4 config=5 tls=6 worker=6 cli=6 plugin=7"

layers() {
    code $folders | awk -F: -v ranks="$ranks" '
        BEGIN {
            n = split(ranks, all, " ")
            for (i = 1; i <= n; i++) { split(all[i], one, "="); rank[one[1]] = one[2] }
        }
        $1 ~ /\.c$/ && $3 ~ /^[ \t]*extern[ \t]/ { print $1 ":" $2 ": declared here, and not by its header:" $3 }
        match($0, /#[ \t]*include[ \t]*["<][^">]*[">]/) {
            path = substr($0, RSTART, RLENGTH); quoted = path ~ /"$/
            sub(/^[^"<]*["<]/, "", path); sub(/[">]$/, "", path)
            split(path, to, "/"); split($1, from, "/")
            if (!quoted && to[1] in rank && path ~ /\//) print $1 ":" $2 ": include by quotes: " path
            if (!quoted) next
            if (!(to[1] in rank) || path ~ /\/\.\.?\//) print $1 ":" $2 ": include by its folder: \"" path "\""
            else if (to[1] != from[1] && (rank[to[1]] >= rank[from[1]] || to[1] == "cli"))
                print $1 ":" $2 ": " from[1] "/ may not include " path
        }'
}

# only HEADERS-PATTERN FOLDER…: these third-party headers belong to those folders alone.
only() {
    local pattern=$1 folder elsewhere=()
    shift
    for folder in $folders; do
        case " $* " in *" $folder "*) ;; *) elsewhere+=("$folder") ;; esac
    done
    code "${elsewhere[@]}" | grep -E "#[[:space:]]*include[[:space:]]*[<\"]($pattern)" | sed "s|\$|  (only in: $*)|"
}

third_party() {
    only 'libpq|postgres|pg_config' sql cli # the command waits, and its statements stand in its table of verbs
    only 'jansson' oauth cli                # the command exports and imports the configuration as JSON
    only 'curl/' oauth
    only 'mosquitto|mqtt_protocol' plugin
    only 'openssl/ssl' tls plugin
    only 'openssl/x509\.h' x509 tls plugin oauth # public keys are encoded by it, too
    only 'openssl/(x509v3|x509_vfy|pem|ocsp|cms|pkcs)' x509 plugin
    only 'jwt\.h' cli # mints tokens for trying out; nothing verifies with it
}

# Unbounded copies, hidden state, shells; statements built from text; anything that jumps.
forbidden_names='strcpy|strcat|sprintf|vsprintf|gets|scanf|sscanf|strtok|system|popen|alloca|mktemp|tmpnam'
forbidden_names+='|atoi|atol|atof|setjmp|longjmp|PQexec|rand|ctime|asctime|gmtime|localtime'

forbidden_calls() {
    local calls=$forbidden_names
    code $folders $programs | grep -E "(^|[^[:alnum:]_>.])($calls)[[:space:]]*\(|(^|[[:space:]])goto[[:space:]]"
}

# The broker thread never waits, neither for a time, a lock, a file nor a name: what blocks belongs to worker/, sql/ and oauth/.
# poll() may ask (0 ms).  The one exception, by name: the start of the broker waits for the first snapshot
# (ia_replies_wait_at_start).
waiting_names='pthread_cond_(timed|clock)?wait|pthread_join|ppoll|p?select|epoll_p?wait|sem_(timed|clock)?wait|usleep|nanosleep'
waiting_names+='|clock_nanosleep|sleep|thrd_sleep|pause|sigtimedwait|sigwait(info)?|waitpid'
waiting_names+='|pthread_mutex_(timed|clock)?lock|pthread_rwlock_(timed|clock)?(rd|wr)lock|pthread_spin_lock|mtx_lock|flock|lockf'
waiting_names+='|f(re|d)?open|open(at|dir)?|f(data)?sync|getaddrinfo|gethostbyname|getpw(nam|uid)|syslog|connect|accept4?'

broker_waits() {
    local calls="$waiting_names|poll|[[:alnum:]_]*_wait"
    code plugin tls | sed 's/poll(&p, 1, 0)//' | grep -E "(^|[^[:alnum:]_>.])($calls)[[:space:]]*\\(" |
        grep -vE '^plugin/replies\.c:.*ia_worker_reply_wait\(core->worker, wait_us\)'
    code plugin tls | grep -E 'ia_replies_wait_at_start\(' | grep -vE '^plugin/(replies\.[ch]|plugin\.c):'
}

unowned_todos() {
    grep -nEw '(TODO|FIXME|XXX)' -r --include='*.[ch]' --include='*.py' --include='*.sh' --include='*.sql' \
        --include='CMakeLists.txt' $folders tests bench scripts 2>/dev/null |
        grep -vE '(TODO|FIXME|XXX)[^#]*#[0-9]+' | grep -v '^tests/lint.sh:'
}

formatting() {
    local files
    mapfile -t files < <(c_files $folders tests bench)
    [ "${#files[@]}" -eq 0 ] || clang-format --dry-run -Werror "${files[@]}" 2>&1 | grep -E '(error|warning):'
}

# A comment ends on the line of its last word.
lone_comment_ends() {
    local files
    mapfile -t files < <(c_files $folders tests bench)
    [ "${#files[@]}" -eq 0 ] || grep -nE '^[[:space:]]*\*+/[[:space:]]*$' /dev/null "${files[@]}"
}

# A string literal is not broken within a word.  (Data has no spaces: a key or a token may be broken anywhere.)
broken_strings() {
    local files
    mapfile -t files < <(c_files $folders tests bench)
    [ "${#files[@]}" -eq 0 ] || awk '
        FNR == 1 { before = "" }
        before ~ /[[:alnum:]]"$/ && before !~ /\\[a-z][0-9A-F]*"$/ && /^[[:space:]]*"[[:alnum:]]/ && before ~ /"[^"]* [^"]*"$/ {
            print FILENAME ":" FNR ": a string literal is broken within a word"
        }
        { before = $0 }' "${files[@]}"
}

# As ctags sees them: NAME FILE FIRST-LINE LAST-LINE STATIC, with '-' for a function that others may call.
functions() {
    local files
    mapfile -t files < <(c_files "$@")
    [ "${#files[@]}" -eq 0 ] || ctags --quiet --options=NONE --languages=C --langmap=C:+.h --kinds-C=f --fields=nef --sort=no -f - "${files[@]}" |
        awk -F '\t' '{
            first = last = 0; static = "-"
            for (i = 4; i <= NF; i++) {
                if ($i ~ /^line:/) first = substr($i, 6)
                if ($i ~ /^end:/) last = substr($i, 5)
                if ($i ~ /^file:/) static = "static"
            }
            print $1, $2, first, last, static
        }'
}

# A static function's name carries its noun: one word that stands in two files says nothing in a profile or a back trace.
bare_static_names() {
    functions $folders $programs | awk '$5 == "static" && $1 !~ /_/ {
            files[$1] = files[$1] (seen[$1, $2]++ ? "" : " " $2); where[$1, ++n[$1]] = $2 ":" $3
        }
        END {
            for (name in files) if (split(files[name], file, " ") > 1)
                for (i = 1; i <= n[name]; i++) print where[name, i] ": static " name "() stands in" files[name]
        }' | sort
}

long_files() {
    local file
    for file in $(c_files $folders $programs); do
        awk -v file="$file" 'END { if (NR > 450) print file ":1: has " NR " lines; at most 450" }' "$file"
    done
}

# No folder has more than a fifth of the code; cli apart, which is the sum of its sub-commands.
big_folders() {
    local folder
    for folder in $folders; do
        echo "$folder $(c_files "$folder" | xargs -r cat | wc -l)"
    done | awk '{ lines[$1] = $2; all += $2 }
        END { for (folder in lines) if (folder != "cli" && lines[folder] * 5 > all)
            print folder ": has " lines[folder] " of " all " lines; at most a fifth" }'
}

# symbol_tables MODE SOUGHT ARGUMENT…: what the objects of the build show; without one it cannot be looked for.
symbol_tables() {
    local mode=$1 sought=$2 build=${IOT_AUTH_BUILD:-build/release}
    shift 2
    if [ -d "$build" ]; then
        "$python" "$lint/circles.py" "$mode" "$build" "$@"
    else
        echo "lint: there is no $build, so $sought were not looked for" >&2
    fi
}

# No object uses a symbol of another that, by any path, uses one of its own.
object_circles() {
    symbol_tables objects "circles of objects" $folders
}

# What the objects use, however their sources spell it: no folder uses a symbol of a higher one, …
object_layers() {
    symbol_tables layers "symbols of higher folders" $ranks
}

# … none a forbidden name, and the broker thread's none that waits.
object_calls() {
    symbol_tables uses "forbidden names" "$forbidden_names" $folders
    symbol_tables uses "names that wait" "$waiting_names" plugin tls
}

# What a header offers is used by another object, or is declared under "for the tests".
dead_symbols() {
    symbol_tables dead "unused symbols" $folders
}

# The broker thread's side cannot reach libpq: no header that it includes, by any path, is the database connection's.
database_includes() {
    "$python" "$lint/circles.py" reach sql/db.h plugin access jitr -- $folders
}

banned_words() {
    text_files | grep -vE '(^|/)(LICENSE|package-lock\.json|banned-words\.txt)$' | "$python" "$lint/words.py" "$lint/banned-words.txt"
}

long_functions() {
    functions $folders tests bench | awk '$4 - $3 >= 60 { print $2 ":" $3 ": " $1 " has " $4 - $3 + 1 " lines; at most 60" }'
}

# What the documentation names as a file of the tree exists.
documented_paths() {
    local file path
    for file in *.md docs/*.md docs/reference/*.md; do
        [ -f "$file" ] || continue
        grep -noE '`(common|x509|acl|oauth|psk|sql|jitr|access|config|tls|worker|plugin|cli|contrib|tests|scripts|bench|docs|docker|debian|packaging|examples)/[A-Za-z0-9_./-]+`' "$file" |
            tr -d '`' | while IFS=: read -r line path; do
                [ -e "$path" ] || echo "$file:$line: there is no $path"
            done
    done
}

# Every file that can carry a comment says what its licence is.
spdx_lines() {
    local file
    text_files | grep -vE '(^|/)LICENSE$|\.(json|pem|key)$|^debian/(changelog|source/format)$' | while IFS= read -r file; do
        grep -q "SPDX-License-Identifier: ISC" "$file" || echo "$file:1: no SPDX line"
    done
}

# Header files say how they are guarded; scripts parse.
headers() {
    local file
    for file in $(c_files $folders $programs); do
        case "$file" in *.h) grep -q '^#pragma once$' "$file" || echo "$file:1: no #pragma once" ;; esac
    done
}

scripts_parse() {
    local file
    for file in scripts/* .ci/run tests/*.sh; do
        if [ -f "$file" ] && head -n 1 "$file" | grep -qE '^#.*(bash|Sourced)'; then
            bash -n "$file" 2>&1
        fi
    done
}

# The reference pages say what the code says: options with their defaults and bounds, reasons, scripts for administrators.  (The SQL
# functions take a database: tests/integration/test_reference.py.)
reference_pages() {
    [ ! -d docs/reference ] || "$python" "$lint/../../scripts/reference" --root . --check options reasons scripts 2>&1
}

# One version number: the package's is the one of CMakeLists.txt.
version_numbers() {
    local version
    [ -f debian/changelog ] || return 0
    version=$(sed -n 's/^project(.* VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
    head -n 1 debian/changelog | grep -qF "($version-" || echo "debian/changelog:1: is not version $version of CMakeLists.txt"
}

check layer layers
check third-party third_party
check forbidden-call forbidden_calls
check broker-waits broker_waits
check todo unowned_todos
check format formatting
check comment-end lone_comment_ends
check string broken_strings
check function-length long_functions
check file-length long_files
check folder-size big_folders
check static-name bare_static_names
check header headers
check header-circle "$python" "$lint/circles.py" headers $folders
check object-circle object_circles
check object-layer object_layers
check object-call object_calls
check dead-symbol dead_symbols
check database-include database_includes
check word banned_words
check path documented_paths
check spdx spdx_lines
check script scripts_parse
check version version_numbers
check reference reference_pages

if [ "$breaches" -gt 0 ]; then
    echo "lint: $breaches found"
    exit 1
fi
echo "lint: nothing found"
