/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz-text.c - what users, files and local processes may give, damaged
 *
 * The configuration, a domain's XML, lines of JSON to the agent, the arbiter's
 * files, and the packets of a QEMU on its vmlink. Each is taken or refused with
 * a reason; none may crash, hang, or be taken for what it is not. As fuzz-wire,
 * deterministic and for FUZZ_SECONDS.
 */
#include <ev.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/jsonserver.h"
#include "common/host/log.h"
#include "common/host/options.h"
#include "control/domain/domain.h"
#include "logging-channel/wire.h"
#include "role/vmlink.h"
#include "shared-disk/file.h"
#include "tests/fuzz/mutate.h"
#include "tests/logging-channel/golden.h"

#define VM "00000000-0000-0000-0000-000000000000"

enum parser { CONFIG, XML, LINES, FILES, VMLINK, PARSERS };

static struct ev_loop *loop;
static char dir[] = "/tmp/lockstep-fuzz-XXXXXX";
static unsigned long taken[PARSERS], refused[PARSERS];

static const char *in_dir(const char *name)
{
    static char path[96]; /* a socket name takes 108 */

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void put_file(const char *path, const uint8_t *p, size_t n)
{
    FILE *f = fopen(path, "w");

    CHECK(f && fwrite(p, 1, n, f) == n);
    CHECK(fclose(f) == 0);
}

static size_t get_file(const char *path, uint8_t *to, size_t cap)
{
    FILE *f = fopen(path, "r");
    size_t n;

    CHECK(f);
    n = fread(to, 1, cap, f);
    fclose(f);
    CHECK(n > 0 && n < cap);
    return n;
}

/* ---- the parsers: false when the input is refused ---- */

static bool config(const uint8_t *p, size_t n)
{
    static struct ft_options o;
    struct ft_err err = { 0 };

    put_file(in_dir("conf"), p, n);
    if (ft_options_load(&o, in_dir("conf"), &err) == 0) {
        CHECK(o.host_port > 0 && o.host_port < 65536);
        CHECK(memchr(o.host_name, 0, sizeof(o.host_name)));
        return true;
    }
    CHECK(err.text[0]);
    return false;
}

/* Whatever libvirt takes: checked, prepared and undone. */
static bool xml(const uint8_t *p, size_t n)
{
    const struct dom_options opt = {
        .emulator = "/usr/libexec/lockstep/qemu",
        .run_dir = "/run/lockstep",
        .remove = true,
        .tcg = true,
    };
    struct dom_report r = { 0 };
    struct dom_facts facts = { 0 };
    struct ft_err err = { 0 };
    char text[INPUT + 32], *printed;
    xmlDoc *doc, *again;

    memcpy(text, p, n);
    text[n] = '\0';
    doc = dom_parse(text, &err);
    if (!doc) {
        CHECK(err.text[0]);
        return false;
    }
    if (dom_facts(doc, &facts, &err) == 0) {
        dom_facts_clear(&facts);
    }
    dom_check(doc, &opt, &r);
    dom_prepare(doc, &opt, &r);
    dom_report_clear(&r);
    dom_is_prepared(doc, &opt, &r);
    dom_undo(doc, &r);
    dom_to_replica(doc);
    dom_report_clear(&r);
    printed = dom_print(doc);
    CHECK(printed);
    again = dom_parse(printed, &err);
    CHECK(again);
    dom_free(again);
    free(printed);
    dom_free(doc);
    return true;
}

static bool line_came, line_gone;

static void on_line(struct agent_json *j, json_t *line, void *arg)
{
    (void)arg;
    CHECK(json_is_object(line));
    line_came = true;
    agent_json_send(j, line, NULL, 0);
}

static void on_gone(struct agent_json *j, const struct ft_err *why, void *arg)
{
    (void)arg;
    CHECK(why->text[0]);
    line_gone = true;
    agent_json_close(j);
}

static bool lines(const uint8_t *p, size_t n)
{
    static const struct agent_json_ops ops = { on_line, on_gone };
    int pair[2];

    line_came = line_gone = false;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(agent_json_open(loop, pair[0], &ops, NULL));
    CHECK(send(pair[1], p, n, MSG_NOSIGNAL) == (ssize_t)n);
    close(pair[1]);
    for (int turns = 0; !line_gone; turns++) {
        CHECK(turns < 1000);
        ev_run(loop, EVRUN_NOWAIT);
    }
    return line_came;
}

/* The first byte chooses the file. */
static bool files(const uint8_t *p, size_t n)
{
    static const char *const names[] = { "free.1", "owned.1" };
    static const uint8_t vm[16];
    char path[160];
    struct ft_err err = { 0 };
    struct tas_block b;

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", in_dir("arbiter/" VM),
                 names[i]);
        unlink(path);
        if (n > 0 && p[0] % 2 == i) {
            put_file(path, p + 1, n - 1);
        }
    }
    if (tas_file_read(in_dir("arbiter"), vm, &b, &err) < 0) {
        CHECK(err.text[0]);
        return false;
    }
    CHECK(n > 0 && b.generation == 1 && memcmp(b.vm, vm, 16) == 0);
    CHECK((b.state == TAS_BLOCK_FREE) == (p[0] % 2 == 0));
    return true;
}

static unsigned messages;
static bool closed;

static void on_message(void *opaque, const struct lc_frame *frame,
                       const struct lc_msg *msg)
{
    (void)opaque;
    CHECK(frame->type == msg->type);
    CHECK((frame->type == LC_VL_HELLO) == (messages == 0));
    messages++;
}

static void on_closed(void *opaque, const char *why)
{
    (void)opaque;
    CHECK(why[0]);
    closed = true;
}

static void on_qemu_gone(void *opaque)
{
    (void)opaque;
}

/* Packets of the lengths that the bytes in front of them say. */
static bool vmlink(const uint8_t *p, size_t n)
{
    static const struct ft_vmlink_ops ops = { on_message, on_closed,
                                              on_qemu_gone };
    static int listener = -1;
    struct ft_vmlink *v;
    struct ft_err err;
    int qemu;

    if (listener < 0) {
        struct sockaddr_un sun = { .sun_family = AF_UNIX };

        snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", in_dir("vmlink"));
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(bind(listener, (struct sockaddr *)&sun, sizeof(sun)) == 0);
        CHECK(listen(listener, 1) == 0);
    }
    messages = 0;
    closed = false;
    CHECK(ft_vmlink_connect(&v, loop, in_dir("vmlink"), &ops, NULL, &err) ==
          0);
    qemu = accept(listener, NULL, NULL);
    while (n > 2) {
        size_t k = p[0] | (size_t)p[1] << 8;

        k = k > n - 2 ? n - 2 : k;
        send(qemu, p + 2, k, MSG_NOSIGNAL);
        p += 2 + k;
        n -= 2 + k;
    }
    close(qemu);
    for (int turns = 0; !closed; turns++) {
        CHECK(turns < 1000);
        ev_run(loop, EVRUN_NOWAIT);
    }
    ft_vmlink_free(v);
    return messages > 0;
}

static void one_input(const uint8_t *data, size_t size)
{
    static bool (*const parse[PARSERS])(const uint8_t *,
                                        size_t) = { config, xml, lines, files,
                                                    vmlink };
    unsigned which = data[0] % PARSERS;

    if (parse[which](data + 1, size - 1)) {
        taken[which]++;
    } else {
        refused[which]++;
    }
}

/* ---- good inputs ---- */

static size_t good_config(uint8_t *to)
{
    static const char *const sections =
        "[host]\nname = hosta\nport = 16521\n[failover]\ndetect_ms = 1000\n"
        "lease_ms = 800\nmargin_ms = 100\n[arbiter]\nuri = file:/shared/a\n"
        "# a comment\n[protect]\nhold_ms = 1000\n";

    return (size_t)snprintf((char *)to, INPUT, "%s", sections);
}

static size_t good_xml(uint8_t *to)
{
    const char *top = getenv("top_srcdir");
    char path[512];

    snprintf(path, sizeof(path), "%s/tests/control/domain/domains/%s.xml",
             top ? top : ".", next_random() % 2 ? "plain" : "virt-install");
    return get_file(path, to, INPUT);
}

static size_t good_lines(uint8_t *to)
{
    return (size_t)
        snprintf((char *)to, INPUT,
                 "{\"do\":\"status\"}\n{\"do\":\"protect\",\"generation\":1,"
                 "\"peer\":{\"host\":\"hostb\",\"port\":16521}}\n"
                 "{\"do\":\"\\u00e9\",\"list\":[1,2.5e3,null,true]}\n");
}

static size_t good_files(uint8_t *to)
{
    static const uint8_t vm[16], id[16] = { 1 };
    struct tas_block b;

    to[0] = (uint8_t)(next_random() % 2);
    tas_block_make(&b, to[0] ? TAS_OWNED : TAS_FREE, 1, vm, id, 1, id,
                   "hosta");
    tas_block_encode(&b, to + 1);
    return 1 + TAS_BLOCK_SIZE;
}

static size_t good_packets(uint8_t *to)
{
    enum { GOLDEN = sizeof(golden) / sizeof(golden[0]) };
    struct lc_frame f = { .generation = 3, .pair = { { 7 } } };
    size_t used = 0, at = 0;

    while (golden[at].m.type != LC_VL_HELLO) {
        at++;
    }
    for (uint64_t i = 1; i < 6; i++) {
        size_t k;

        f.sequence = i;
        k = lc_encode(to + used + 2, INPUT - used - 2, &f, &golden[at].m);
        to[used] = (uint8_t)k;
        to[used + 1] = (uint8_t)(k >> 8);
        used += 2 + k;
        do {
            at = next_random() % GOLDEN;
        } while (golden[at].m.type <= LC_VL_HELLO);
    }
    return used;
}

int main(void)
{
    static size_t (*const good[PARSERS])(uint8_t *) = {
        good_config, good_xml, good_lines, good_files, good_packets
    };
    static const char *const what[PARSERS] = {
        "a configuration", "a domain's XML", "lines of JSON",
        "the arbiter's files", "QEMU's packets"
    };
    uint8_t input[1 + INPUT + 16];
    struct ft_err err;

    CHECK(mkdtemp(dir));
    CHECK(tas_file_format(in_dir("arbiter"), false, NULL, &err) == 0);
    CHECK(mkdir(in_dir("arbiter/" VM), 0755) == 0);
    ft_log_set_level(FT_LOG_ERROR);
    loop = ev_default_loop(0);
    printf("1..%d\n", PARSERS);
    while (fuzz_goes_on()) {
        for (unsigned i = 0; i < 100; i++) {
            input[0] = (uint8_t)(i % PARSERS);
            one_input(input, mutate(input, 1 + good[input[0]](input + 1)));
        }
    }
    for (int i = 0; i < PARSERS; i++) {
        printf("# %lu taken, %lu refused\n", taken[i], refused[i]);
        printf("%s %d - %s, damaged, harms nobody\n",
               taken[i] && refused[i] ? "ok" : "not ok", i + 1, what[i]);
    }
    fflush(stdout);
    CHECK(execlp("rm", "rm", "-rf", dir, (char *)NULL) == 0);
}
