/* The cheapest server worth measuring against: `echo` repeats the text it was given, `read` gives so many bytes.
 *
 * It knows only what the measurements send, one message a line, and looks for fields instead of parsing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE "the quick brown fox jumps over the lazy dog and 0123456789 counts along; "

static char *out;
static size_t filled, room;

static void put(const char *text, size_t size) {
    if (filled + size > room) {
        room = 2 * (filled + size);
        if (!(out = realloc(out, room))) exit(1);
    }
    memcpy(out + filled, text, size);
    filled += size;
}

static void flush(void) {
    for (size_t at = 0; at < filled;) {
        ssize_t written = write(1, out + at, filled - at);
        if (written < 0) exit(0);
        at += (size_t)written;
    }
    filled = 0;
}

#define SAY(text) put(text, sizeof(text) - 1)
#define HAS(text) memmem(line, size < 400 ? size : 400, text, sizeof(text) - 1)

static void answer(char *line, size_t size) {
    char *id = memmem(line, size, "\"id\":", 5);
    if (!id) return;
    id += 5;
    size_t length = strcspn(id, ",}");
    SAY("{\"jsonrpc\":\"2.0\",\"id\":");
    put(id, length);
    if (HAS("\"initialize\"")) {
        SAY(",\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},"
            "\"serverInfo\":{\"name\":\"echo\",\"version\":\"1\"}}}\n");
    } else if (HAS("\"tools/list\"")) {
        SAY(",\"result\":{\"tools\":[{\"name\":\"echo\",\"description\":\"Read the text back\",\"inputSchema\":"
            "{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"}},\"required\":[\"text\"]}},"
            "{\"name\":\"read\",\"description\":\"Read a text of so many bytes\",\"inputSchema\":"
            "{\"type\":\"object\",\"properties\":{\"bytes\":{\"type\":\"integer\"}},\"required\":[\"bytes\"]}}]}}\n");
    } else if (HAS("\"tools/call\"")) {
        char *text = memmem(line, size, "\"text\":\"", 8), *end = text ? text + 8 : line;
        while (text && *end != '"') end += *end == '\\' ? 2 : 1;
        SAY(",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"");
        char *bytes = HAS("\"bytes\":");
        if (bytes) {
            for (long left = atol(bytes + 8), size_of = sizeof(LINE) - 1; left > 0; left -= size_of)
                put(LINE, left < size_of ? left : size_of);
        } else if (text) {
            put(text + 8, (size_t)(end - text - 8));
        }
        SAY("\"}],\"isError\":false}}\n");
    } else if (HAS("\"ping\"")) {
        SAY(",\"result\":{}}\n");
    } else {
        SAY(",\"error\":{\"code\":-32601,\"message\":\"no such method\"}}\n");
    }
}

int main(void) {
    size_t held = 0, space = 1 << 20;
    char *data = malloc(space + 1);
    for (;;) {
        if (held == space && !(data = realloc(data, (space *= 2) + 1))) return 1;
        ssize_t got = read(0, data + held, space - held);
        if (got <= 0) return 0;
        char *line = data, *end, *from = data + held;
        held += (size_t)got;
        while ((end = memchr(from, '\n', (size_t)(data + held - from)))) {
            *end = 0;
            answer(line, (size_t)(end - line));
            line = from = end + 1;
        }
        held -= (size_t)(line - data);
        memmove(data, line, held);
        flush();
    }
}
