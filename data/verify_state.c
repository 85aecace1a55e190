// The state file of `mien data verify`: what was found of each shard, appended when the shard is done. A line is 16
// hexadecimal digits, the XXH3-64 of the rest, a blank and a JSON object.
#include "data/file.h"
#include "data/verify_parts.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FORMAT "mien-verify-1"
enum { DIGEST = 16, LINE_LEAST = DIGEST + 4 };
static const size_t state_most = (size_t)1 << 30;

static void put_digest(char *out, const char *text, size_t size)
{
    static const char digit[] = "0123456789abcdef";
    uint64_t h = XXH3_64bits(text, size);
    for (int i = 0; i < DIGEST; i++)
        out[i] = digit[h >> (60 - 4 * i) & 15];
}

// The object of a line without its end, or NULL.
static json_t *parse_line(const char *line, size_t size)
{
    char digest[DIGEST];
    if (size < LINE_LEAST || line[DIGEST] != ' ') return NULL;
    put_digest(digest, line + DIGEST + 1, size - DIGEST - 1);
    if (memcmp(digest, line, DIGEST) != 0) return NULL;
    json_t *o = json_loadb(line + DIGEST + 1, size - DIGEST - 1, JSON_REJECT_DUPLICATES, NULL);
    if (o && json_is_object(o)) return o;
    json_decref(o);
    return NULL;
}

size_t data__verify_state_parse(const char *text, size_t size, json_t **head, json_t **done)
{
    size_t at = 0;
    *head = NULL;
    *done = json_object();
    while (at < size) {
        const char *end = memchr(text + at, '\n', size - at);
        json_t *o = end ? parse_line(text + at, (size_t)(end - text) - at) : NULL;
        if (!o) break;
        at = (size_t)(end - text) + 1;
        const char *file = json_string_value(json_object_get(o, "file"));
        if (!*head)
            *head = o;
        else if (file)
            (void)json_object_set_new(*done, file, o); // fails only for what is not UTF-8: that shard is read again
        else
            json_decref(o);
    }
    return at;
}

static mn_err write_line(const data__verify_state *s, const json_t *o)
{
    char *body = json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII);
    mn_assert(body != NULL);
    char *line = mn_sprintf("%16s %s\n", "", body);
    put_digest(line, body, strlen(body));
    mn_err err = mn_file_write(s->fd, line, strlen(line), s->path);
    if (err == MN_OK && fdatasync(s->fd) != 0) err = mn_fail(MN_EIO, "%s: %s", s->path, strerror(errno));
    free(line);
    free(body);
    return err;
}

static mn_err begin(data__verify_state *s, const char *what)
{
    json_t *head = json_pack("{s:s, s:o}", "format", FORMAT, "check", data__json_text(what));
    mn_assert(head != NULL);
    s->done = json_object();
    mn_err err = write_line(s, head);
    json_decref(head);
    return err;
}

// Takes what an earlier check left; what is no such file is not touched.
static mn_err go_on(data__verify_state *s, const char *what, const char *text, size_t size)
{
    json_t *head, *wanted = data__json_text(what);
    size_t sound = data__verify_state_parse(text, size, &head, &s->done);
    const char *format = json_string_value(json_object_get(head, "format"));
    mn_err err = MN_OK;
    if (!format || strcmp(format, FORMAT) != 0)
        err = mn_fail(MN_ECREATE, "%s: not the state of a check of shards: name another file", s->path);
    else if (!json_equal(json_object_get(head, "check"), wanted))
        err = mn_fail(MN_ECREATE, "%s: is the state of another check: name another file, or remove it", s->path);
    else if (ftruncate(s->fd, (off_t)sound) != 0 || lseek(s->fd, (off_t)sound, SEEK_SET) < 0)
        err = mn_fail(MN_EIO, "%s: %s", s->path, strerror(errno));
    json_decref(wanted);
    json_decref(head);
    return err;
}

static void release(data__verify_state *s)
{
    if (s->fd >= 0) (void)close(s->fd); // every line is durable; releases the lock
    json_decref(s->done);
    *s = (data__verify_state){.fd = -1};
}

mn_err data__verify_state_open(data__verify_state *s, const char *path, const char *what)
{
    struct stat st;
    char *text = NULL;
    mn_err err = MN_OK;
    *s = (data__verify_state){.path = path};
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (s->fd < 0) return mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno));
    if (fstat(s->fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > state_most)
        err = mn_fail(MN_ECREATE, "%s: not a file that a check of shards wrote: name another", path);
    else if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        err = mn_fail(MN_ECREATE, "%s: another check is using it", path);
    if (err == MN_OK && st.st_size == 0) {
        err = begin(s, what);
    } else if (err == MN_OK) {
        text = malloc((size_t)st.st_size);
        err = !text ? mn_fail(MN_EMEM, "%s: no memory for it", path)
                    : data_file_pread(s->fd, path, text, (size_t)st.st_size, 0);
        if (err == MN_OK) err = go_on(s, what, text, (size_t)st.st_size);
    }
    free(text);
    if (err != MN_OK) release(s);
    return err;
}

// What a shard is known by: a file that was written to, or was damaged in its seal since, is read again. The time of change
// (ctime) counts too: no program can set it back.
json_t *data__verify_identity(const char *dir, const char *file)
{
    char *path = mn_sprintf("%s/%s", dir, file);
    unsigned char block[DATA__SEAL_BYTES] = {0};
    struct stat st;
    int64_t size;
    int fd = -1;
    json_t *o = NULL;
    if (mn_file_open(&fd, path, &size) == MN_OK && fstat(fd, &st) == 0 &&
        (size < (int64_t)sizeof(block) || data_file_pread(fd, path, block, sizeof(block), 0) == MN_OK))
        o = json_pack("[I, I, I, I]", (json_int_t)size,
                      (json_int_t)st.st_mtim.tv_sec * 1000000000 + (json_int_t)st.st_mtim.tv_nsec,
                      (json_int_t)st.st_ctim.tv_sec * 1000000000 + (json_int_t)st.st_ctim.tv_nsec,
                      (json_int_t)XXH3_64bits(block, sizeof(block)));
    if (fd >= 0) (void)close(fd);
    free(path);
    return o;
}

int data__verify_state_has(const data__verify_state *s, const char *dir, const char *file, data__findings *out)
{
    const json_t *entry = json_object_get(s->done, file);
    if (!entry || !json_object_get(entry, "sounds")) return 0; // by a program that did not tell them apart
    json_t *now = data__verify_identity(dir, file), *problems = json_object_get(entry, "problems");
    int same = now && json_equal(now, json_object_get(entry, "identity"));
    json_decref(now);
    // A file system that failed may have recovered.
    if (!same || !json_is_array(problems) || json_integer_value(json_object_get(entry, "n_read")) != 0) return 0;
    *out = (data__findings){.problems = json_incref(problems),
                            .n_problems = json_integer_value(json_object_get(entry, "n_problems")),
                            .records = json_integer_value(json_object_get(entry, "records")),
                            .sounds = json_integer_value(json_object_get(entry, "sounds")),
                            .bytes = json_integer_value(json_object_get(entry, "bytes"))};
    return 1;
}

mn_err data__verify_state_add(const data__verify_state *s, const char *file, json_t *who, const data__findings *f)
{
    json_t *o = json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "file", data__json_text(file), "identity",
                          json_incref(who), "records", (json_int_t)f->records, "sounds", (json_int_t)f->sounds, "bytes",
                          (json_int_t)f->bytes, "n_problems", (json_int_t)f->n_problems, "n_read",
                          (json_int_t)f->n_read, "problems", f->problems ? json_incref(f->problems) : json_array());
    mn_assert(o != NULL);
    mn_err err = write_line(s, o);
    json_decref(o);
    return err;
}

mn_err data__verify_state_close(data__verify_state *s, int finished)
{
    mn_err err = MN_OK;
    if (finished && unlink(s->path) != 0) err = mn_fail(MN_EIO, "%s: cannot be removed: %s", s->path, strerror(errno));
    release(s);
    return err;
}
