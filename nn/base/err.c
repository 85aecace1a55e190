#include "nn/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_SIZE = 2048 };
static _Thread_local char message[MESSAGE_SIZE];

// Messages carry file names and values from outside: a control character there must not start a second line or
// drive a terminal. A cut message ends in "..." and never inside a UTF-8 sequence.
static void tidy(char *text, int wanted)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = ' ';
    if (wanted < MESSAGE_SIZE) return;
    size_t end = MESSAGE_SIZE - 4;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
        end--;
    memcpy(text + end, "...", 4);
}

mn_err mn_fail(mn_err e, const char *format, ...)
{
    int saved = errno;       // callers may still look at it
    char text[MESSAGE_SIZE]; // an argument may be the old message
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (wanted < 0) snprintf(text, sizeof text, "(a message that could not be formatted)");
    tidy(text, wanted);
    memcpy(message, text, strlen(text) + 1);
    errno = saved;
    return e;
}

mn_err mn_while(mn_err e, const char *format, ...)
{
    if (e == MN_OK) return e;
    int saved = errno;
    char what[MESSAGE_SIZE / 4], text[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    if (vsnprintf(what, sizeof what, format, args) < 0) what[0] = 0;
    va_end(args);
    int wanted = snprintf(text, sizeof text, "while %s: %s", what, message);
    tidy(text, wanted);
    memcpy(message, text, strlen(text) + 1);
    errno = saved;
    return e;
}

const char *mn_errmsg(void)
{
    return message;
}

int mn_exit_code(mn_err e)
{
    static const struct {
        int code, exit;
    } rows[] = {
#define ROW(name, code, exit, text) {code, exit},
        MN_ERR_MAP(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == (int)e) return rows[i].exit;
    return 70;
}

void mn_assert_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "mien: %s:%d: broken promise: %s\n", file, line, condition);
    abort();
}
