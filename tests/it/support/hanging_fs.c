/*
 * Another directory, seen through a file system that can hang: while the file CONTROL exists, everything about the path which it holds (such as
 * "/a/b"), and about what is below, waits. That is how a hard NFS mount behaves whose server does not answer: only a process that is being killed
 * stops waiting. Everything else goes on meanwhile. With "@1000" in it everything takes 1000 microseconds. Nothing can be written.
 *
 *   cc -o hanging_fs hanging_fs.c $(pkg-config --cflags --libs fuse3);  hanging_fs DIRECTORY CONTROL -f MOUNTPOINT
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "is_killed.h"

static int top;
static const char *directory, *control;

static int hangs(const char *path)
{
    char where[PATH_MAX];
    int file = open(control, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, where, sizeof where);
    close(file);
    if (length > 1 && where[0] == '@') {
        where[length < PATH_MAX ? length : PATH_MAX - 1] = 0;
        usleep(atoi(where + 1));
        return 0;
    }
    return length > 0 && !strncmp(path, where, length) && (!path[length] || path[length] == '/');
}

/* 0 when the path can be had; an error where nobody waits for it any more. */
static int wait_for(const char *path)
{
    const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
    while (hangs(path)) {
        if (is_killed(fuse_get_context()->pid))
            return -EINTR;
        nanosleep(&pause, NULL);
    }
    return 0;
}

static const char *below(const char *path) { return path[1] ? path + 1 : "."; }

static int result(int done) { return done < 0 ? -errno : done; }

static int do_getattr(const char *path, struct stat *stat, struct fuse_file_info *info)
{
    (void)info;
    int error = wait_for(path);
    return error ? error : result(fstatat(top, below(path), stat, AT_SYMLINK_NOFOLLOW));
}

static int do_readlink(const char *path, char *target, size_t size)
{
    int error = wait_for(path);
    if (error)
        return error;
    ssize_t length = readlinkat(top, below(path), target, size - 1);
    if (length < 0)
        return -errno;
    target[length] = 0;
    return 0;
}

static int do_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    (void)offset, (void)info, (void)flags;
    int error = wait_for(path);
    if (error)
        return error;
    int opened = openat(top, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listed = opened < 0 ? NULL : fdopendir(opened);
    if (!listed)
        return -errno;
    struct dirent *entry;
    while ((entry = readdir(listed))) {
        struct stat stat = { .st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type) };
        if (fill(buffer, entry->d_name, &stat, 0, 0))
            break;
    }
    closedir(listed);
    return 0;
}

static int do_open(const char *path, struct fuse_file_info *info)
{
    int error = wait_for(path);
    if (error)
        return error;
    int opened = openat(top, below(path), (info->flags & O_ACCMODE) | O_CLOEXEC);
    if (opened < 0)
        return -errno;
    info->fh = opened;
    return 0;
}

static int do_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info)
{
    int error = wait_for(path);
    return error ? error : result(pread(info->fh, buffer, size, offset));
}

static int do_release(const char *path, struct fuse_file_info *info)
{
    (void)path;
    return result(close(info->fh));
}

static int do_listxattr(const char *path, char *list, size_t size)
{
    char name[2 * PATH_MAX];
    int error = wait_for(path);
    snprintf(name, sizeof name, "%s%s", directory, path);
    return error ? error : result(llistxattr(name, list, size));
}

static int do_getxattr(const char *path, const char *attribute, char *value, size_t size)
{
    char name[2 * PATH_MAX];
    int error = wait_for(path);
    snprintf(name, sizeof name, "%s%s", directory, path);
    return error ? error : result(lgetxattr(name, attribute, value, size));
}

static void *do_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    connection->want &= ~FUSE_CAP_READDIRPLUS;
    /* Or whoever looks for a name keeps its directory from all others. */
    connection->want |= connection->capable & FUSE_CAP_PARALLEL_DIROPS;
    config->use_ino = 1;
    /* What is in a cache does not hang. */
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
    config->direct_io = 1;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = do_init, .getattr = do_getattr, .readlink = do_readlink, .readdir = do_readdir, .open = do_open, .read = do_read,
    .release = do_release, .listxattr = do_listxattr, .getxattr = do_getxattr,
};

int main(int count, char **words)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    if (count < 4 || (top = open(words[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        fprintf(stderr, "usage: %s DIRECTORY CONTROL FUSE-ARGUMENTS\n", words[0]);
        return 1;
    }
    directory = words[1];
    control = words[2];
    fuse_opt_add_arg(&args, words[0]);
#if FUSE_MINOR_VERSION >= 12
    /* Each that hangs takes one; older ones have no limit. */
    fuse_opt_add_arg(&args, "-omax_threads=200");
#endif
    for (int number = 3; number < count; number++)
        fuse_opt_add_arg(&args, words[number]);
    return fuse_main(args.argc, args.argv, &operations, NULL);
}
