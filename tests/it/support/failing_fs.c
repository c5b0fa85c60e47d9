/*
 * A file system that shows a directory, waits before each answer, and fails reads and writes at random with EIO. With FAILING_LOST_PER_MILLE it loses
 * some of what is written, and says so only when the file is closed, as a network may (close(2)). With FAILING_SYNC=1 every fsync fails, as over a quota. While the file
 * FAILING_HANG is there every fsync waits until the process is killed, as for a server that does not answer.
 *
 *   cc -o failing_fs failing_fs.c $(pkg-config --cflags --libs fuse3)
 *   FAILING_SOURCE=/some/tree FAILING_DELAY_US=1000 FAILING_PER_MILLE=20 ./failing_fs -f MOUNTPOINT
 */
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "is_killed.h"

enum { PATH_BYTES = 8192 };
static const char *source, *hang;
static long delay_us, per_mille, lost_per_mille, sync_fails;

#define REAL(path) \
    char real[PATH_BYTES]; \
    wait_a_while(); \
    snprintf(real, sizeof real, "%s%s", source, path)
#define ANSWER(call) return (call) < 0 ? -errno : 0

static void wait_a_while(void)
{
    struct timespec pause = { delay_us / 1000000, (delay_us % 1000000) * 1000 };
    if (delay_us > 0)
        nanosleep(&pause, NULL);
}

/* What was made belongs to who has asked for it. */
static int given(const char *real, int made)
{
    struct fuse_context *context = fuse_get_context();
    if (made >= 0 && context->uid != 0 && lchown(real, context->uid, context->gid) != 0)
        return -errno;
    return made < 0 ? -errno : 0;
}

static int fails(void)
{
    return per_mille > 0 && random() % 1000 < per_mille;
}

static int do_getattr(const char *path, struct stat *found, struct fuse_file_info *file)
{
    REAL(path);
    (void)file;
    ANSWER(lstat(real, found));
}

static int do_readlink(const char *path, char *text, size_t size)
{
    REAL(path);
    ssize_t length = readlink(real, text, size - 1);
    if (length < 0)
        return -errno;
    text[length] = 0;
    return 0;
}

static int do_readdir(const char *path, void *out, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
                      enum fuse_readdir_flags flags)
{
    REAL(path);
    (void)offset, (void)file, (void)flags;
    DIR *dir = opendir(real);
    if (!dir)
        return -errno;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat found = { .st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type) };
        fill(out, entry->d_name, &found, 0, 0);
    }
    closedir(dir);
    return 0;
}

static int do_open(const char *path, struct fuse_file_info *file)
{
    REAL(path);
    int handle = open(real, file->flags & ~(O_NOFOLLOW | O_CREAT | O_EXCL));
    file->fh = (uint64_t)handle;
    ANSWER(handle);
}

/* What is lost of an open file, to be said once: its bytes, or what was only made. */
enum { NOTHING, BYTES, NAME };
static char lost[65536];

static int do_create(const char *path, mode_t mode, struct fuse_file_info *file)
{
    REAL(path);
    int handle = open(real, file->flags, mode);
    file->fh = (uint64_t)handle;
    if (handle >= 0)
        lost[file->fh % sizeof lost] = lost_per_mille > 0 && random() % 1000 < lost_per_mille ? NAME : NOTHING;
    return given(real, handle);
}

static int do_read(const char *path, char *bytes, size_t size, off_t at, struct fuse_file_info *file)
{
    (void)path;
    wait_a_while();
    if (fails())
        return -EIO;
    ssize_t count = pread((int)file->fh, bytes, size, at);
    return count < 0 ? -errno : (int)count;
}

static int do_flush(const char *path, struct fuse_file_info *file)
{
    REAL(path);
    int what = lost[file->fh % sizeof lost];
    lost[file->fh % sizeof lost] = NOTHING;
    if (what == NAME)
        unlink(real);
    return what == NOTHING ? 0 : -EIO;
}

static int do_write(const char *path, const char *bytes, size_t size, off_t at, struct fuse_file_info *file)
{
    (void)path;
    wait_a_while();
    if (fails())
        return -EIO;
    lost[file->fh % sizeof lost] = NOTHING;
    if (lost_per_mille > 0 && random() % 1000 < lost_per_mille) {
        lost[file->fh % sizeof lost] = BYTES;
        if (ftruncate((int)file->fh, at + (off_t)size) != 0)
            return -errno;
        /* Long enough for a child that is started now to close it before the one who writes. */
        usleep(20000);
        return (int)size;
    }
    ssize_t count = pwrite((int)file->fh, bytes, size, at);
    return count < 0 ? -errno : (int)count;
}

static int do_release(const char *path, struct fuse_file_info *file)
{
    (void)path;
    close((int)file->fh);
    return 0;
}

static int do_mkdir(const char *path, mode_t mode)
{
    REAL(path);
    return given(real, mkdir(real, mode));
}

static int do_mknod(const char *path, mode_t mode, dev_t device)
{
    REAL(path);
    return given(real, mknod(real, mode, device));
}

static int do_symlink(const char *target, const char *path)
{
    REAL(path);
    return given(real, symlink(target, real));
}

static int do_unlink(const char *path)
{
    REAL(path);
    ANSWER(unlink(real));
}

static int do_rmdir(const char *path)
{
    REAL(path);
    ANSWER(rmdir(real));
}

static int do_rename(const char *from, const char *to, unsigned flags)
{
    char other[PATH_BYTES];
    REAL(from);
    snprintf(other, sizeof other, "%s%s", source, to);
    ANSWER(renameat2(AT_FDCWD, real, AT_FDCWD, other, flags));
}

static int do_link(const char *from, const char *to)
{
    char other[PATH_BYTES];
    REAL(from);
    snprintf(other, sizeof other, "%s%s", source, to);
    ANSWER(link(real, other));
}

static int do_chmod(const char *path, mode_t mode, struct fuse_file_info *file)
{
    REAL(path);
    (void)file;
    ANSWER(chmod(real, mode));
}

static int do_chown(const char *path, uid_t user, gid_t group, struct fuse_file_info *file)
{
    REAL(path);
    (void)file;
    ANSWER(lchown(real, user, group));
}

static int do_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
    REAL(path);
    (void)file;
    ANSWER(truncate(real, size));
}

static int do_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *file)
{
    REAL(path);
    (void)file;
    ANSWER(utimensat(AT_FDCWD, real, times, AT_SYMLINK_NOFOLLOW));
}

/* An overlay on top of it needs them. */
static int do_setxattr(const char *path, const char *name, const char *value, size_t size, int flags)
{
    REAL(path);
    ANSWER(lsetxattr(real, name, value, size, flags));
}

static int do_getxattr(const char *path, const char *name, char *value, size_t size)
{
    REAL(path);
    ssize_t length = lgetxattr(real, name, value, size);
    return length < 0 ? -errno : (int)length;
}

static int do_listxattr(const char *path, char *list, size_t size)
{
    REAL(path);
    ssize_t length = llistxattr(real, list, size);
    return length < 0 ? -errno : (int)length;
}

static int do_removexattr(const char *path, const char *name)
{
    REAL(path);
    ANSWER(lremovexattr(real, name));
}

static int do_fsync(const char *path, int data, struct fuse_file_info *file)
{
    (void)path, (void)data, (void)file;
    pid_t waits = fuse_get_context()->pid;
    while (hang && !access(hang, F_OK) && !is_killed(waits))
        usleep(20000);
    return sync_fails ? -EDQUOT : 0;
}

static void *do_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->use_ino = 1;
    config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = do_init, .getattr = do_getattr, .readlink = do_readlink, .readdir = do_readdir, .open = do_open,
    .create = do_create, .read = do_read, .write = do_write, .release = do_release, .flush = do_flush, .mkdir = do_mkdir, .mknod = do_mknod,
    .symlink = do_symlink, .unlink = do_unlink, .rmdir = do_rmdir, .rename = do_rename, .link = do_link,
    .setxattr = do_setxattr, .getxattr = do_getxattr, .listxattr = do_listxattr, .removexattr = do_removexattr,
    .chmod = do_chmod, .chown = do_chown, .truncate = do_truncate, .utimens = do_utimens,
    .fsync = do_fsync, .fsyncdir = do_fsync,
};

static long number(const char *name)
{
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

int main(int count, char **words)
{
    source = getenv("FAILING_SOURCE");
    if (!source)
        return fprintf(stderr, "failing_fs: FAILING_SOURCE is not set\n"), 2;
    delay_us = number("FAILING_DELAY_US");
    per_mille = number("FAILING_PER_MILLE");
    lost_per_mille = number("FAILING_LOST_PER_MILLE");
    hang = getenv("FAILING_HANG");
    sync_fails = number("FAILING_SYNC");
    umask(0);
    return fuse_main(count, words, &operations, NULL);
}
