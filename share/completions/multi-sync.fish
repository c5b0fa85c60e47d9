# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_multi_sync_global_optspecs
    string join \n m/mode= hosts= hosts-file= engine= ssh= host-timeout= mixed-users config= p/processes= f/files= s/size= b/buckets= k/keep j/show P/progress stats events= progress-interval= report= report-of= d/dry-run survey trial-seconds= json r/rsync= verify= verify-only delete-limit= retries= stall= resume= retry-failed= status= runs set= bwlimit= pause continue stop schedule= max-load= max-dest-full= max-pressure= end-at= end-in= requeue submit nodes= partition= time= sbatch= print-job follow forget= keep-runs= on-end= on-failure= hook-seconds= metrics= metrics-listen= scan-threads= remote-scan= scan-by= first-pass= first-pass-threads= gitignore t/selftest e/bench g/benchshm bench-entries= bench-runs= bench-shape= bench-dest= bench-json= bench-chart= v/version h/help
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

complete -c multi-sync -n "__fish_multi_sync_needs_command" -s m -l mode -d 'one-to-one: this machine copies [default]; many-to-one: the hosts in --hosts copy' -r -f -a "one-to-one\t''
many-to-one\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l hosts -d 'source hosts, separated by commas: HOST or USER@HOST; HOST*N runs N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l hosts-file -d 'read the source hosts from FILE, one `host`, `host,user` or `N/host` per line; a host that is listed N times gets N rsyncs' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l engine -d 'how to reach the source hosts: ssh; slurm: the nodes of the Slurm job in which multi-sync runs [default there, without --hosts]; or a command that starts a shell on {host}' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l ssh -d 'the ssh that reaches the source hosts, with options [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l host-timeout -d 'end the run if no host has been usable for this long [default: 300]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l config -d 'read SRC, DEST, hosts and bucket directory from the files in DIR [default if SRC and DEST are missing: /etc/multi-sync]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s f -l files -d 'most entries in a bucket; if given, each bucket is copied by an rsync of its own [default: 1000, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s s -l size -d 'most bytes in a bucket; if given, each bucket is copied by an rsync of its own; K M G T P E are powers of 1024 [default: 1G, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s b -l buckets -d 'keep the state of the run (its run directory) below DIR [default: the user\'s state directory]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l events -d 'write events as JSON lines to FILE, to - (standard output, which is then used for nothing else), or to fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l progress-interval -d 'how often a progress event is written [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l report -d 'write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l report-of -d 'copy nothing; make the report from events that were written earlier; -: read them from standard input' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l trial-seconds -d 'with --survey: copy a sample into a temporary folder at DEST for N seconds, and estimate the whole copy from it' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s r -l rsync -d 'rsync\'s options, quoted as one word; they replace the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l verify -d 'after the copy, list what rsync -n -i would still change; checksum: compare contents' -r -f -a "quick\t''
checksum\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l delete-limit -d 'count deletions first, and delete nothing if there are more than N, or more than P% of the entries at DEST (exit code 25); none: delete even if a source is empty or on another file system than before' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l retries -d 'how often an rsync whose connection failed is retried [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l stall -d 'end and retry an rsync that has neither printed, read nor written anything for SECONDS' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l resume -d 'continue a run, given by its name, the beginning of its name, or its directory; multi-sync resume --help lists what may be changed; with --submit: in another batch job' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l retry-failed -d 'copy again what failed in a run' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l status -d 'show the state of a run' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l set -d 'change a running run with --processes, --schedule and the options below; print the settings in force' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bwlimit -d 'with --set: total bandwidth of the rsyncs that start from now on, in rsync\'s notation; or none' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l schedule -d 'settings by local time: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l max-load -d 'pause when the load of this machine reaches the first value, continue below the second [default: 0.8 of the first]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l max-dest-full -d 'pause when a local DEST is this full, continue below the second value [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l max-pressure -d 'pause while programs on this machine are held up by cpu, io or memory for this share of the time (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l end-at -d 'start no rsync that would not end by then, end what runs in time, and leave the rest to resume (code 30): HH:MM, YYYY-MM-DDTHH:MM' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l end-in -d 'the same, after this length of time: 90m, 1h30m, 2d [default in a Slurm job whose nodes copy: when the job ends]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l nodes -d 'with --submit: number of nodes [default: 1]; -p N rsyncs at once on all of them [default: one per processor that Slurm allocates]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l partition -d 'with --submit: the partition of the job [default: the site\'s default]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l time -d 'with --submit: the time limit of the job, as in sbatch (MINUTES, HH:MM:SS, DAYS-HH:MM:SS), or 90m, 24h, 2d [default: that of the partition]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l sbatch -d 'with --submit: further options of sbatch, quoted as one word: \'--account=x --mem=4G\'' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l forget -d 'remove the directory of a run that will not be resumed' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l keep-runs -d 'for how many days the directories of unfinished runs are kept, and how many of them [default: 30,50]; 0: keep none' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l on-end -d 'run COMMAND (sh -c) when the run has ended, with MULTI_SYNC_* variables and a JSON summary on standard input' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l on-failure -d 'run COMMAND in the same way, before --on-end, if the exit code is not 0' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l hook-seconds -d 'kill such a command after N seconds [default: 60]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l metrics -d 'write metrics to FILE.prom every few seconds, for the textfile collector of Prometheus\' node exporter' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l metrics-listen -d 'serve metrics at http://ADDR/metrics; ADDR is a PORT of the loopback interface, or ADDRESS:PORT' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l scan-threads -d 'number of threads that scan the source [default: one per core, more on network and FUSE file systems]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l remote-scan -d 'how a source on another machine is scanned: agent: by multi-sync there; find: by find; rsync: from rsync\'s own listing; auto: by the first of these that is available there [default: auto]' -r -f -a "auto\t''
agent\t''
find\t''
rsync\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l scan-by -d 'who scans a source that source hosts see: hosts: the hosts; here: this machine; auto: this machine, and the hosts as well if the source is on a network file system, the scan takes more than 10 seconds, and rsyncs wait for it [default: here]' -r -f -a "auto\t''
hosts\t''
here\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l first-pass -d 'if DEST is on this machine, create missing files and directories before rsyncs check every entry: auto: if that is exact and several rsyncs copy; on: also for one process; off [default: auto]' -r -f -a "auto\t''
on\t''
off\t''"
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l first-pass-threads -d 'number of threads that create them, for all rsyncs together [default: one for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-entries -d 'number of entries in the tree [default: 100000]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-runs -d 'number of rounds [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-shape -d 'the tree: a specification (bench-data/NAME.json) or a folder' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-dest -d 'with --bench: copy to a new folder in DEST' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-json -d 'write every measured time to FILE' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l bench-chart -d 'draw a chart of the speedup by number of processes' -r
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l mixed-users -d 'allow hosts to log in as different users; owners then depend on which host copies'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s k -l keep -d 'keep the run directory after success too'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s j -l show -d 'print the path of the run directory'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s P -l progress -d 'show progress: one live line, or without a terminal a line every 5 seconds; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l stats -d 'print statistics at the end, and the reason if one rsync did everything'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s d -l dry-run -d 'scan the source and pack it into buckets, but copy nothing'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l survey -d 'copy nothing; report what the source contains, what these options would lose, how the work would be divided, and how long it would take'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l json -d 'with --survey, --status or --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l verify-only -d 'copy nothing; list what rsync -n -i would change'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l runs -d 'list your runs that did not finish; --runs --buckets DIR: those below DIR'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l pause -d 'with --set: stop the running rsyncs (SIGSTOP), and start no more'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l continue -d 'with --set: continue after --pause'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l stop -d 'with --set: start no more rsyncs, and end when the running ones have finished; the run can be resumed (exit code 30)'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l requeue -d 'have Slurm queue the job again if its time was too short; with --buckets, the run then continues. Not after two jobs in a row in which nothing was done'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l submit -d 'submit the copy as a Slurm batch job whose nodes copy, and show its progress; ^C does not end the job; a job whose time is too short is queued again'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l print-job -d 'print the batch script of such a job, and submit nothing; you can change it and give it to sbatch'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l follow -d 'with --status: show the progress of the run until it ends, and end with its exit code; ^C does not end the run'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -l gitignore -d 'leave out what .gitignore and .ignore files exclude; cannot be combined with --delete'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s t -l selftest -d 'test this machine, its rsync and, if given, DEST; -r adds options to every copy'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s e -l bench -d 'measure one rsync against 1, 2, 4, 8 and 16 processes, on a tree in the temporary folder'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s g -l benchshm -d 'measure like --bench, in /dev/shm or $SHM'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s v -s V -l version -d 'print the version of multi-sync'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -s h -l help -d 'print a short help; -hh: the whole help; after a mode (multi-sync resume --help): the help of that mode'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "resume" -d 'Continues a run that did not finish'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "retry" -d 'Copies again what failed in a run, and what the run did not reach'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "status" -d 'Shows the state of a run, also while it is running'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "runs" -d 'Lists the runs below DIR'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "verify" -d 'Copies nothing and lists what one more rsync would change, by size and time, or with --verify=checksum by content'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "survey" -d 'Scans the source and reports what it contains, what the rsync options would not carry over, how the work would be divided, and with --trial-seconds how long a copy would take'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "explain" -d 'Explains a command line: whether several rsyncs or one would copy, and why, what becomes of each option, and how an rsync would be started'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "report" -d 'Makes the report of a run from the events that --events wrote, even if the run was killed; - reads them from standard input'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "set" -d 'Changes a running run, from any machine that sees its directory, and prints the settings in force; without options it only prints them'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "selftest" -d 'Tests this machine and its rsync and, if given, copies to DEST'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "bench" -d 'Measures one rsync against 1, 2, 4, 8 and 16 processes, on a tree that it makes'
complete -c multi-sync -n "__fish_multi_sync_needs_command" -a "help" -d 'Prints a short help, the help of one word, or everything'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l hosts -d 'source hosts, separated by commas: HOST or USER@HOST; HOST*N runs N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l hosts-file -d 'read the source hosts from FILE, one `host`, `host,user` or `N/host` per line; a host that is listed N times gets N rsyncs' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l engine -d 'how to reach the source hosts: ssh; slurm: the nodes of the Slurm job in which multi-sync runs [default there, without --hosts]; or a command that starts a shell on {host}' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l ssh -d 'the ssh that reaches the source hosts, with options [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l events -d 'write events as JSON lines to FILE, to - (standard output, which is then used for nothing else), or to fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l progress-interval -d 'how often a progress event is written [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l report -d 'write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l retries -d 'how often an rsync whose connection failed is retried [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l stall -d 'end and retry an rsync that has neither printed, read nor written anything for SECONDS' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l schedule -d 'settings by local time: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l max-load -d 'pause when the load of this machine reaches the first value, continue below the second [default: 0.8 of the first]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l max-dest-full -d 'pause when a local DEST is this full, continue below the second value [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l max-pressure -d 'pause while programs on this machine are held up by cpu, io or memory for this share of the time (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l end-at -d 'start no rsync that would not end by then, end what runs in time, and leave the rest to resume (code 30): HH:MM, YYYY-MM-DDTHH:MM' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l end-in -d 'the same, after this length of time: 90m, 1h30m, 2d [default in a Slurm job whose nodes copy: when the job ends]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l on-end -d 'run COMMAND (sh -c) when the run has ended, with MULTI_SYNC_* variables and a JSON summary on standard input' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l on-failure -d 'run COMMAND in the same way, before --on-end, if the exit code is not 0' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l hook-seconds -d 'kill such a command after N seconds [default: 60]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l metrics -d 'write metrics to FILE.prom every few seconds, for the textfile collector of Prometheus\' node exporter' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l metrics-listen -d 'serve metrics at http://ADDR/metrics; ADDR is a PORT of the loopback interface, or ADDRESS:PORT' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -s P -l progress -d 'show progress: one live line, or without a terminal a line every 5 seconds; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l stats -d 'print statistics at the end, and the reason if one rsync did everything'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand resume" -l requeue -d 'have Slurm queue the job again if its time was too short; with --buckets, the run then continues. Not after two jobs in a row in which nothing was done'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l hosts -d 'source hosts, separated by commas: HOST or USER@HOST; HOST*N runs N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l hosts-file -d 'read the source hosts from FILE, one `host`, `host,user` or `N/host` per line; a host that is listed N times gets N rsyncs' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l engine -d 'how to reach the source hosts: ssh; slurm: the nodes of the Slurm job in which multi-sync runs [default there, without --hosts]; or a command that starts a shell on {host}' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l ssh -d 'the ssh that reaches the source hosts, with options [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l events -d 'write events as JSON lines to FILE, to - (standard output, which is then used for nothing else), or to fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l progress-interval -d 'how often a progress event is written [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l report -d 'write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l retries -d 'how often an rsync whose connection failed is retried [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l stall -d 'end and retry an rsync that has neither printed, read nor written anything for SECONDS' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l schedule -d 'settings by local time: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l max-load -d 'pause when the load of this machine reaches the first value, continue below the second [default: 0.8 of the first]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l max-dest-full -d 'pause when a local DEST is this full, continue below the second value [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l max-pressure -d 'pause while programs on this machine are held up by cpu, io or memory for this share of the time (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l end-at -d 'start no rsync that would not end by then, end what runs in time, and leave the rest to resume (code 30): HH:MM, YYYY-MM-DDTHH:MM' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l end-in -d 'the same, after this length of time: 90m, 1h30m, 2d [default in a Slurm job whose nodes copy: when the job ends]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l on-end -d 'run COMMAND (sh -c) when the run has ended, with MULTI_SYNC_* variables and a JSON summary on standard input' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l on-failure -d 'run COMMAND in the same way, before --on-end, if the exit code is not 0' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l hook-seconds -d 'kill such a command after N seconds [default: 60]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l metrics -d 'write metrics to FILE.prom every few seconds, for the textfile collector of Prometheus\' node exporter' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l metrics-listen -d 'serve metrics at http://ADDR/metrics; ADDR is a PORT of the loopback interface, or ADDRESS:PORT' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -s P -l progress -d 'show progress: one live line, or without a terminal a line every 5 seconds; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l stats -d 'print statistics at the end, and the reason if one rsync did everything'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand retry" -l requeue -d 'have Slurm queue the job again if its time was too short; with --buckets, the run then continues. Not after two jobs in a row in which nothing was done'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand status" -l json -d 'with --survey, --status or --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand status" -l follow -d 'with --status: show the progress of the run until it ends, and end with its exit code; ^C does not end the run'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand runs" -l json -d 'with --survey, --status or --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s f -l files -d 'most entries in a bucket; if given, each bucket is copied by an rsync of its own [default: 1000, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s s -l size -d 'most bytes in a bucket; if given, each bucket is copied by an rsync of its own; K M G T P E are powers of 1024 [default: 1G, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s b -l buckets -d 'keep the state of the run (its run directory) below DIR [default: the user\'s state directory]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l events -d 'write events as JSON lines to FILE, to - (standard output, which is then used for nothing else), or to fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l report -d 'write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s r -l rsync -d 'rsync\'s options, quoted as one word; they replace the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l verify -d 'after the copy, list what rsync -n -i would still change; checksum: compare contents' -r -f -a "quick\t''
checksum\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l retries -d 'how often an rsync whose connection failed is retried [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l stall -d 'end and retry an rsync that has neither printed, read nor written anything for SECONDS' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s k -l keep -d 'keep the run directory after success too'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -s P -l progress -d 'show progress: one live line, or without a terminal a line every 5 seconds; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand verify" -l stats -d 'print statistics at the end, and the reason if one rsync did everything'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s f -l files -d 'most entries in a bucket; if given, each bucket is copied by an rsync of its own [default: 1000, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s s -l size -d 'most bytes in a bucket; if given, each bucket is copied by an rsync of its own; K M G T P E are powers of 1024 [default: 1G, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l report -d 'write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l trial-seconds -d 'with --survey: copy a sample into a temporary folder at DEST for N seconds, and estimate the whole copy from it' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -s r -l rsync -d 'rsync\'s options, quoted as one word; they replace the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l scan-threads -d 'number of threads that scan the source [default: one per core, more on network and FUSE file systems]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l json -d 'with --survey, --status or --runs: print JSON'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand survey" -l gitignore -d 'leave out what .gitignore and .ignore files exclude; cannot be combined with --delete'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s m -l mode -d 'one-to-one: this machine copies [default]; many-to-one: the hosts in --hosts copy' -r -f -a "one-to-one\t''
many-to-one\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l hosts -d 'source hosts, separated by commas: HOST or USER@HOST; HOST*N runs N rsyncs there' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l hosts-file -d 'read the source hosts from FILE, one `host`, `host,user` or `N/host` per line; a host that is listed N times gets N rsyncs' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l engine -d 'how to reach the source hosts: ssh; slurm: the nodes of the Slurm job in which multi-sync runs [default there, without --hosts]; or a command that starts a shell on {host}' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l ssh -d 'the ssh that reaches the source hosts, with options [default: ssh]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s f -l files -d 'most entries in a bucket; if given, each bucket is copied by an rsync of its own [default: 1000, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s s -l size -d 'most bytes in a bucket; if given, each bucket is copied by an rsync of its own; K M G T P E are powers of 1024 [default: 1G, and an rsync copies several buckets]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s b -l buckets -d 'keep the state of the run (its run directory) below DIR [default: the user\'s state directory]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l events -d 'write events as JSON lines to FILE, to - (standard output, which is then used for nothing else), or to fd:N' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l progress-interval -d 'how often a progress event is written [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l report -d 'write a report at the end: a web page (.html), its data (.json), or one line per rsync (.csv); with --survey: the survey' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s r -l rsync -d 'rsync\'s options, quoted as one word; they replace the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l delete-limit -d 'count deletions first, and delete nothing if there are more than N, or more than P% of the entries at DEST (exit code 25); none: delete even if a source is empty or on another file system than before' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l retries -d 'how often an rsync whose connection failed is retried [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l stall -d 'end and retry an rsync that has neither printed, read nor written anything for SECONDS' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l schedule -d 'settings by local time: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l max-load -d 'pause when the load of this machine reaches the first value, continue below the second [default: 0.8 of the first]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l max-dest-full -d 'pause when a local DEST is this full, continue below the second value [default: 5 less]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l max-pressure -d 'pause while programs on this machine are held up by cpu, io or memory for this share of the time (PSI): io=40:20,cpu=80' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l end-at -d 'start no rsync that would not end by then, end what runs in time, and leave the rest to resume (code 30): HH:MM, YYYY-MM-DDTHH:MM' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l end-in -d 'the same, after this length of time: 90m, 1h30m, 2d [default in a Slurm job whose nodes copy: when the job ends]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l scan-threads -d 'number of threads that scan the source [default: one per core, more on network and FUSE file systems]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l remote-scan -d 'how a source on another machine is scanned: agent: by multi-sync there; find: by find; rsync: from rsync\'s own listing; auto: by the first of these that is available there [default: auto]' -r -f -a "auto\t''
agent\t''
find\t''
rsync\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l scan-by -d 'who scans a source that source hosts see: hosts: the hosts; here: this machine; auto: this machine, and the hosts as well if the source is on a network file system, the scan takes more than 10 seconds, and rsyncs wait for it [default: here]' -r -f -a "auto\t''
hosts\t''
here\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l first-pass -d 'if DEST is on this machine, create missing files and directories before rsyncs check every entry: auto: if that is exact and several rsyncs copy; on: also for one process; off [default: auto]' -r -f -a "auto\t''
on\t''
off\t''"
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l first-pass-threads -d 'number of threads that create them, for all rsyncs together [default: one for each rsync]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s k -l keep -d 'keep the run directory after success too'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -s P -l progress -d 'show progress: one live line, or without a terminal a line every 5 seconds; -PP: a line for each rsync as well'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l stats -d 'print statistics at the end, and the reason if one rsync did everything'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand explain" -l gitignore -d 'leave out what .gitignore and .ignore files exclude; cannot be combined with --delete'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -s p -l processes -d 'number of rsyncs that run at once; auto: find the best number while copying [default: 1]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l bwlimit -d 'with --set: total bandwidth of the rsyncs that start from now on, in rsync\'s notation; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l schedule -d 'settings by local time: \'Mon-Fri 08:00-18:00 p=2,bwlimit=50M; Sun pause; else p=16\'; or none' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l pause -d 'with --set: stop the running rsyncs (SIGSTOP), and start no more'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l continue -d 'with --set: continue after --pause'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand set" -l stop -d 'with --set: start no more rsyncs, and end when the running ones have finished; the run can be resumed (exit code 30)'
complete -c multi-sync -n "__fish_multi_sync_using_subcommand selftest" -s r -l rsync -d 'rsync\'s options, quoted as one word; they replace the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -s r -l rsync -d 'rsync\'s options, quoted as one word; they replace the default [default: \'-aS --numeric-ids\']' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-entries -d 'number of entries in the tree [default: 100000]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-runs -d 'number of rounds [default: 3]' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-shape -d 'the tree: a specification (bench-data/NAME.json) or a folder' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-dest -d 'with --bench: copy to a new folder in DEST' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-json -d 'write every measured time to FILE' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -l bench-chart -d 'draw a chart of the speedup by number of processes' -r
complete -c multi-sync -n "__fish_multi_sync_using_subcommand bench" -s g -l benchshm -d 'measure like --bench, in /dev/shm or $SHM'
# RUN is one of those that `multi-sync runs` lists; behind the word rsync it is rsync's own completion.
complete -c multi-sync -n "__fish_seen_subcommand_from resume retry status" -f -a "(multi-sync runs 2>/dev/null | string split -f 1 ' ')"
complete -c multi-sync -n "__fish_use_subcommand" -f -a "rsync" -d "put in front of an rsync command"
complete -c multi-sync -n "__fish_seen_subcommand_from rsync" -w rsync
