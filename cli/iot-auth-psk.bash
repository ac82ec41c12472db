# SPDX-License-Identifier: ISC
_iot_auth_psk() {
    local cur=${COMP_WORDS[COMP_CWORD]}
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --key-file) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    --identity | --expires-at | generate | import) COMPREPLY=() ;;
    *) mapfile -t COMPREPLY < <(compgen -W 'generate import rotate check --key-file --identity --expires-at --help --version' -- "$cur") ;;
    esac
}
complete -F _iot_auth_psk iot-auth-psk
