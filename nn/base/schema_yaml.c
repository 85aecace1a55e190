// YAML documents from outside: what the parser would accept but a recipe must not contain is refused here, before any
// tree is built. Two passes: events first (anchors, tags, depth, number of items), then libyaml's loader.
#include "nn/base/schema_internal.h"

#include "nn/base/utf8.h"

#include <string.h>

int mn__yaml_character(const char *at, size_t left, size_t *used)
{
    uint32_t c;
    *used = mn_utf8(at, left, &c);
    if (*used == 0) return 0;
    if (c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff) return 0; // line breaks and marks
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7f) || c >= 0xa0;
}

static mn_err check_characters(const mn__source *from, const char *text, size_t size)
{
    yaml_mark_t mark = {0};
    while (mark.index < size) {
        size_t used;
        const char *at = text + mark.index;
        if (!mn__yaml_character(at, size - mark.index, &used))
            return mn__refuse(from, mark, "byte 0x%02x is not UTF-8 text; save the file as plain UTF-8",
                              (unsigned char)*at);
        int ends_line = *at == '\n' || (*at == '\r' && (mark.index + 1 == size || at[1] != '\n'));
        mark.index += used;
        mark.column = ends_line ? 0 : mark.column + 1;
        mark.line += (size_t)ends_line;
    }
    return MN_OK;
}

static mn_err parser_failed(const mn__source *from, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR) return mn_fail(MN_EMEM, "no memory to read the recipe");
    return mn__refuse(from, parser->problem_mark, "%s%s%s", parser->problem ? parser->problem : "not YAML",
                      parser->context ? " " : "", parser->context ? parser->context : "");
}

typedef struct survey {
    int depth, items, documents;
} survey;

static mn_err check_event(const mn__source *from, const yaml_event_t *event, survey *seen)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    yaml_mark_t mark = event->start_mark;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++seen->documents > 1) return mn__refuse(from, mark, "a second document starts; a recipe is one");
        return MN_OK;
    case YAML_ALIAS_EVENT:
        return mn__refuse(from, mark, "aliases (*name) are not allowed; write the value out");
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        seen->depth++;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        seen->depth++;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        seen->depth--;
        return MN_OK;
    default:
        return MN_OK;
    }
    if (anchor) return mn__refuse(from, mark, "anchors (&name) are not allowed; write the value out");
    if (tag) return mn__refuse(from, mark, "tags (!name) are not allowed; the option decides the type");
    if (seen->depth > MN__MAX_DEPTH) return mn__refuse(from, mark, "nested deeper than %d levels", MN__MAX_DEPTH);
    if (++seen->items > MN__MAX_ITEMS) return mn__refuse(from, mark, "more than %d items", MN__MAX_ITEMS);
    return MN_OK;
}

static mn_err check_events(const mn__source *from, const char *text, size_t size)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return mn_fail(MN_EMEM, "no memory to read the recipe");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    survey seen = {0};
    mn_err err = MN_OK;
    for (int done = 0; !done && err == MN_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            err = parser_failed(from, &parser);
            break;
        }
        err = check_event(from, &event, &seen);
        done = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    if (err == MN_OK && seen.documents == 0) err = mn__refuse(from, (yaml_mark_t){0}, "the recipe is empty");
    yaml_parser_delete(&parser);
    return err;
}

mn_err mn__yaml_load(mn__source *out, const char *text, size_t size)
{
    if (size > MN__MAX_SIZE) return mn__refuse(out, (yaml_mark_t){0}, "larger than %d bytes", MN__MAX_SIZE);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { // a byte order mark
        text += 3;
        size -= 3;
    }
    MN_TRY(check_characters(out, text, size));
    MN_TRY(check_events(out, text, size));
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return mn_fail(MN_EMEM, "no memory to read the recipe");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    out->loaded = yaml_parser_load(&parser, &out->document);
    mn_err err = out->loaded ? MN_OK : parser_failed(out, &parser);
    yaml_parser_delete(&parser);
    return err;
}

mn_err mn__yaml_load_value(mn__source *out, const char *text, size_t size)
{
    if (size && strchr("[{\"'", text[0])) return mn__yaml_load(out, text, size);
    if (size > MN__MAX_SIZE) return mn__refuse(out, (yaml_mark_t){0}, "larger than %d bytes", MN__MAX_SIZE);
    MN_TRY(check_characters(out, text, size));
    out->loaded = yaml_document_initialize(&out->document, NULL, NULL, NULL, 1, 1);
    if (!out->loaded ||
        !yaml_document_add_scalar(&out->document, NULL, (const yaml_char_t *)text, (int)size, YAML_ANY_SCALAR_STYLE))
        return mn_fail(MN_EMEM, "no memory to read an option");
    return MN_OK;
}
