#include "nn/base/cache.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A file is four lines: this one, digest of the other two, key, value in hexadecimal.
static const char magic[] = "mien cache 1\n";

// Free the result; NULL: there is no place for a cache. A relative XDG_CACHE_HOME is to be ignored (XDG base directories).
static char *folder(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (xdg && xdg[0] == '/') return mn_sprintf("%s/mien", xdg);
    return home && home[0] == '/' ? mn_sprintf("%s/.cache/mien", home) : NULL;
}

static char *path_of(const char *key)
{
    char hex[MN_DIGEST_SIZE], *dir = folder(), *path;

    if (!dir) return NULL;
    mn_digest(key, strlen(key), hex);
    path = mn_sprintf("%s/%s", dir, hex);
    free(dir);
    return path;
}

static char *text_of(const char *key, const void *value, size_t size)
{
    const unsigned char *byte = value;
    char digest[MN_DIGEST_SIZE], *hex = mn_calloc(2 * size + 1, 1), *body, *text;

    for (size_t i = 0; i < size; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", (unsigned)byte[i]);
    body = mn_sprintf("%s\n%s\n", key, hex);
    mn_digest(body, strlen(body), digest);
    text = mn_sprintf("%s%s\n%s", magic, digest, body);
    free(body);
    free(hex);
    return text;
}

static int nibble(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

// The value of a text is its last line: whoever makes the same text of it again has checked everything.
static int parse(const char *text, size_t length, const char *key, void *value, size_t size)
{
    const size_t head = sizeof magic - 1 + MN_DIGEST_SIZE, before = head + strlen(key) + 1;
    unsigned char found[MN_CACHE_MAX_VALUE];
    char *again;
    int same;

    if (length != before + 2 * size + 1) return 0;
    for (size_t i = 0; i < size; i++)
        found[i] = (unsigned char)(nibble(text[before + 2 * i]) << 4 | (nibble(text[before + 2 * i + 1]) & 15));
    again = text_of(key, found, size);
    same = memcmp(again, text, length) == 0;
    free(again);
    if (same) memcpy(value, found, size);
    return same;
}

static int usable_arguments(const char *key, size_t size)
{
    return size <= MN_CACHE_MAX_VALUE && !strchr(key, '\n');
}

int mn_cache_usable(void)
{
    char *dir = folder();
    int usable = dir && mn_dir_make(dir) == MN_OK && access(dir, R_OK | W_OK | X_OK) == 0;

    free(dir);
    return usable;
}

int mn_cache_get(const char *key, void *value, size_t size)
{
    char *path = path_of(key), *text = NULL;
    size_t length = 0;
    int found = path && usable_arguments(key, size) &&
                mn_file_read(path, strlen(key) + 2 * size + 128, &text, &length) == MN_OK &&
                parse(text, length, key, value, size);

    free(text);
    free(path);
    return found;
}

static int write_temporary(char *name, const char *text)
{
    const size_t length = strlen(text);
    int fd = mkostemp(name, 0);
    ssize_t written;

    if (fd < 0) return 0;
    written = write(fd, text, length);
    if (close(fd) == 0 && written == (ssize_t)length) return 1;
    (void)unlink(name);
    return 0;
}

// Takes a temporary file's place under its name unless another process was first: link does not replace a file, also
// over NFS. What lies there and is no value is replaced.
static int settle(const char *temporary, const char *path, const char *key, void *value, size_t size)
{
    int kept = link(temporary, path) == 0 || mn_cache_get(key, value, size);

    if (!kept) return rename(temporary, path) == 0;
    (void)unlink(temporary);
    return 1;
}

int mn_cache_put(const char *key, void *value, size_t size)
{
    char *path, *temporary, *text;
    int kept = 0;

    if (!usable_arguments(key, size) || !mn_cache_usable() || !(path = path_of(key))) return 0;
    temporary = mn_sprintf("%s.XXXXXX", path);
    text = text_of(key, value, size);
    if (write_temporary(temporary, text)) {
        kept = settle(temporary, path, key, value, size);
        if (!kept) (void)unlink(temporary);
    }
    free(text);
    free(temporary);
    free(path);
    return kept;
}
