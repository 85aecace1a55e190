// The stack machine of pickle, restricted to plain data. A table says what each allowed opcode is followed by and what
// it does; an opcode that is not in it ends the reading.
#include "nn/pickle_internal.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

// What stands behind an opcode. Numbers are little endian.
typedef enum operand {
    NOTHING,
    BYTE,
    HALF,        // u16
    WORD,        // i32
    INDEX,       // u32
    DOUBLE,      // f64, read over: weights are not in it
    LENGTH,      // u64, read over
    TEXT_BYTE,   // u8 length and bytes
    TEXT_WORD,   // u32 length and bytes
    TEXT_LENGTH, // u64 length and bytes
    TWO_LINES,
} operand;

typedef struct machine {
    nn_pickle *p;
    const unsigned char *bytes;
    size_t size, at;
    nn__pickled **stack, **memo;
    int64_t depth, capacity, memos;
    nn__pickled *mark;
    int64_t number; // operand
    nn_pickle_text text, text2;
    int stopped;
    int64_t copied; // items copied by OrderedDict, which may be asked for the same ones again and again
} machine;

static mn_err bad(const machine *m, const char *why)
{
    return mn_fail(MN_EDATA, "%s: at byte %zu of the pickle: %s", m->p->what, m->at, why);
}

static mn_err push(machine *m, nn__pickled *v)
{
    m->stack = mn_grow(m->stack, m->depth, &m->capacity, sizeof *m->stack);
    m->stack[m->depth++] = v;
    return MN_OK;
}

static mn_err push_kind(machine *m, nn__pickled_kind kind)
{
    return push(m, nn__pickled_new(m->p, kind));
}

static mn_err pop(machine *m, nn__pickled **v)
{
    if (!m->depth) return bad(m, "the stack is empty");
    *v = m->stack[--m->depth];
    return (*v)->kind == NN_PICKLED_MARK ? bad(m, "a mark where a value was expected") : MN_OK;
}

// Index of the first value above the uppermost mark.
static mn_err find_mark(const machine *m, int64_t *first)
{
    for (*first = m->depth; *first > 0; (*first)--)
        if (m->stack[*first - 1]->kind == NN_PICKLED_MARK) return MN_OK;
    return bad(m, "no mark on the stack");
}

// The uppermost n values, or those above the mark, into list; they and the mark leave the stack.
static void take(machine *m, int64_t first, nn__pickled *list)
{
    for (int64_t i = first; i < m->depth; i++)
        nn__pickled_push(list, m->stack[i]);
    m->depth = first;
}

static mn_err take_to_mark(machine *m, nn__pickled *list)
{
    int64_t first;
    MN_TRY(find_mark(m, &first));
    take(m, first, list);
    m->depth--;
    return MN_OK;
}

// --- what the opcodes do ---

static mn_err do_nothing(machine *m)
{
    (void)m;
    return MN_OK;
}
static mn_err do_mark(machine *m)
{
    return push(m, m->mark);
}
static mn_err do_none(machine *m)
{
    return push_kind(m, NN_PICKLED_NONE);
}
static mn_err do_float(machine *m)
{
    return push_kind(m, NN_PICKLED_FLOAT);
}
static mn_err do_list(machine *m)
{
    return push_kind(m, NN_PICKLED_LIST);
}
static mn_err do_dict(machine *m)
{
    return push_kind(m, NN_PICKLED_DICT);
}

static mn_err push_integer(machine *m, int64_t v)
{
    nn__pickled *value = nn__pickled_new(m->p, NN_PICKLED_INTEGER);
    value->integer = v;
    return push(m, value);
}
static mn_err do_integer(machine *m)
{
    return push_integer(m, m->number);
}
static mn_err do_true(machine *m)
{
    return push_integer(m, 1);
}
static mn_err do_false(machine *m)
{
    return push_integer(m, 0);
}

static mn_err do_long(machine *m) // two's complement, little endian
{
    uint64_t v = 0;
    size_t n = m->text.size;
    const unsigned char *byte = (const unsigned char *)m->text.at;
    if (n > 8) return push_kind(m, NN_PICKLED_LONG);
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)byte[i] << 8 * i;
    if (n > 0 && n < 8 && byte[n - 1] & 0x80) v |= ~(uint64_t)0 << 8 * n;
    return push_integer(m, (int64_t)v);
}

static mn_err do_text(machine *m)
{
    nn__pickled *value = nn__pickled_new(m->p, NN_PICKLED_TEXT);
    value->text = m->text;
    return push(m, value);
}

static mn_err push_name(machine *m, nn_pickle_text module, nn_pickle_text name)
{
    nn__pickled *value = nn__pickled_new(m->p, NN_PICKLED_NAME);
    value->module = module;
    value->text = name;
    return push(m, value);
}
static mn_err do_name(machine *m)
{
    return push_name(m, m->text, m->text2);
}
static mn_err do_stack_name(machine *m)
{
    nn__pickled *module = NULL, *name = NULL;
    MN_TRY(pop(m, &name));
    MN_TRY(pop(m, &module));
    if (module->kind != NN_PICKLED_TEXT || name->kind != NN_PICKLED_TEXT) return bad(m, "a name that is not text");
    return push_name(m, module->text, name->text);
}

static mn_err tuple_of(machine *m, int64_t n)
{
    nn__pickled *list = nn__pickled_new(m->p, NN_PICKLED_LIST);
    if (m->depth < n) return bad(m, "the stack is empty");
    for (int64_t i = m->depth - n; i < m->depth; i++)
        if (m->stack[i]->kind == NN_PICKLED_MARK) return bad(m, "a mark inside a tuple");
    take(m, m->depth - n, list);
    return push(m, list);
}
static mn_err do_tuple1(machine *m)
{
    return tuple_of(m, 1);
}
static mn_err do_tuple2(machine *m)
{
    return tuple_of(m, 2);
}
static mn_err do_tuple3(machine *m)
{
    return tuple_of(m, 3);
}
static mn_err do_tuple(machine *m)
{
    nn__pickled *list = nn__pickled_new(m->p, NN_PICKLED_LIST);
    MN_TRY(take_to_mark(m, list));
    return push(m, list);
}

static mn_err top_of(const machine *m, nn__pickled_kind kind, nn__pickled **v)
{
    if (!m->depth) return bad(m, "the stack is empty");
    *v = m->stack[m->depth - 1];
    // Filling an object of a class we do not know changes nothing that we look at.
    if ((*v)->kind == kind || (*v)->kind == NN_PICKLED_OBJECT) return MN_OK;
    return bad(m, "items for something that holds none");
}

static mn_err add_items(machine *m, nn__pickled_kind kind, int64_t first)
{
    nn__pickled *items = nn__pickled_new(m->p, NN_PICKLED_LIST), *to = NULL;
    if (first < 0)
        MN_TRY(take_to_mark(m, items));
    else
        take(m, first, items);
    MN_TRY(top_of(m, kind, &to));
    if (kind == NN_PICKLED_DICT && items->n % 2) return bad(m, "a key without a value");
    for (int64_t i = 0; i < items->n; i++) {
        if (items->item[i]->kind == NN_PICKLED_MARK) return bad(m, "a mark among items");
        nn__pickled_push(to, items->item[i]);
    }
    return MN_OK;
}
static mn_err do_append(machine *m)
{
    return m->depth < 2 ? bad(m, "the stack is empty") : add_items(m, NN_PICKLED_LIST, m->depth - 1);
}
static mn_err do_appends(machine *m)
{
    return add_items(m, NN_PICKLED_LIST, -1);
}
static mn_err do_set_item(machine *m)
{
    return m->depth < 3 ? bad(m, "the stack is empty") : add_items(m, NN_PICKLED_DICT, m->depth - 2);
}
static mn_err do_set_items(machine *m)
{
    return add_items(m, NN_PICKLED_DICT, -1);
}

static mn_err memo_at(machine *m, int64_t i)
{
    if (!m->depth) return bad(m, "the stack is empty");
    // Writers number their memos from 0: a number beyond the bytes read so far is not one of theirs.
    if (i < 0 || i > (int64_t)m->at) return bad(m, "a memo that cannot be");
    if (i >= m->memos) {
        int64_t n = i + 1 > 2 * m->memos ? i + 1 : 2 * m->memos;
        m->memo = mn_realloc(m->memo, (size_t)n, sizeof *m->memo);
        memset(m->memo + m->memos, 0, (size_t)(n - m->memos) * sizeof *m->memo);
        m->memos = n;
    }
    m->memo[i] = m->stack[m->depth - 1];
    return MN_OK;
}
static mn_err do_put(machine *m)
{
    return memo_at(m, m->number);
}
static mn_err do_memoize(machine *m)
{
    m->number = 0;
    for (int64_t i = m->memos; i > 0 && !m->number; i--)
        if (m->memo[i - 1]) m->number = i;
    return memo_at(m, m->number);
}
static mn_err do_get(machine *m)
{
    if (m->number < 0 || m->number >= m->memos || !m->memo[m->number]) return bad(m, "a memo that was not set");
    if (m->memo[m->number]->kind == NN_PICKLED_MARK) return bad(m, "a memo of a mark");
    return push(m, m->memo[m->number]);
}

static mn_err do_pop(machine *m)
{
    if (!m->depth) return bad(m, "the stack is empty");
    m->depth--;
    return MN_OK;
}
static mn_err do_pop_mark(machine *m)
{
    return take_to_mark(m, nn__pickled_new(m->p, NN_PICKLED_LIST));
}
static mn_err do_duplicate(machine *m)
{
    if (!m->depth) return bad(m, "the stack is empty");
    return push(m, m->stack[m->depth - 1]);
}

static mn_err do_persistent_id(machine *m)
{
    nn__pickled *id = NULL, *storage = NULL;
    MN_TRY(pop(m, &id));
    MN_TRY(nn__rebuild_storage(m->p, id, &storage));
    return push(m, storage);
}

static int is_name(const nn__pickled *f, const char *module, const char *name)
{
    return f->kind == NN_PICKLED_NAME && nn__text_is(f->module, module) && nn__text_is(f->text, name);
}

// OrderedDict([[key, value], ...]) or OrderedDict().
static mn_err make_dict(machine *m, const nn__pickled *arguments)
{
    nn__pickled *dict = nn__pickled_new(m->p, NN_PICKLED_DICT);
    const nn__pickled *pairs = arguments->n ? arguments->item[0] : arguments;
    m->copied += pairs->n;
    if (m->copied > (int64_t)m->size) return bad(m, "more dictionary items than bytes");
    for (int64_t i = 0; i < pairs->n; i++) {
        const nn__pickled *pair = pairs->item[i];
        if (pair->kind != NN_PICKLED_LIST || pair->n != 2) return bad(m, "an OrderedDict that is not of pairs");
        nn__pickled_push(dict, pair->item[0]);
        nn__pickled_push(dict, pair->item[1]);
    }
    return push(m, dict);
}

static mn_err do_call(machine *m)
{
    nn__pickled *f = NULL, *arguments = NULL, *tensor = NULL;
    MN_TRY(pop(m, &arguments));
    MN_TRY(pop(m, &f));
    if (arguments->kind != NN_PICKLED_LIST) return push_kind(m, NN_PICKLED_OBJECT);
    if (is_name(f, "collections", "OrderedDict")) return make_dict(m, arguments);
    if (is_name(f, "torch._utils", "_rebuild_parameter") && arguments->n) return push(m, arguments->item[0]);
    if (!is_name(f, "torch._utils", "_rebuild_tensor_v2") && !is_name(f, "torch._utils", "_rebuild_tensor"))
        return push_kind(m, NN_PICKLED_OBJECT);
    MN_TRY(nn__rebuild_tensor(m->p, arguments, &tensor));
    return push(m, tensor);
}

// The state of an object, or the attributes of an OrderedDict: neither holds tensors that we look for.
static mn_err do_build(machine *m)
{
    nn__pickled *state = NULL;
    MN_TRY(pop(m, &state));
    return m->depth ? MN_OK : bad(m, "the stack is empty");
}

static mn_err do_stop(machine *m)
{
    m->stopped = 1;
    return pop(m, &m->p->root);
}

typedef struct opcode {
    mn_err (*run)(machine *m);
    operand operand;
} opcode;

static const opcode opcodes[256] = {
    [0x80] = {do_nothing, BYTE},   // protocol
    [0x95] = {do_nothing, LENGTH}, // frame
    ['('] = {do_mark, NOTHING},
    [')'] = {do_list, NOTHING},
    [']'] = {do_list, NOTHING},
    ['}'] = {do_dict, NOTHING},
    [0x8f] = {do_list, NOTHING}, // set
    ['t'] = {do_tuple, NOTHING},
    [0x85] = {do_tuple1, NOTHING},
    [0x86] = {do_tuple2, NOTHING},
    [0x87] = {do_tuple3, NOTHING},
    ['a'] = {do_append, NOTHING},
    ['e'] = {do_appends, NOTHING},
    [0x90] = {do_appends, NOTHING}, // to a set
    ['s'] = {do_set_item, NOTHING},
    ['u'] = {do_set_items, NOTHING},
    ['N'] = {do_none, NOTHING},
    [0x88] = {do_true, NOTHING},
    [0x89] = {do_false, NOTHING},
    ['K'] = {do_integer, BYTE},
    ['M'] = {do_integer, HALF},
    ['J'] = {do_integer, WORD},
    [0x8a] = {do_long, TEXT_BYTE},
    [0x8b] = {do_long, TEXT_WORD},
    ['G'] = {do_float, DOUBLE},
    ['U'] = {do_text, TEXT_BYTE},
    ['T'] = {do_text, TEXT_WORD},
    ['C'] = {do_text, TEXT_BYTE},
    ['B'] = {do_text, TEXT_WORD},
    [0x8e] = {do_text, TEXT_LENGTH},
    [0x8c] = {do_text, TEXT_BYTE},
    ['X'] = {do_text, TEXT_WORD},
    [0x8d] = {do_text, TEXT_LENGTH},
    ['q'] = {do_put, BYTE},
    ['r'] = {do_put, INDEX},
    [0x94] = {do_memoize, NOTHING},
    ['h'] = {do_get, BYTE},
    ['j'] = {do_get, INDEX},
    ['c'] = {do_name, TWO_LINES},
    [0x93] = {do_stack_name, NOTHING},
    ['Q'] = {do_persistent_id, NOTHING},
    ['R'] = {do_call, NOTHING},
    [0x81] = {do_call, NOTHING}, // object of a class
    ['b'] = {do_build, NOTHING},
    ['0'] = {do_pop, NOTHING},
    ['1'] = {do_pop_mark, NOTHING},
    ['2'] = {do_duplicate, NOTHING},
    ['.'] = {do_stop, NOTHING},
};

// --- operands ---

static mn_err skip(machine *m, size_t n, const unsigned char **from)
{
    if (n > m->size - m->at) return bad(m, "it ends in the middle of an operand");
    *from = m->bytes + m->at;
    m->at += n;
    return MN_OK;
}

static mn_err unsigned_number(machine *m, size_t width, uint64_t *v)
{
    const unsigned char *from = NULL;
    MN_TRY(skip(m, width, &from));
    *v = 0;
    for (size_t i = 0; i < width; i++)
        *v |= (uint64_t)from[i] << 8 * i;
    return MN_OK;
}

static mn_err sized_text(machine *m, size_t width)
{
    uint64_t n = 0;
    const unsigned char *from = NULL;
    MN_TRY(unsigned_number(m, width, &n));
    if (n > m->size - m->at) return bad(m, "it ends in the middle of a text");
    MN_TRY(skip(m, (size_t)n, &from));
    m->text = (nn_pickle_text){(const char *)from, (size_t)n};
    return MN_OK;
}

static mn_err line(machine *m, nn_pickle_text *t)
{
    const unsigned char *end = memchr(m->bytes + m->at, '\n', m->size - m->at);
    if (!end) return bad(m, "it ends in the middle of a name");
    *t = (nn_pickle_text){(const char *)m->bytes + m->at, (size_t)(end - m->bytes) - m->at};
    m->at += t->size + 1;
    return MN_OK;
}

static mn_err read_operand(machine *m, operand kind)
{
    static const size_t width[] = {[BYTE] = 1,   [HALF] = 2,      [WORD] = 4,      [INDEX] = 4,       [DOUBLE] = 8,
                                   [LENGTH] = 8, [TEXT_BYTE] = 1, [TEXT_WORD] = 4, [TEXT_LENGTH] = 8, [TWO_LINES] = 0};
    uint64_t v = 0;
    if (kind == NOTHING) return MN_OK;
    if (kind == TWO_LINES) {
        MN_TRY(line(m, &m->text));
        return line(m, &m->text2);
    }
    if (kind == TEXT_BYTE || kind == TEXT_WORD || kind == TEXT_LENGTH) return sized_text(m, width[kind]);
    MN_TRY(unsigned_number(m, width[kind], &v));
    m->number = kind == WORD ? (int64_t)(int32_t)(uint32_t)v : (int64_t)v;
    return MN_OK;
}

mn_err nn__pickle_run(nn_pickle *p, const unsigned char *bytes, size_t size, size_t *used)
{
    machine m = {.p = p, .bytes = bytes, .size = size, .mark = nn__pickled_new(p, NN_PICKLED_MARK)};
    mn_err err = MN_OK;
    while (err == MN_OK && !m.stopped) {
        const opcode *op = m.at < size ? &opcodes[bytes[m.at]] : NULL;
        if (!op || !op->run) {
            err = bad(&m, op ? "an opcode that plain data does not need" : "it ends without a stop");
            break;
        }
        m.at++;
        err = read_operand(&m, op->operand);
        if (err == MN_OK) err = op->run(&m);
    }
    if (used) *used = m.at;
    free(m.stack);
    free(m.memo);
    return err;
}
