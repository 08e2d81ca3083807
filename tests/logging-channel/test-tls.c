/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-tls.c - connections that must not come about, and what they say */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conn-pair.h"
#include "pki.h"

/* a connects from dir_a, b listens with dir_b: what each side says. */
static void both_say(const char *dir_a, const char *dir_b,
                     const char *a_expects, const char *b_expects,
                     const char *a_says, const char *b_says)
{
    struct pair p;

    pair_begin(&p, dir_a, dir_b, "127.0.0.1");
    /* a's handshake may end before b refuses its certificate */
    p.a.greet = false;
    pair_connect(&p, a_expects, b_expects);
    pair_until(&p, &p.a.closed, 1);
    pair_until(&p, &p.b.closed, 1);
    assert_says(&p.a.why, a_says);
    assert_says(&p.b.why, b_says);
    g_assert_cmpuint(p.b.ready, ==, 0);
    pair_end(&p);
}

static void test_wrong_name(void)
{
    both_say("a", "c", "hostb", "hosta",
             "presented a certificate for hostc, expected hostb",
             "refused our certificate, probably for its name");
    both_say("c", "b", "hostb", "hosta", "refused our certificate",
             "presented a certificate for hostc, expected hosta");
    both_say("a", "nosan", "hostb", "hosta",
             "for no host (it has no subjectAltName DNS), expected hostb",
             "refused our certificate");
    /* *.lab is a certificate for all hosts of the lab: not for us */
    both_say("a", "wild", "hostb.lab", "hosta", "expected hostb.lab",
             "refused our certificate");
    /* nor is .lab a name for all of them */
    both_say("a", "sub", ".lab", "hosta", "expected .lab",
             "refused our certificate");
}

static void test_wrong_ca(void)
{
    both_say("a", "x", "hostb", "hosta",
             "its certificate is not signed by this pair's CA",
             "signed by another CA");
    both_say("x", "b", "hostb", "hostb",
             "its certificate is not signed by this pair's CA",
             "signed by another CA");
}

static void replace(const char *dir, const char *from, const char *name)
{
    char command[600], old[256];

    g_strlcpy(old, pki_path(from), sizeof(old));
    snprintf(command, sizeof(command), "cp %s/%s %s/%s", old, name,
             pki_path(dir), name);
    g_assert_cmpint(system(command), ==, 0);
}

static void load_says(const char *dir, const char *own_name, const char *says,
                      const char *file)
{
    struct ft_err err;

    g_assert_null(lc_tls_load(pki_path(dir), own_name, &err));
    assert_says(&err, says);
    assert_says(&err, pki_path(dir));
    assert_says(&err, file);
}

static void test_own_files(void)
{
    struct ft_err err;
    struct lc_tls *tls;

    load_says("nowhere", NULL, "No such file", "ca-cert.pem");
    pki_make("t1", "ca1", "hosta", 5);
    unlink(pki_path("t1/host-cert.pem"));
    load_says("t1", NULL, "this host's certificate, signed by the CA",
              "host-cert.pem");
    pki_make("t1", "ca1", "hosta", 5);
    unlink(pki_path("t1/host-key.pem"));
    load_says("t1", NULL, "No such file", "host-key.pem");
    pki_make("t1", "ca1", "hosta", 5);
    replace("t1", "b", "host-key.pem");
    load_says("t1", NULL, "not the key of", "host-key.pem");
    replace("t1", "b", "host-cert.pem");
    load_says("t1", "hosta", "is for hostb, but this host is hosta",
              "host-cert.pem");
    replace("t1", "x", "ca-cert.pem");
    load_says("t1", "hostb", "is not signed by", "host-cert.pem");
    load_says("old", "hostb", "this certificate has expired",
              "host-cert.pem");
    /* for one that listens: its peer is to see it, and to say so */
    tls = lc_tls_load(pki_path("old"), NULL, &err);
    g_assert_nonnull(tls);
    lc_tls_free(tls);
    replace("t1", "a", "ca-cert.pem");
    g_assert_cmpint(truncate(pki_path("t1/ca-cert.pem"), 40), ==, 0);
    load_says("t1", NULL, "not a certificate in PEM", "ca-cert.pem");
    tls = lc_tls_load(pki_path("a"), "hosta", &err);
    g_assert_nonnull(tls);
    lc_tls_free(tls);
}

/* ---- a peer made by hand: blocking, in a thread ---- */

struct stranger {
    pthread_t thread;
    uint16_t port;
    bool preamble, tls;
    const char *dir; /* certificates; NULL: none */
    int max_version;
    ft_ns patience;           /* of who meets it; 0: that of the pair */
    const void *bytes, *more; /* more: under new keys */
    size_t n, n_more;
    bool tls_end;
    char heard[8];
};

static int dial(uint16_t port)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    g_assert_cmpint(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), ==, 0);
    return fd;
}

static SSL_CTX *stranger_ctx(const struct stranger *s)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char path[300];

    if (s->max_version) {
        SSL_CTX_set_max_proto_version(ctx, s->max_version);
    }
    if (s->dir) {
        snprintf(path, sizeof(path), "%s/host-cert.pem", s->dir);
        g_assert_cmpint(SSL_CTX_use_certificate_file(ctx, path,
                                                     SSL_FILETYPE_PEM),
                        ==, 1);
        snprintf(path, sizeof(path), "%s/host-key.pem", s->dir);
        g_assert_cmpint(SSL_CTX_use_PrivateKey_file(ctx, path,
                                                    SSL_FILETYPE_PEM),
                        ==, 1);
    }
    return ctx;
}

static void *stranger_main(void *arg)
{
    struct stranger *s = arg;
    int fd = dial(s->port);
    uint8_t preamble[LC_PREAMBLE_SIZE], waste[1024];
    lc_id vm = test_id(1);

    if (s->preamble) {
        lc_encode_preamble(preamble, LC_KIND_LOG, &vm);
        g_assert_cmpint(write(fd, preamble, sizeof(preamble)), ==,
                        sizeof(preamble));
    }
    if (s->tls) {
        SSL_CTX *ctx = stranger_ctx(s);
        SSL *ssl = SSL_new(ctx);

        SSL_set_fd(ssl, fd);
        if (SSL_connect(ssl) == 1) {
            if (s->n) {
                SSL_write(ssl, s->bytes, (int)s->n);
            }
            for (size_t i = 0; i < s->n_more; i++) {
                SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
                SSL_write(ssl, (const uint8_t *)s->more + i, 1);
            }
            if (s->tls_end) {
                SSL_shutdown(ssl);
            }
            if (s->tls_end || !s->n) {
                shutdown(fd, SHUT_WR);
            }
            while (SSL_read(ssl, waste, sizeof(waste)) > 0) {
            }
        }
        SSL_free(ssl);
        SSL_CTX_free(ctx);
    } else {
        if (s->n) {
            g_assert_cmpint(write(fd, s->bytes, s->n), ==, s->n);
        }
        while (read(fd, waste, sizeof(waste)) > 0) {
        }
    }
    close(fd);
    return NULL;
}

static void stranger_start(struct stranger *s)
{
    s->port = listener_port();
    g_assert_cmpint(pthread_create(&s->thread, NULL, stranger_main, s), ==,
                    0);
}

/* b meets the stranger; what b says. */
static void stranger_meets(struct stranger *s, const char *says)
{
    struct pair p;

    pair_begin(&p, "a", "b", "127.0.0.1");
    if (s->patience) {
        p.config_b.timeout = s->patience;
    }
    stranger_start(s);
    pair_until(&p, &p.b.closed, 1);
    assert_says(&p.b.why, says);
    assert_says(&p.b.why, "peer hosta (127.0.0.1 port ");
    pthread_join(s->thread, NULL);
    pair_end(&p);
}

static void test_not_tls(void)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: hostb\r\n\r\n";
    static uint8_t zeros[2000];
    struct stranger s = { .preamble = true,
                          .bytes = http,
                          .n = sizeof(http) - 1 };

    stranger_meets(&s, "does not speak TLS");
    s.bytes = zeros;
    s.n = sizeof(zeros);
    stranger_meets(&s, "does not speak TLS");
    s.n = 0;
    s.patience = 300 * FT_NS_PER_MS;
    stranger_meets(&s, "no TLS handshake within 300 ms");
}

static void test_old_tls_and_no_cert(void)
{
    struct stranger s = { .preamble = true,
                          .tls = true,
                          .max_version = TLS1_2_VERSION };
    char dir[256];

    g_strlcpy(dir, pki_path("a"), sizeof(dir));
    s.dir = dir;
    stranger_meets(&s, "does not speak TLS 1.3");
    s.max_version = 0;
    s.dir = NULL;
    stranger_meets(&s, "the peer presented no certificate");
    g_strlcpy(dir, pki_path("x"), sizeof(dir));
    s.dir = dir;
    stranger_meets(&s, "its certificate is not signed by this pair's CA");
    g_strlcpy(dir, pki_path("old"), sizeof(dir));
    stranger_meets(&s, "its certificate has expired; it is for hostb");
}

/* ---- malformed frames by a peer whose certificate is good ---- */

static uint8_t stream[300000];
static size_t stream_used;

/* Append one frame; the caller damages it at `*at`. */
static uint8_t *add(uint16_t type, uint64_t sequence, uint8_t pair,
                    uint64_t generation, uint32_t blob)
{
    static uint8_t data[200000];
    struct lc_frame f = { .sequence = sequence,
                          .generation = generation,
                          .pair = test_id(pair) };
    uint8_t *at = stream + stream_used;
    struct lc_msg m;
    size_t n;

    memset(&m, 0, sizeof(m));
    m.type = type;
    if (type == LC_HELLO) {
        m.u.hello.kind = LC_KIND_LOG;
        lc_set_str(&m.u.hello.host, "hosta");
    }
    if (type == LC_ENTRIES) {
        m.u.entries.batches.n = blob;
        m.u.entries.batches.p = data;
    }
    n = lc_encode(at, sizeof(stream) - stream_used, &f, &m);
    g_assert_cmpuint(n, >, 0);
    stream_used += n;
    return at;
}

static uint8_t *hello(void)
{
    stream_used = 0;
    return add(LC_HELLO, 1, 2, 7, 0);
}

static void stream_says(const char *says)
{
    struct stranger s = { .preamble = true,
                          .tls = true,
                          .bytes = stream,
                          .n = stream_used,
                          .tls_end = true };
    char dir[256];

    g_strlcpy(dir, pki_path("a"), sizeof(dir));
    s.dir = dir;
    stranger_meets(&s, says);
}

static void test_malformed(void)
{
    uint8_t *p;
    size_t i;

    p = hello();
    stream_says("closed by the peer");
    for (i = 0; i < 4; i++) {
        p = hello();
        p[i] ^= 0x10;
        stream_says("malformed input: not a frame of the logging channel");
    }
    p = hello();
    p[6]++;
    stream_says("another version");
    p = hello();
    p[4] = 0xff;
    stream_says("unknown message type");
    p = hello();
    p[11] = 1;
    stream_says("the message is too long");
    p = hello();
    p[12] = 1;
    stream_says("reserved bytes are not zero");
    p = hello();
    p[16]++;
    stream_says("missing, repeated or out of order");
    p = hello();
    p[24]++;
    stream_says("another generation (HELLO, frame 1)");
    p = hello();
    p[40]++;
    stream_says("another pair");
    p = hello();
    p[8]--;
    stream_used--;
    stream_says("the message is too short");
    p = hello();
    p[LC_HEADER_SIZE] = LC_KIND_CLONE;
    stream_says("another kind of connection than the preamble");
    p = hello();
    stream_used = LC_HEADER_SIZE / 2;
    stream_says("closed by the peer inside a frame");
    p = hello();
    stream_used -= 3;
    stream_says("closed by the peer inside a frame");
    p = hello();
    stream[stream_used - 1] = 'b'; /* "hostb" */
    stream_says("calls itself by another host's name");
}

static void test_protocol_order(void)
{
    hello();
    stream_used = 0;
    add(LC_ENTRIES, 1, 2, 7, 100);
    stream_says("the first message is not HELLO (ENTRIES, frame 1)");
    hello();
    add(LC_HELLO, 2, 2, 7, 0);
    stream_says("a second greeting");
    hello();
    add(LC_ACK, 2, 2, 7, 0);
    stream_says("a message that the other side sends");
    hello();
    add(LC_VL_FENCE, 2, 2, 7, 0);
    stream_says("does not belong on this connection");
    hello();
    add(LC_ENTRIES, 3, 2, 7, 10);
    stream_says("missing, repeated or out of order");
    hello();
    add(LC_ENTRIES, 2, 2, 8, 10);
    stream_says("another generation");
    /* a stranger with a good certificate cannot make us buffer megabytes */
    stream_used = 0;
    add(LC_ENTRIES, 1, 2, 7, 100000);
    stream_says("a greeting that is too long");
}

/* Keys may change at any byte. */
static void test_new_keys(void)
{
    struct stranger s = { .preamble = true,
                          .tls = true,
                          .bytes = stream,
                          .tls_end = true };
    char dir[256];

    g_strlcpy(dir, pki_path("a"), sizeof(dir));
    s.dir = dir;
    hello();
    s.n = stream_used / 2;
    s.more = stream + s.n;
    add(LC_HELLO, 2, 2, 7, 0);
    s.n_more = stream_used - s.n;
    stranger_meets(&s, "a second greeting");
}

static void test_channel_dies(void)
{
    struct stranger s = { .preamble = true, .tls = true };
    char dir[256];

    /* ends TCP without ending TLS: not a clean end */
    g_strlcpy(dir, pki_path("a"), sizeof(dir));
    s.dir = dir;
    stranger_meets(&s, "closed by the peer without a TLS end");
}

/* ---- connecting ---- */

static void test_cannot_connect(void)
{
    struct lc_conn_config config;
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(sin);
    char expected[128];
    struct ft_err err;
    struct pair p;
    int fd;

    pair_begin(&p, "a", "b", "127.0.0.1");
    config = pair_config(&p, &p.a, p.tls_a, "hostb");
    /* a port that nobody listens on: bound, and not listening */
    fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sin, n), ==, 0);
    getsockname(fd, (struct sockaddr *)&sin, &n);
    p.a.conn = lc_conn_connect(&config, "127.0.0.1", ntohs(sin.sin_port),
                               &err);
    pair_until(&p, &p.a.closed, 1);
    snprintf(expected, sizeof(expected),
             "peer hostb (127.0.0.1 port %u): "
             "cannot connect: Connection refused",
             ntohs(sin.sin_port));
    g_assert_cmpstr(p.a.why.text, ==, expected);
    g_assert_cmpint(p.a.why.code, ==, ECONNREFUSED);
    close(fd);

    p.a.conn = lc_conn_connect(&config, "host.invalid", 1, &err);
    pair_until(&p, &p.a.closed, 2);
    assert_says(&p.a.why, "peer hostb");
    assert_says(&p.a.why, "host.invalid");
    pair_end(&p);
}

static void test_connect_timeout(void)
{
    struct lc_conn_config config;
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(sin);
    struct ft_err err;
    struct pair p;
    int fd;

    /* accepts TCP (the kernel does) and then says nothing */
    fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sin, n), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    getsockname(fd, (struct sockaddr *)&sin, &n);
    pair_begin(&p, "a", "b", "127.0.0.1");
    config = pair_config(&p, &p.a, p.tls_a, "hostb");
    config.timeout = 200 * FT_NS_PER_MS;
    p.a.conn = lc_conn_connect(&config, "127.0.0.1", ntohs(sin.sin_port),
                               &err);
    pair_until(&p, &p.a.closed, 1);
    assert_says(&p.a.why, "no TLS handshake within 200 ms");
    g_assert_cmpint(p.a.why.code, ==, ETIMEDOUT);
    close(fd);
    pair_end(&p);
}

/* ---- the listener ---- */

/* Until the server waits for so many preambles; hangs if it never does. */
static void pair_pending(struct pair *p, size_t n)
{
    while (listener_accepted() != n) {
        pair_run(p, 5);
    }
}

static void test_preamble(void)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\nHost: hostb\r\n\r\n",
        "LSK1\x02\x00\x01\x00................",
        "LSK1\x01\x00\x09\x00................",
        "LSK1\x01\x00\x01\x01................",
    };
    struct pair p;
    size_t i;
    int fd;

    pair_begin(&p, "a", "b", "127.0.0.1");
    for (i = 0; i < 4; i++) {
        char c;

        fd = dial(listener_port());
        g_assert_cmpint(write(fd, bad[i], 24), ==, 24);
        while (recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
            pair_run(&p, 5); /* until it is closed */
        }
        close(fd);
    }
    /* cut off */
    fd = dial(listener_port());
    g_assert_cmpint(write(fd, "LSK1", 4), ==, 4);
    pair_pending(&p, 1);
    close(fd);
    pair_pending(&p, 0);
    g_assert_cmpuint(p.handed, ==, 0);
    pair_end(&p);
}

static void test_idle_strangers(void)
{
    int fds[LC_SERVER_PENDING + 20];
    struct pair p;
    size_t i;

    pair_begin(&p, "a", "b", "127.0.0.1");
    for (i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = dial(listener_port());
        ev_run(p.loop, EVRUN_NOWAIT);
        pair_run(&p, 1);
    }
    pair_pending(&p, LC_SERVER_PENDING);
    pair_open(&p);
    for (i = 0; i < G_N_ELEMENTS(fds); i++) {
        close(fds[i]);
    }
    pair_end(&p);
}

/* One byte at a time, and TLS right behind it: nothing is lost. */
static void test_slow_preamble(void)
{
    uint8_t bytes[LC_PREAMBLE_SIZE];
    lc_id vm = test_id(1);
    struct pair p;
    size_t i;
    int fd;

    pair_begin(&p, "a", "b", "127.0.0.1");
    p.config_b.timeout = 100 * FT_NS_PER_MS;
    lc_encode_preamble(bytes, LC_KIND_LOG, &vm);
    fd = dial(listener_port());
    for (i = 0; i < sizeof(bytes); i++) {
        g_assert_cmpuint(p.handed, ==, 0);
        g_assert_cmpint(write(fd, bytes + i, 1), ==, 1);
        pair_run(&p, 2);
    }
    pair_until(&p, &p.handed, 1);
    pair_until(&p, &p.b.closed, 1);
    assert_says(&p.b.why, "no TLS handshake");
    close(fd);
    pair_end(&p);
}

static void test_addresses(void)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct lc_server *s, *t;
    struct ft_err err;

    g_assert_null(lc_server_open(loop, "nonsense", 0, NULL, NULL, &err));
    assert_says(&err, "address nonsense port 0");
    s = lc_server_open(loop, "127.0.0.1", 0, NULL, NULL, &err);
    g_assert_nonnull(s);
    t = lc_server_open(loop, "127.0.0.1", listener_port(), NULL, NULL, &err);
    g_assert_null(t);
    assert_says(&err, "cannot listen: Address already in use");
    lc_server_close(s);
    ev_loop_destroy(loop);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    pki_begin();
    pki_make("a", "ca1", "hosta", 5);
    pki_make("b", "ca1", "hostb", 5);
    pki_make("c", "ca1", "hostc", 5);
    pki_make("x", "ca2", "hostb", 5);
    pki_make("nosan", "ca1", NULL, 5);
    pki_make("wild", "ca1", "*.lab", 5);
    pki_make("sub", "ca1", "hostb.lab", 5);
    pki_make("old", "ca1", "hostb", -1);
    g_test_add_func("/tls/a peer with another name is refused",
                    test_wrong_name);
    g_test_add_func("/tls/a peer of another CA is refused", test_wrong_ca);
    g_test_add_func("/tls/own files are checked, by name", test_own_files);
    g_test_add_func("/tls/what is not TLS is refused", test_not_tls);
    g_test_add_func("/tls/TLS 1.2 and no certificate are refused",
                    test_old_tls_and_no_cert);
    g_test_add_func("/tls/malformed frames close with a named reason",
                    test_malformed);
    g_test_add_func("/tls/frames out of order close with a named reason",
                    test_protocol_order);
    g_test_add_func("/tls/keys may change at any byte", test_new_keys);
    g_test_add_func("/tls/a connection that dies is no clean end",
                    test_channel_dies);
    g_test_add_func("/connect/failures name host, port and reason",
                    test_cannot_connect);
    g_test_add_func("/connect/a silent peer is given up",
                    test_connect_timeout);
    g_test_add_func("/server/bad preambles reach nobody", test_preamble);
    g_test_add_func("/server/idle strangers do not keep peers out",
                    test_idle_strangers);
    g_test_add_func("/server/a preamble may come byte by byte",
                    test_slow_preamble);
    g_test_add_func("/server/addresses are checked", test_addresses);
    rc = g_test_run();
    pki_end();
    return rc;
}
