"""Words that a shell completes after ``rfpmss``: verbs, subcommands, options, then files."""

SCRIPT = r"""# bash: eval "$(rfpmss --completion)"
# zsh:  autoload -U compinit bashcompinit; compinit; bashcompinit; eval "$(rfpmss --completion)"
declare -A _rfpmss_help
_rfpmss_words() {  # of the help of a verb, or of its subcommand: its subcommands and its options
    local help
    help="$(rfpmss "$@" --help 2> /dev/null)"
    printf '%s\n' "$help" | sed -nE '1s/.*\{([a-z,]+)\}.*/\1/p' | tr ',' '\n'
    printf '%s\n' "$help" | grep -oE -- '--[a-z][a-z0-9.-]*[a-z0-9]' | sort -u
}
_rfpmss() {
    local word="${COMP_WORDS[COMP_CWORD]}" words="VERBS --help --version" about
    if [ "$COMP_CWORD" -gt 1 ]; then
        about="${COMP_WORDS[1]}"
        if [ "$COMP_CWORD" -gt 2 ] && [ "${COMP_WORDS[2]#-}" = "${COMP_WORDS[2]}" ]; then
            about="$about ${COMP_WORDS[2]}"
        fi
        if [ -z "${_rfpmss_help[$about]}" ]; then
            _rfpmss_help[$about]="$(_rfpmss_words $about)"
        fi
        words="${_rfpmss_help[$about]}"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [ "$COMP_CWORD" -gt 1 ] && [ -z "$word" ]; then  # files, unless a subcommand is due
        COMPREPLY=($(compgen -W "$(printf '%s\n' "$words" | grep -v -- '^--')"))
    fi
}
complete -o default -F _rfpmss rfpmss
"""
"""The words are asked of the commands themselves, once a shell, so that no list grows old."""


def script(verbs: list[str]) -> str:
    """What ``rfpmss --completion`` prints, for bash and zsh."""
    return SCRIPT.replace("VERBS", " ".join(verbs))
