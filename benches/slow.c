/* A file system that shows DIR at another path, with DELAY microseconds added to every look-up. */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <fuse.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int root, delay;

static const char *below(const char *path) { return path[1] ? path + 1 : "."; }

static int get(const char *path, struct stat *to, struct fuse_file_info *info)
{
    (void)info;
    usleep(delay);
    return fstatat(root, below(path), to, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int list(const char *path, void *to, fuse_fill_dir_t fill, off_t at, struct fuse_file_info *info,
                enum fuse_readdir_flags flags)
{
    (void)at, (void)info, (void)flags;
    int fd = openat(root, below(path), O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return -errno;
    for (struct dirent *entry; (entry = readdir(dir));)
        fill(to, entry->d_name, NULL, 0, 0);
    closedir(dir);
    return 0;
}

static void *start(struct fuse_conn_info *conn, struct fuse_config *config)
{
    (void)conn;
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct fuse_operations operations = {.getattr = get, .readdir = list, .init = start};
    if (argc < 4)
        return 2;
    root = open(argv[1], O_RDONLY | O_DIRECTORY);
    delay = atoi(argv[2]);
    char *args[] = {argv[0], "-f", "-o", "max_threads=64,max_idle_threads=64,allow_other", argv[3], NULL};
    return root < 0 ? 1 : fuse_main(5, args, &operations, NULL);
}
