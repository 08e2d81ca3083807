/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tls.h - this host's certificate, and the rules that a peer's must meet
 *
 * A folder with ca-cert.pem, host-cert.pem and host-key.pem. TLS 1.3 only,
 * certificates on both sides, each signed by the CA and in force; the peer's
 * name is matched against the subjectAltName DNS entries of its certificate,
 * never against the common name, without wildcards.
 */
#ifndef LC_TLS_H
#define LC_TLS_H

#include <openssl/types.h>
#include <stdbool.h>

#include "common/host/err.h"

#define LC_TLS_CA "ca-cert.pem"
#define LC_TLS_CERT "host-cert.pem"
#define LC_TLS_KEY "host-key.pem"

struct lc_tls;

/* Load a folder. own_name: this host's name, which the certificate must
 * carry, and it must be in force; NULL: not checked, so that the peer can see
 * it and say what is wrong. NULL: err names the file, the reason and what to
 * do. From then on the process ignores SIGPIPE (OpenSSL writes to sockets
 * that peers close). */
struct lc_tls *lc_tls_load(const char *dir, const char *own_name,
                           struct ft_err *err);
/* Connections that were made with it live on. */
void lc_tls_free(struct lc_tls *tls);

/* ---- for conn.c ---- */

struct lc_tls_check {
    char expected[256]; /* the peer's name; "": any */
    char why[448];      /* what was wrong with its certificate */
};

/* A session on fd. check: borrowed while the session lives. NULL: err. */
SSL *lc_tls_session(struct lc_tls *tls, int fd, bool server,
                    struct lc_tls_check *check, struct ft_err *err);
/* What a failed handshake or transfer means, in an operator's words. error:
 * of SSL_get_error(); sys: errno after the call. */
void lc_tls_explain(const struct lc_tls_check *check, bool handshake,
                    int error, int sys, struct ft_err *err);
/* Does the peer's certificate carry this name? */
bool lc_tls_peer_is(SSL *ssl, const char *host);

#endif
