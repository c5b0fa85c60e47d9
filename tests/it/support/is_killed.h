/* Of the file systems that can hang. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* proc_pid_status(5): of each thread of a process that is to end, SIGKILL is among the pending signals. */
static int is_killed(pid_t thread)
{
    char name[64], line[256];
    int killed = 1;
    snprintf(name, sizeof name, "/proc/%d/status", (int)thread);
    FILE *status = fopen(name, "re");
    if (!status)
        return 1;
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "SigPnd:", 7))
            killed = strtoull(line + 7, NULL, 16) >> (SIGKILL - 1) & 1;
    fclose(status);
    return killed;
}
