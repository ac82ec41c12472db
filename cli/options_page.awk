# SPDX-License-Identifier: ISC
# mosquitto_iot_auth(5) from the table of docs/reference/options.md, which tests/lint.sh compares with plugin/options.c.
BEGIN {
    FS = " *[|] *"
    print ".\\\" SPDX-License-Identifier: ISC"
    print ".TH mosquitto_iot_auth 5 \"\" \"mosquitto-iot-auth\""
    print ".SH NAME\nmosquitto_iot_auth \\- options of the plugin in mosquitto.conf"
    print ".SH SYNOPSIS\n.B plugin /usr/lib/mosquitto/mosquitto_iot_auth.so\n.br\n.B plugin_opt_\\fINAME\\fB \\fIVALUE\\fR"
    print ".SH DESCRIPTION\nEach option is a line plugin_opt_NAME of mosquitto.conf, after the line that loads the plugin."
    print "An unknown option, or a bad value, stops the broker with a message that names it."
    print ".SH OPTIONS"
}
function roff(text) {
    gsub(/`/, "", text); gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text)
    gsub(/\[|\]\([^)]*\)/, "", text) # links: their text
    return text
}
/^[|] `db_conninfo`/ { inside = 1 }
inside && !/^[|]/ { inside = 0 }
inside { printf ".TP\n.B %s\n%s.\nValues: %s.\nDefault: %s.\n", roff($2), roff($5), roff($4), roff($3) }
END { print ".SH SEE ALSO\n.BR mosquitto.conf (5),\n.BR iot\\-auth (1)" }
