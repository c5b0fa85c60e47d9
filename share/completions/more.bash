# Behind the word rsync it is rsync's own completion; RUN is one of those that `multi-sync runs` lists.
_multi_sync_words() {
    local at word
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        if [[ $word == rsync || $word == */rsync ]]; then
            if declare -F _comp_command_offset >/dev/null; then
                _comp_command_offset "$at"
                return
            elif declare -F _command_offset >/dev/null; then
                _command_offset "$at"
                return
            fi
            COMPREPLY=()
            return
        fi
    done
    local before=${COMP_WORDS[COMP_CWORD-1]} current=${COMP_WORDS[COMP_CWORD]}
    [[ $current == -* ]] && before=""
    case $before in
        resume | retry | status | --resume | --retry-failed | --status | --forget)
            local runs
            runs=$(multi-sync runs 2>/dev/null | cut -d ' ' -f 1)
            mapfile -t COMPREPLY < <(compgen -W "$runs" -- "$current")
            [[ ${#COMPREPLY[@]} -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
    esac
    # Bash takes = for a word of its own.
    if [[ $current == "=" ]]; then
        before="="
        current=""
    fi
    if [[ $before == "=" && ${COMP_WORDS[*]} == *" --verify ="* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "quick checksum" -- "$current")
        return
    fi
    _multi__sync "$@"
}

complete -F _multi_sync_words -o bashdefault -o default multi-sync
