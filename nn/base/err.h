// Errors: one code, one message, set once where the failure happens.
//
//     mn_err open_thing(thing **out, const char *path)
//     {
//         int fd = open(path, O_RDONLY | O_CLOEXEC);
//         if (fd < 0) return mn_fail(MN_ENOINPUT, "%s: %s", path, strerror(errno));
//         MN_TRY(read_header(fd));          // passes the code on; the message stays
//         ...
//
// A function returns MN_OK or a negative code. The message is one line: what happened, where, what was done, what
// the user can do. It lives in thread-local memory until the next mn_fail on the thread. Only main prints it and
// turns the code into an exit status (mn_exit_code). Caller bugs are mn_assert, not errors.
// Threading: everything here is per thread.
#ifndef MN_ERR_H
#define MN_ERR_H

#include <stddef.h>

// X(name, code, exit status, meaning): exit statuses are the contract of the command line.
#define MN_ERR_MAP(X)                                                                                                  \
    X(MN_OK, 0, 0, "done")                                                                                             \
    X(MN_EUSAGE, -1, 64, "wrong use of the command line")                                                              \
    X(MN_EDATA, -2, 65, "damaged or invalid data")                                                                     \
    X(MN_ENOINPUT, -3, 66, "an input is missing")                                                                      \
    X(MN_EDEVICE, -4, 69, "device or communicator unavailable")                                                        \
    X(MN_EINTERNAL, -5, 70, "internal error")                                                                          \
    X(MN_EMEM, -6, 70, "out of memory")                                                                                \
    X(MN_ECREATE, -7, 73, "cannot create an output")                                                                   \
    X(MN_EIO, -8, 74, "input or output failed")                                                                        \
    X(MN_ERETRY, -9, 75, "a peer failed or a deadline passed: run again")                                              \
    X(MN_ECONFIG, -10, 78, "the recipe is wrong or does not fit")                                                      \
    X(MN_EINTERRUPTED, -11, 85, "interrupted, checkpoint saved")

typedef enum mn_err {
#define MN_ERR_ENUM(name, code, exit, text) name = code,
    MN_ERR_MAP(MN_ERR_ENUM)
#undef MN_ERR_ENUM
} mn_err;

#define MN_MUST_CHECK __attribute__((warn_unused_result))
#define MN_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define MN_NORETURN __attribute__((noreturn)) // C++ reads this header too (CUDA) and has no _Noreturn

// Records a message on this thread and returns e.
mn_err mn_fail(mn_err e, const char *format, ...) MN_PRINTF(2, 3);
// Prefixes the message with "while <...>: " and returns e unchanged; does nothing for MN_OK.
mn_err mn_while(mn_err e, const char *format, ...) MN_PRINTF(2, 3);
// The message of the last failure on this thread, "" if there was none.
const char *mn_errmsg(void);
// Exit status of the command for e.
int mn_exit_code(mn_err e);

#define MN_TRY(call)                                                                                                   \
    do {                                                                                                               \
        mn_err mn_try_ = (call);                                                                                       \
        if (mn_try_ != MN_OK) return mn_try_;                                                                          \
    } while (0)

// For functions that own something: `out:` releases it and returns err.
#define MN_TRY_OUT(err, call)                                                                                          \
    do {                                                                                                               \
        (err) = (call);                                                                                                \
        if ((err) != MN_OK) goto out;                                                                                  \
    } while (0)

// A broken promise of the caller: prints file and line and aborts. Stays in release builds.
MN_NORETURN void mn_assert_failed(const char *file, int line, const char *condition);
#define mn_assert(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) mn_assert_failed(__FILE__, __LINE__, #condition);                                            \
    } while (0)

#endif
