# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_multi_sync_global_optspecs
    string join \n m/mode= hosts= hosts-file= ssh= host-timeout= mixed-users config= p/processes= f/files= s/size= b/buckets= k/keep j/show P/progress stats events= progress-interval= report= report-of= d/dry-run survey trial-seconds= json r/rsync= verify= verify-only delete-limit= retries= stall= resume= retry-failed= status= runs set= bwlimit= pause continue stop schedule= max-load= max-dest-full= max-pressure= forget= keep-runs= on-end= on-failure= hook-seconds= metrics= metrics-listen= scan-threads= gitignore t/selftest e/bench g/benchshm bench-entries= bench-runs= bench-shape= bench-dest= bench-json= bench-chart= v/version h/help
end

function __fish_multi_sync_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_multi_sync_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_multi_sync_using_subcommand
    set -l cmd (__fish_multi_sync_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c multi-sync -n "__fish_multi_sync_needs_command" -s m -l mode -d 'one-to-one: this machine copies [default]; many-to-one: the hosts of --hosts do' -r -f -a "one-to-one\t''
many-to-one\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l hosts -d 'source hosts: HOST or USER@HOST, with commas; HOST*N for N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l hosts-file -d 'source hosts from FILE, a host or `host,user` in each line' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l ssh -d 'how to reach the source hosts [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l host-timeout -d 'end the run when no host could be used for so long [default: 300]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l config -d 'SRC, DEST, hosts and bucket directory from the files in DIR [default without SRC and DEST: /etc/multi-sync]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s f -l files -d 'entries in a bucket, which is one rsync then [default: 1000, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s s -l size -d 'bytes in a bucket, which is one rsync then; K M G T P E are powers of 1024 [default: 1G, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s b -l buckets -d 'keep the state of the run (the run directory) below DIR [default: the user\'s place for state]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l events -d 'write what happens as JSON lines to FILE, - (standard output, which then has nothing else), or fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l progress-interval -d 'how often progress is among the events [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l report -d 'write a report at the end: a page (.html), its data (.json), or the launches (.csv)' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l report-of -d 'copy nothing, and make the report of events that were written before; -: from standard input' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l trial-seconds -d 'with --survey: copy a sample into a folder of its own at DEST for so long, and estimate the whole' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s r -l rsync -d 'rsync\'s options, as one word in quotes, in the place of the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l verify -d 'after the copy list what rsync -n -i still finds to do; checksum: by content' -r -f -a "quick\t''
checksum\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l delete-limit -d 'count deletions first: if they are more than N, or P% of what DEST has, delete nothing (exit code 25); none: also where a source is empty or on another file system' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l retries -d 'how often a launch whose connection failed is tried again [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l stall -d 'end an rsync that for so long prints nothing and neither reads nor writes, and try again' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l resume -d 'go on with a run: its name, the beginning of it, or its directory; -p, -P, --retries, --stall, --stats, --schedule and the throttles may be given anew' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l retry-failed -d 'launch once more what failed in a run' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l status -d 'print where a run stands' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l set -d 'change a run that is under way, with --processes, --schedule and what follows; print what is in force' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bwlimit -d 'with --set: bandwidth of all rsyncs together that start from now on, as rsync writes it; or none' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l schedule -d 'what is in force when, by the local clock: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l max-load -d 'pause while this machine\'s load is so high, go on at the second [default: 0.8 of it]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l max-dest-full -d 'pause when a DEST on this machine is so full, go on at the second [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l max-pressure -d 'pause while programs of this machine wait so often for cpu, io or memory (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l forget -d 'remove the directory of a run that is not to be resumed' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l keep-runs -d 'how long directories of runs that did not come to their end stay, and how many [default: 30,50]; 0: keep none' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l on-end -d 'run COMMAND by sh -c when the run has ended, with MULTI_SYNC_... in its environment and a summary as JSON on standard input' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l on-failure -d 'the same, before --on-end, if the exit code is not 0' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l hook-seconds -d 'end such a command after so long [default: 60]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l metrics -d 'write figures of the run into FILE.prom every few seconds, for Prometheus\' node exporter' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l metrics-listen -d 'let Prometheus read them at http://ADDR/metrics: a PORT of this machine alone, or ADDRESS:PORT' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l scan-threads -d 'threads that read the source [default: one per core, more on network and FUSE file systems]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-entries -d 'entries of the tree that is measured [default: 100000]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-runs -d 'rounds of the benchmark [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-shape -d 'the tree that is measured: a specification (bench-data/NAME.json), or a folder' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-dest -d 'with --bench: copy into a new folder there' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-json -d 'write every time that --bench has measured into FILE' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-chart -d 'draw the speedup by processes that --bench has measured' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l mixed-users -d 'hosts may log in as different users: owners then depend on the host that copies'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s k -l keep -d 'keep the run directory also after success'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s j -l show -d 'print the path of the run directory'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s P -l progress -d 'show progress: one live line, or a line every 5 seconds without a terminal; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l stats -d 'print statistics at the end, and why one rsync did it all'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s d -l dry-run -d 'read the source and pack it into buckets, copy nothing'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l survey -d 'copy nothing; tell what the source has, what of it would be lost, how it would be divided, and how long it would take'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l json -d 'with --survey, --status and --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l verify-only -d 'copy nothing, only list what rsync -n -i finds to do'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l runs -d 'print your runs that did not come to their end; --runs DIR: those below --buckets DIR'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l pause -d 'with --set: stop the rsyncs that run (SIGSTOP), and start none'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l continue -d 'with --set: go on after --pause'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l stop -d 'with --set: start no more, and end when what runs has come to its end; the run can be resumed (code 30)'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l gitignore -d 'leave out what .gitignore and .ignore files say; not with --delete'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s t -l selftest -d 'test this machine, its rsync, and DEST if it is given; -r adds options to every copy'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s e -l bench -d 'measure one rsync and 1, 2, 4, 8, 16 processes on a tree in the temporary folder'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s g -l benchshm -d 'measure as --bench does, in /dev/shm, or $SHM'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s v -s V -l version -d 'print the version of multi-sync'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s h -l help -d 'print a short help; -hh: all of it; behind a mode (multi-sync resume --help): that of the mode'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "resume" -d 'Goes on with a run that did not come to its end'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "retry" -d 'Copies once more what failed in a run, and nothing else'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "status" -d 'Prints where a run stands, also while it is running'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "runs" -d 'Lists the runs below DIR'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "verify" -d 'Copies nothing and lists what one more rsync would do, by size and time, or with --verify=checksum by content'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "survey" -d 'Reads the source and tells what is in it, what of it the rsync options would not carry over, how it would be divided, and with --trial-seconds how long a copy would take'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "explain" -d 'Says of a command line whether several rsyncs or one would do it, and why, what becomes of each option, and how an rsync would be started'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "report" -d 'Makes a report of a run from the events that --events wrote, also of one that was killed; - reads them from standard input'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "set" -d 'Changes a run that is under way, here or on another machine that sees its directory, and prints what is in force; without an option it only prints'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "selftest" -d 'Tests this machine and its rsync, and copies to DEST if it is given'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "bench" -d 'Measures one rsync and 1, 2, 4, 8, 16 processes on a tree of its own'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "help" -d 'Prints a short help, that of a word, or everything'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l hosts -d 'source hosts: HOST or USER@HOST, with commas; HOST*N for N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l hosts-file -d 'source hosts from FILE, a host or `host,user` in each line' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l ssh -d 'how to reach the source hosts [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l events -d 'write what happens as JSON lines to FILE, - (standard output, which then has nothing else), or fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l progress-interval -d 'how often progress is among the events [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l report -d 'write a report at the end: a page (.html), its data (.json), or the launches (.csv)' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l retries -d 'how often a launch whose connection failed is tried again [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l stall -d 'end an rsync that for so long prints nothing and neither reads nor writes, and try again' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l schedule -d 'what is in force when, by the local clock: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l max-load -d 'pause while this machine\'s load is so high, go on at the second [default: 0.8 of it]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l max-dest-full -d 'pause when a DEST on this machine is so full, go on at the second [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l max-pressure -d 'pause while programs of this machine wait so often for cpu, io or memory (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l on-end -d 'run COMMAND by sh -c when the run has ended, with MULTI_SYNC_... in its environment and a summary as JSON on standard input' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l on-failure -d 'the same, before --on-end, if the exit code is not 0' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l hook-seconds -d 'end such a command after so long [default: 60]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l metrics -d 'write figures of the run into FILE.prom every few seconds, for Prometheus\' node exporter' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l metrics-listen -d 'let Prometheus read them at http://ADDR/metrics: a PORT of this machine alone, or ADDRESS:PORT' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -s P -l progress -d 'show progress: one live line, or a line every 5 seconds without a terminal; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l stats -d 'print statistics at the end, and why one rsync did it all'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l hosts -d 'source hosts: HOST or USER@HOST, with commas; HOST*N for N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l hosts-file -d 'source hosts from FILE, a host or `host,user` in each line' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l ssh -d 'how to reach the source hosts [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l events -d 'write what happens as JSON lines to FILE, - (standard output, which then has nothing else), or fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l progress-interval -d 'how often progress is among the events [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l report -d 'write a report at the end: a page (.html), its data (.json), or the launches (.csv)' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l retries -d 'how often a launch whose connection failed is tried again [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l stall -d 'end an rsync that for so long prints nothing and neither reads nor writes, and try again' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l schedule -d 'what is in force when, by the local clock: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l max-load -d 'pause while this machine\'s load is so high, go on at the second [default: 0.8 of it]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l max-dest-full -d 'pause when a DEST on this machine is so full, go on at the second [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l max-pressure -d 'pause while programs of this machine wait so often for cpu, io or memory (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l on-end -d 'run COMMAND by sh -c when the run has ended, with MULTI_SYNC_... in its environment and a summary as JSON on standard input' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l on-failure -d 'the same, before --on-end, if the exit code is not 0' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l hook-seconds -d 'end such a command after so long [default: 60]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l metrics -d 'write figures of the run into FILE.prom every few seconds, for Prometheus\' node exporter' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l metrics-listen -d 'let Prometheus read them at http://ADDR/metrics: a PORT of this machine alone, or ADDRESS:PORT' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -s P -l progress -d 'show progress: one live line, or a line every 5 seconds without a terminal; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l stats -d 'print statistics at the end, and why one rsync did it all'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand status" -l json -d 'with --survey, --status and --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand runs" -l json -d 'with --survey, --status and --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s f -l files -d 'entries in a bucket, which is one rsync then [default: 1000, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s s -l size -d 'bytes in a bucket, which is one rsync then; K M G T P E are powers of 1024 [default: 1G, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s b -l buckets -d 'keep the state of the run (the run directory) below DIR [default: the user\'s place for state]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l events -d 'write what happens as JSON lines to FILE, - (standard output, which then has nothing else), or fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l report -d 'write a report at the end: a page (.html), its data (.json), or the launches (.csv)' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s r -l rsync -d 'rsync\'s options, as one word in quotes, in the place of the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l verify -d 'after the copy list what rsync -n -i still finds to do; checksum: by content' -r -f -a "quick\t''
checksum\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l retries -d 'how often a launch whose connection failed is tried again [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l stall -d 'end an rsync that for so long prints nothing and neither reads nor writes, and try again' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s k -l keep -d 'keep the run directory also after success'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s P -l progress -d 'show progress: one live line, or a line every 5 seconds without a terminal; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l stats -d 'print statistics at the end, and why one rsync did it all'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s f -l files -d 'entries in a bucket, which is one rsync then [default: 1000, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s s -l size -d 'bytes in a bucket, which is one rsync then; K M G T P E are powers of 1024 [default: 1G, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l trial-seconds -d 'with --survey: copy a sample into a folder of its own at DEST for so long, and estimate the whole' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s r -l rsync -d 'rsync\'s options, as one word in quotes, in the place of the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l scan-threads -d 'threads that read the source [default: one per core, more on network and FUSE file systems]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l json -d 'with --survey, --status and --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s m -l mode -d 'one-to-one: this machine copies [default]; many-to-one: the hosts of --hosts do' -r -f -a "one-to-one\t''
many-to-one\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l hosts -d 'source hosts: HOST or USER@HOST, with commas; HOST*N for N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l hosts-file -d 'source hosts from FILE, a host or `host,user` in each line' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l ssh -d 'how to reach the source hosts [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s f -l files -d 'entries in a bucket, which is one rsync then [default: 1000, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s s -l size -d 'bytes in a bucket, which is one rsync then; K M G T P E are powers of 1024 [default: 1G, several buckets for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s b -l buckets -d 'keep the state of the run (the run directory) below DIR [default: the user\'s place for state]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l events -d 'write what happens as JSON lines to FILE, - (standard output, which then has nothing else), or fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l progress-interval -d 'how often progress is among the events [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l report -d 'write a report at the end: a page (.html), its data (.json), or the launches (.csv)' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s r -l rsync -d 'rsync\'s options, as one word in quotes, in the place of the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l delete-limit -d 'count deletions first: if they are more than N, or P% of what DEST has, delete nothing (exit code 25); none: also where a source is empty or on another file system' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l retries -d 'how often a launch whose connection failed is tried again [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l stall -d 'end an rsync that for so long prints nothing and neither reads nor writes, and try again' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l schedule -d 'what is in force when, by the local clock: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l max-load -d 'pause while this machine\'s load is so high, go on at the second [default: 0.8 of it]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l max-dest-full -d 'pause when a DEST on this machine is so full, go on at the second [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l max-pressure -d 'pause while programs of this machine wait so often for cpu, io or memory (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l scan-threads -d 'threads that read the source [default: one per core, more on network and FUSE file systems]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s k -l keep -d 'keep the run directory also after success'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s P -l progress -d 'show progress: one live line, or a line every 5 seconds without a terminal; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l stats -d 'print statistics at the end, and why one rsync did it all'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l gitignore -d 'leave out what .gitignore and .ignore files say; not with --delete'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -s p -l processes -d 'rsyncs that copy at once; auto: as many as help [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l bwlimit -d 'with --set: bandwidth of all rsyncs together that start from now on, as rsync writes it; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l schedule -d 'what is in force when, by the local clock: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l pause -d 'with --set: stop the rsyncs that run (SIGSTOP), and start none'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l continue -d 'with --set: go on after --pause'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l stop -d 'with --set: start no more, and end when what runs has come to its end; the run can be resumed (code 30)'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand selftest" -s r -l rsync -d 'rsync\'s options, as one word in quotes, in the place of the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -s r -l rsync -d 'rsync\'s options, as one word in quotes, in the place of the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-entries -d 'entries of the tree that is measured [default: 100000]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-runs -d 'rounds of the benchmark [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-shape -d 'the tree that is measured: a specification (bench-data/NAME.json), or a folder' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-dest -d 'with --bench: copy into a new folder there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-json -d 'write every time that --bench has measured into FILE' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-chart -d 'draw the speedup by processes that --bench has measured' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -s g -l benchshm -d 'measure as --bench does, in /dev/shm, or $SHM'
# RUN is one of those that `multi-sync runs` lists; behind the word rsync it is rsync's own completion.
complete -c multi-sync -n "__fish_seen_subcommand_from resume retry status" -f -a "(multi-sync runs 2>/dev/null | string split -f 1 ' ')"
complete -c multi-sync -n "__fish_use_subcommand" -f -a "rsync" -d "put in front of an rsync command"
complete -c multi-sync -n "__fish_seen_subcommand_from rsync" -w rsync
