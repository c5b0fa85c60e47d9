/*
 * A file system in memory that loses what was not synced: making the directory /.crash-SEED is a power cut. Then the content of a file is that of its
 * last fsync, or more of it in one of the ways that disks have (all, cut anywhere, zeros where data was to come), and a name is what the last
 * fsync of its directory said, or what it was since, each drawn by the seed. Nothing is promised that POSIX does not promise.
 *
 *   cc -o losing_fs losing_fs.c $(pkg-config --cflags --libs fuse3);  losing_fs -f -s MOUNTPOINT
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fuse.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bytes { char *data; size_t size; };

struct entry { char *name; struct node *node; struct entry *next; };

struct node {
    mode_t mode;
    uid_t uid;
    gid_t gid;
    ino_t number;
    struct timespec mtime;
    struct bytes live, kept;
    /* Of a directory: names as they are, and as the disk has them. */
    struct entry *names, *on_disk;
};

static struct node *root;
static uint64_t seed;
static ino_t numbers;

static uint64_t drawn(uint64_t bound)
{
    uint64_t mixed = (seed += 0x9e3779b97f4a7c15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return bound ? (mixed ^ (mixed >> 31)) % bound : 0;
}

static struct node *new_node(mode_t mode)
{
    struct node *node = calloc(1, sizeof *node);
    struct fuse_context *context = fuse_get_context();
    node->mode = mode;
    node->uid = context ? context->uid : getuid();
    node->gid = context ? context->gid : getgid();
    node->number = ++numbers;
    clock_gettime(CLOCK_REALTIME, &node->mtime);
    return node;
}

static struct entry **find(struct entry **names, const char *name, size_t length)
{
    while (*names && (strlen((*names)->name) != length || memcmp((*names)->name, name, length)))
        names = &(*names)->next;
    return names;
}

static void put(struct entry **names, const char *name, struct node *node)
{
    struct entry **place = find(names, name, strlen(name));
    if (!node) {
        if (*place)
            *place = (*place)->next;
        return;
    }
    if (!*place) {
        *place = calloc(1, sizeof **place);
        (*place)->name = strdup(name);
    }
    (*place)->node = node;
}

static struct node *walk(const char *path, const char **last)
{
    struct node *node = root;
    while (*++path || last) {
        size_t length = strcspn(path, "/");
        if (last && !path[length]) {
            *last = path;
            return node;
        }
        struct entry *entry = *find(&node->names, path, length);
        if (!entry)
            return NULL;
        node = entry->node;
        path += length;
        if (!*path)
            break;
    }
    return node;
}

static struct node *at(const char *path) { return strcmp(path, "/") ? walk(path, NULL) : root; }

static void copy(struct bytes *to, const struct bytes *from)
{
    free(to->data);
    to->size = from->size;
    to->data = malloc(from->size + 1);
    if (from->size)
        memcpy(to->data, from->data, from->size);
}

static void resize(struct bytes *bytes, size_t size)
{
    bytes->data = realloc(bytes->data, size + 1);
    if (size > bytes->size)
        memset(bytes->data + bytes->size, 0, size - bytes->size);
    bytes->size = size;
}

static void lose_data(struct node *node)
{
    struct bytes *live = &node->live, *kept = &node->kept;
    size_t least = kept->size < live->size ? kept->size : live->size;
    switch (drawn(4)) {
    case 0: copy(live, kept); break;
    case 1: resize(live, least + drawn(live->size - least + 1)); break;
    case 2:
        if (live->size > least) {
            size_t from = least + drawn(live->size - least);
            memset(live->data + from, 0, live->size - from);
        }
        break;
    default: break;
    }
    copy(kept, live);
}

static void crash(struct node *node)
{
    struct entry *after = NULL, *entry;
    for (entry = node->names; entry; entry = entry->next) {
        struct entry *disk = *find(&node->on_disk, entry->name, strlen(entry->name));
        struct node *left = disk && disk->node == entry->node ? entry->node : drawn(2) ? entry->node : disk ? disk->node : NULL;
        if (left)
            put(&after, entry->name, left);
    }
    for (entry = node->on_disk; entry; entry = entry->next)
        if (!*find(&node->names, entry->name, strlen(entry->name)) && drawn(2))
            put(&after, entry->name, entry->node);
    node->names = after;
    node->on_disk = NULL;
    for (entry = after; entry; entry = entry->next) {
        put(&node->on_disk, entry->name, entry->node);
        S_ISDIR(entry->node->mode) ? crash(entry->node) : lose_data(entry->node);
    }
}

static int do_getattr(const char *path, struct stat *stat, struct fuse_file_info *info)
{
    struct node *node = info && info->fh ? (struct node *)(uintptr_t)info->fh : at(path);
    if (!node)
        return -ENOENT;
    memset(stat, 0, sizeof *stat);
    stat->st_mode = node->mode;
    stat->st_ino = node->number;
    stat->st_nlink = S_ISDIR(node->mode) ? 2 : 1;
    stat->st_uid = node->uid;
    stat->st_gid = node->gid;
    stat->st_size = node->live.size;
    stat->st_mtim = stat->st_ctim = stat->st_atim = node->mtime;
    return 0;
}

static int do_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    (void)offset, (void)info, (void)flags;
    struct node *node = at(path);
    if (!node)
        return -ENOENT;
    fill(buffer, ".", NULL, 0, 0);
    fill(buffer, "..", NULL, 0, 0);
    for (struct entry *entry = node->names; entry; entry = entry->next)
        fill(buffer, entry->name, NULL, 0, 0);
    return 0;
}

static int make(const char *path, mode_t mode, struct fuse_file_info *info)
{
    const char *name;
    struct node *above = walk(path, &name), *node;
    if (!above)
        return -ENOENT;
    if (*find(&above->names, name, strlen(name)))
        return -EEXIST;
    put(&above->names, name, node = new_node(mode));
    if (info)
        info->fh = (uintptr_t)node;
    return 0;
}

static int do_mkdir(const char *path, mode_t mode)
{
    if (!strncmp(path, "/.crash-", 8)) {
        seed = strtoull(path + 8, NULL, 10);
        crash(root);
        return -ECANCELED;
    }
    return make(path, S_IFDIR | mode, NULL);
}

static int do_create(const char *path, mode_t mode, struct fuse_file_info *info) { return make(path, S_IFREG | mode, info); }

static int do_open(const char *path, struct fuse_file_info *info)
{
    struct node *node = at(path);
    if (!node)
        return -ENOENT;
    info->fh = (uintptr_t)node;
    info->direct_io = 0;
    return 0;
}

static int removed(const char *path, int is_dir)
{
    const char *name;
    struct node *above = walk(path, &name), *node = at(path);
    if (!node)
        return -ENOENT;
    if (is_dir && node->names)
        return -ENOTEMPTY;
    put(&above->names, name, NULL);
    return 0;
}

static int do_unlink(const char *path) { return removed(path, 0); }
static int do_rmdir(const char *path) { return removed(path, 1); }

static int do_rename(const char *from, const char *to, unsigned flags)
{
    const char *old_name, *new_name;
    struct node *old = walk(from, &old_name), *new = walk(to, &new_name), *node = at(from);
    if (!node || !new)
        return -ENOENT;
    if (flags & 1 && at(to))
        return -EEXIST;
    if (flags & ~1u)
        return -EINVAL;
    put(&old->names, old_name, NULL);
    put(&new->names, new_name, node);
    return 0;
}

static int do_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)path;
    struct bytes *live = &((struct node *)(uintptr_t)info->fh)->live;
    if ((size_t)offset >= live->size)
        return 0;
    if (size > live->size - offset)
        size = live->size - offset;
    memcpy(buffer, live->data + offset, size);
    return size;
}

static int do_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)path;
    struct node *node = (struct node *)(uintptr_t)info->fh;
    if (offset + size > node->live.size)
        resize(&node->live, offset + size);
    memcpy(node->live.data + offset, buffer, size);
    clock_gettime(CLOCK_REALTIME, &node->mtime);
    return size;
}

static int do_truncate(const char *path, off_t size, struct fuse_file_info *info)
{
    struct node *node = info && info->fh ? (struct node *)(uintptr_t)info->fh : at(path);
    if (!node)
        return -ENOENT;
    resize(&node->live, size);
    return 0;
}

static int do_fsync(const char *path, int data, struct fuse_file_info *info)
{
    (void)path, (void)data;
    struct node *node = (struct node *)(uintptr_t)info->fh;
    copy(&node->kept, &node->live);
    return 0;
}

static int do_fsyncdir(const char *path, int data, struct fuse_file_info *info)
{
    (void)data, (void)info;
    struct node *node = at(path);
    if (!node)
        return -ENOENT;
    node->on_disk = NULL;
    for (struct entry *entry = node->names; entry; entry = entry->next)
        put(&node->on_disk, entry->name, entry->node);
    return 0;
}

static int do_chmod(const char *path, mode_t mode, struct fuse_file_info *info)
{
    (void)info;
    struct node *node = at(path);
    if (!node)
        return -ENOENT;
    node->mode = (node->mode & S_IFMT) | (mode & 07777);
    return 0;
}

static int do_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *info)
{
    (void)uid, (void)gid, (void)info;
    return at(path) ? 0 : -ENOENT;
}

static int do_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *info)
{
    (void)times, (void)info;
    return at(path) ? 0 : -ENOENT;
}

static void *do_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->use_ino = 1;
    config->hard_remove = 1;
    /* What was lost must not be in a cache. */
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
    config->direct_io = 1;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = do_init, .getattr = do_getattr, .readdir = do_readdir, .mkdir = do_mkdir, .create = do_create, .open = do_open,
    .unlink = do_unlink, .rmdir = do_rmdir, .rename = do_rename, .read = do_read, .write = do_write, .truncate = do_truncate,
    .fsync = do_fsync, .fsyncdir = do_fsyncdir, .chmod = do_chmod, .chown = do_chown, .utimens = do_utimens,
};

int main(int count, char **words)
{
    root = new_node(S_IFDIR | 0755);
    return fuse_main(count, words, &operations, NULL);
}
