/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls.c - certificates, sessions, and what their failures mean */
#include "logging-channel/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/host/log.h"

#define HOST_FLAGS                                                           \
    (X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)

struct lc_tls {
    SSL_CTX *ctx;
};

/* The names that a certificate is for, as "a, b". */
static void list_names(X509 *cert, char *to, size_t cap)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL,
                                            NULL);
    size_t used = 0;
    int i;

    to[0] = '\0';
    for (i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_DNS && used < cap) {
            used += (size_t)snprintf(to + used, cap - used, "%s%.*s",
                                     used ? ", " : "",
                                     ASN1_STRING_length(name->d.dNSName),
                                     (const char *)ASN1_STRING_get0_data(
                                         name->d.dNSName));
        }
    }
    GENERAL_NAMES_free(names);
    if (!used) {
        snprintf(to, cap, "no host (it has no subjectAltName DNS)");
    }
}

/* A name that begins with a dot would stand for every host below it. */
static bool cert_is_for(X509 *cert, const char *host)
{
    return host[0] != '.' &&
           X509_check_host(cert, host, 0, HOST_FLAGS, NULL) == 1;
}

static const char not_ours[] = "is not signed by this pair's CA (" LC_TLS_CA
                               ")";

static const char *verify_text(int code)
{
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "is not valid yet (compare the hosts' clocks)";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return not_ours;
    case X509_V_ERR_INVALID_PURPOSE:
        return "may not be used for this (its extended key usage must "
               "allow both server and client)";
    default:
        return X509_verify_cert_error_string(code);
    }
}

/* ---- loading ---- */

/* The deepest reason in OpenSSL's queue; empties it. */
static const char *ssl_reason(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(e);

    ERR_clear_error();
    return text ? text : "unknown reason";
}

/* Never ask on a terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

static int require_file(const char *path, const char *what,
                        struct ft_err *err)
{
    FILE *f = fopen(path, "re");

    if (!f) {
        return ft_err_set(err, errno,
                          "%s: %s; it must hold %s (the manual, "
                          "docs/operations.md, says how to make one)",
                          path, strerror(errno), what);
    }
    fclose(f);
    return 0;
}

static int check_own_cert(SSL_CTX *ctx, const char *path,
                          const char *own_name, struct ft_err *err)
{
    X509 *cert = SSL_CTX_get0_certificate(ctx);
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    char names[128];
    int rc = -1, code = X509_V_ERR_OUT_OF_MEM;

    if (store &&
        X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(ctx), cert, NULL)) {
        X509_verify_cert(store);
        code = X509_STORE_CTX_get_error(store);
    }
    X509_STORE_CTX_free(store);
    if (code != X509_V_OK) {
        ft_err_set(err, EINVAL, "%s: this certificate %s", path,
                   verify_text(code));
        goto out;
    }
    if (!cert_is_for(cert, own_name)) {
        list_names(cert, names, sizeof(names));
        ft_err_set(err, EINVAL,
                   "%s: this certificate is for %s, but this "
                   "host is %s ([host] name)",
                   path, names, own_name);
        goto out;
    }
    rc = 0;
out:
    ERR_clear_error();
    return rc;
}

static void warn_open_key(const char *path)
{
    struct stat st;

    if (!stat(path, &st) && (st.st_mode & 077)) {
        ft_warning("certificate key %s: others than its owner may read it "
                   "(mode %03o); chmod 600 it",
                   path, st.st_mode & 0777);
    }
}

static int load_files(SSL_CTX *ctx, const char *dir, const char *own_name,
                      struct ft_err *err)
{
    char ca[512], cert[512], key[512];

    snprintf(ca, sizeof(ca), "%s/" LC_TLS_CA, dir);
    snprintf(cert, sizeof(cert), "%s/" LC_TLS_CERT, dir);
    snprintf(key, sizeof(key), "%s/" LC_TLS_KEY, dir);
    if (require_file(ca, "the certificate of the CA that signs all hosts",
                     err) < 0 ||
        require_file(cert,
                     "this host's certificate, signed by the CA, with "
                     "the host's name as subjectAltName DNS",
                     err) < 0 ||
        require_file(key, "the private key of " LC_TLS_CERT, err) < 0) {
        return -1;
    }
    if (SSL_CTX_load_verify_file(ctx, ca) != 1) {
        return ft_err_set(err, EINVAL, "%s: not a certificate in PEM (%s)",
                          ca, ssl_reason());
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1) {
        return ft_err_set(err, EINVAL, "%s: not a certificate in PEM (%s)",
                          cert, ssl_reason());
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        return ft_err_set(err, EINVAL,
                          "%s: not the key of %s, not PEM, or "
                          "protected by a password (%s)",
                          key, cert, ssl_reason());
    }
    warn_open_key(key);
    return own_name ? check_own_cert(ctx, cert, own_name, err) : 0;
}

/* ---- the peer's certificate ---- */

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int index_value;

static void make_index(void)
{
    index_value = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* lockstepd has sessions in several threads. */
static int check_index(void)
{
    pthread_once(&index_once, make_index);
    return index_value;
}

static int verify_cb(int ok, X509_STORE_CTX *store)
{
    SSL *ssl =
        X509_STORE_CTX_get_ex_data(store,
                                   SSL_get_ex_data_X509_STORE_CTX_idx());
    struct lc_tls_check *check = SSL_get_ex_data(ssl, check_index());
    int depth = X509_STORE_CTX_get_error_depth(store);
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    char names[128] = "";

    if (!ok) {
        const char *text = verify_text(X509_STORE_CTX_get_error(store));

        if (cert && depth == 0) {
            list_names(cert, names, sizeof(names));
        }
        snprintf(check->why, sizeof(check->why), "%s certificate %s%s%s",
                 depth && text != not_ours ? "its CA's" : "its", text,
                 *names ? "; it is for " : "", names);
        return 0;
    }
    if (depth == 0 && *check->expected &&
        !cert_is_for(cert, check->expected)) {
        list_names(cert, names, sizeof(names));
        snprintf(check->why, sizeof(check->why),
                 "the peer presented a certificate for %s, expected %s",
                 names, check->expected);
        X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
        return 0;
    }
    return 1;
}

struct lc_tls *lc_tls_load(const char *dir, const char *own_name,
                           struct ft_err *err)
{
    struct lc_tls *tls = calloc(1, sizeof(*tls));
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    if (!tls || !ctx ||
        SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1) {
        ft_err_set(err, ENOMEM, "TLS: cannot set up (%s)", ssl_reason());
        goto fail;
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, 64 << 10);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       verify_cb);
    if (load_files(ctx, dir, own_name, err) < 0) {
        goto fail;
    }
    tls->ctx = ctx;
    return tls;
fail:
    SSL_CTX_free(ctx);
    free(tls);
    return NULL;
}

void lc_tls_free(struct lc_tls *tls)
{
    if (tls) {
        SSL_CTX_free(tls->ctx);
        free(tls);
    }
}

SSL *lc_tls_session(struct lc_tls *tls, int fd, bool server,
                    struct lc_tls_check *check, struct ft_err *err)
{
    SSL *ssl = SSL_new(tls->ctx);

    if (!ssl || !SSL_set_ex_data(ssl, check_index(), check) ||
        !SSL_set_fd(ssl, fd)) {
        ft_err_set(err, ENOMEM, "TLS: no session (%s)", ssl_reason());
        SSL_free(ssl);
        return NULL;
    }
    if (server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        if (*check->expected) {
            SSL_set_tlsext_host_name(ssl, check->expected);
        }
    }
    return ssl;
}

bool lc_tls_peer_is(SSL *ssl, const char *host)
{
    X509 *cert = ssl ? SSL_get0_peer_certificate(ssl) : NULL;

    return cert && cert_is_for(cert, host);
}

/* ---- explaining ---- */

static const char *handshake_text(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_BAD_RECORD_TYPE:
        return "the peer does not speak TLS: is it a Lockstep?";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "the peer does not speak TLS 1.3";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the peer presented no certificate";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the peer wants a certificate, we presented none";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return "the peer refused our certificate, probably for its name: "
               "its log says why";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "the peer refused our certificate: signed by another CA "
               "than the one it trusts";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "the peer refused our certificate: it has expired";
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        return "the peer refused our certificate: its extended key usage "
               "must allow both server and client";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return NULL;
    default:
        return ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason));
    }
}

void lc_tls_explain(const struct lc_tls_check *check, bool handshake,
                    int error, int sys, struct ft_err *err)
{
    unsigned long e = ERR_peek_last_error();
    int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
    const char *text;

    ERR_clear_error();
    if (*check->why) {
        ft_err_set(err, EACCES, "%s", check->why);
    } else if (error == SSL_ERROR_SYSCALL && sys) {
        ft_err_sys(err, sys, "the connection broke");
    } else if (error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_SYSCALL ||
               reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ft_err_set(err, ECONNRESET, "closed by the peer%s",
                   handshake ? " in the TLS handshake (its log says why)"
                   : error == SSL_ERROR_ZERO_RETURN ? ""
                                                    : " without a TLS end");
    } else {
        text = reason ? handshake_text(reason) : ERR_reason_error_string(e);
        ft_err_set(err,
                   handshake || reason >= SSL_AD_REASON_OFFSET ? EACCES
                                                               : EPROTO,
                   "TLS: %s", text ? text : "failed");
    }
}
