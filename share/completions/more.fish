# RUN is one of those that `multi-sync runs` lists; behind the word rsync it is rsync's own completion.
complete -c multi-sync -n "__fish_seen_subcommand_from resume retry status" -f -a "(multi-sync runs 2>/dev/null | string split -f 1 ' ')"
complete -c multi-sync -n "__fish_use_subcommand" -f -a "rsync" -d "put in front of an rsync command"
complete -c multi-sync -n "__fish_seen_subcommand_from rsync" -w rsync
