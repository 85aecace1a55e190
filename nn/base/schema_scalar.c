// One plain value, strictly: the whole text must be of the option's type. The C library's own readers would take
// "64abc", " 8", "010", "0x10", "nan" and "inf", each of which is a mistake in a recipe.
#include "nn/base/schema_internal.h"

#include "nn/base/mem.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t skip_digits(const char *text, size_t at)
{
    while (text[at] >= '0' && text[at] <= '9')
        at++;
    return at;
}

// -?(0|[1-9][0-9]*): length of the match, 0 if there is none.
static size_t match_int(const char *text)
{
    size_t start = text[0] == '-', end = skip_digits(text, start);
    if (end == start || (text[start] == '0' && end > start + 1)) return 0;
    return end;
}

// An integer, then optionally .digits, then optionally e[+-]digits; ".5" is a number too.
static int match_float(const char *text)
{
    size_t sign = text[0] == '-', at = text[sign] == '.' ? sign : match_int(text);
    if (at == 0 && text[0] != '.') return 0;
    if (text[at] == '.') {
        size_t end = skip_digits(text, at + 1);
        if (end == at + 1) return 0;
        at = end;
    }
    if (text[at] == 'e' || text[at] == 'E') {
        size_t digits = at + 1 + (text[at + 1] == '+' || text[at + 1] == '-');
        at = skip_digits(text, digits);
        if (at == digits) return 0;
    }
    return text[at] == 0;
}

static int mantissa_is_zero(const char *text)
{
    return strcspn(text, "123456789") >= strcspn(text, "eE");
}

static mn__verdict in_range(const mn_option *o, long double x)
{
    if (x < o->lo || (x == o->lo && (o->flags & MN_ABOVE_LO))) return MN__OUT_OF_RANGE;
    if (x > o->hi || (x == o->hi && (o->flags & MN_BELOW_HI))) return MN__OUT_OF_RANGE;
    return MN__FITS;
}

static mn__verdict parse_int(const mn_option *o, const char *text, mn__value *out)
{
    size_t end = match_int(text);
    if (end == 0 || text[end]) return MN__WRONG_TYPE;
    errno = 0;
    long long x = strtoll(text, NULL, 10);
    if (errno) return MN__OUT_OF_RANGE;
    out->i = x;
    return in_range(o, (long double)x);
}

static mn__verdict parse_float(const mn_option *o, const char *text, mn__value *out)
{
    if (!match_float(text)) return MN__WRONG_TYPE;
    char *end;
    double x = strtod(text, &end);
    mn_assert(*end == 0);                                                             // the process is in the C locale
    if (!isfinite(x) || (x == 0 && !mantissa_is_zero(text))) return MN__OUT_OF_RANGE; // 1e-400 would become 0
    if (o->field == MN_FIELD_FLOAT && (fabs(x) > FLT_MAX || (x != 0 && fabs(x) < FLT_MIN))) return MN__OUT_OF_RANGE;
    out->f = x == 0 ? 0 : x; // no negative zero
    return in_range(o, x);
}

static mn__verdict parse_enum(const mn_option *o, const char *text, mn__value *out)
{
    for (out->i = 0; o->choices[out->i]; out->i++)
        if (strcmp(text, o->choices[out->i]) == 0) return MN__FITS;
    return MN__WRONG_TYPE;
}

// Control characters in a path or a name would end up in logs, reports and the resolved recipe.
static mn__verdict check_string(const mn_option *o, const char *text, size_t size)
{
    for (size_t at = 0, used = 1; at < size; at += used) {
        if ((unsigned char)text[at] < 0x20) return MN__WRONG_TYPE;
        if (!mn__yaml_character(text + at, size - at, &used)) return MN__WRONG_TYPE;
    }
    if (!(o->flags & MN_FILE_NAME)) return MN__FITS;
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (size == 0 || size > 128 || text[0] == '.' || text[0] == '-') return MN__WRONG_TYPE;
    return strspn(text, allowed) == size ? MN__FITS : MN__WRONG_TYPE;
}

mn__verdict mn__scalar_parse(const mn_option *o, const char *text, size_t size, mn__value *out)
{
    if (strlen(text) != size) return MN__WRONG_TYPE; // a 0 byte inside
    switch (o->type) {
    case MN_TYPE_INT:
    case MN_TYPE_INTS:
        return parse_int(o, text, out);
    case MN_TYPE_FLOAT:
    case MN_TYPE_FLOATS:
        return parse_float(o, text, out);
    case MN_TYPE_BOOL:
        out->i = strcmp(text, "true") == 0;
        return out->i || strcmp(text, "false") == 0 ? MN__FITS : MN__WRONG_TYPE;
    case MN_TYPE_ENUM:
        return parse_enum(o, text, out);
    case MN_TYPE_STRING:
    case MN_TYPE_STRINGS:
        out->s = text;
        return check_string(o, text, size);
    default:
        return MN__WRONG_TYPE;
    }
}

// The shortest decimal that reads back as the same number; for people 300, not 3e+02.
static void print_float(FILE *out, double x, mn__form form)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    if (form == MN__SHOWN && x == floor(x) && fabs(x) < 1e7) snprintf(text, sizeof text, "%.0f", x);
    fputs(text, out);
}

static void print_quoted(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void print_record(FILE *out, const mn_option *rows, const mn__value *values, mn__form form)
{
    for (int64_t i = 0; rows[i].key; i++) {
        fprintf(out, "%s%s: ", i ? ", " : "{", rows[i].key);
        mn__value_print(out, &rows[i], &values[i], form);
    }
    fputc('}', out);
}

static void print_element(FILE *out, const mn_option *o, const mn__value *v, int64_t i, mn__form form)
{
    switch (o->type) {
    case MN_TYPE_INTS:
        fprintf(out, "%lld", (long long)((const int64_t *)v->list)[i]);
        break;
    case MN_TYPE_FLOATS:
        print_float(out, ((const double *)v->list)[i], form);
        break;
    case MN_TYPE_STRINGS:
        print_quoted(out, ((const char *const *)v->list)[i]);
        break;
    default:
        print_record(out, o->rows, (const mn__value *)v->list + i * mn__rows_count(o->rows), form);
    }
}

void mn__value_print(FILE *out, const mn_option *o, const mn__value *v, mn__form form)
{
    switch (o->type) {
    case MN_TYPE_INT:
        fprintf(out, "%lld", (long long)v->i);
        return;
    case MN_TYPE_FLOAT:
        print_float(out, v->f, form);
        return;
    case MN_TYPE_BOOL:
        fputs(v->i ? "true" : "false", out);
        return;
    case MN_TYPE_STRING:
        print_quoted(out, v->s);
        return;
    case MN_TYPE_ENUM:
        fputs(o->choices[v->i], out);
        return;
    default:
        break;
    }
    fputc('[', out);
    for (int64_t i = 0; i < v->i; i++) {
        if (i) fputs(", ", out);
        print_element(out, o, v, i, form);
    }
    fputc(']', out);
}
