/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pki.c - certificates for tests, made on the spot */
#include "pki.h"

#include <glib.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CAS 4

static char root[64];
static struct {
    char name[32];
    EVP_PKEY *key;
    X509 *cert;
} cas[CAS];

void pki_begin(void)
{
    strcpy(root, "/tmp/lockstep-pki-XXXXXX");
    g_assert_nonnull(mkdtemp(root));
}

void pki_end(void)
{
    char command[128];
    int i;

    snprintf(command, sizeof(command), "rm -r %s", root);
    g_assert_cmpint(system(command), ==, 0);
    for (i = 0; i < CAS; i++) {
        EVP_PKEY_free(cas[i].key);
        X509_free(cas[i].cert);
    }
    memset(cas, 0, sizeof(cas));
}

const char *pki_path(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", root, name);
    return path;
}

static void add_extension(X509 *cert, X509 *issuer, int nid,
                          const char *value)
{
    X509_EXTENSION *ext;
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    g_assert_nonnull(ext);
    g_assert_true(X509_add_ext(cert, ext, -1));
    X509_EXTENSION_free(ext);
}

static X509 *new_cert(EVP_PKEY *key, const char *name, int days)
{
    static long serial = 1;
    X509 *cert = X509_new();

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400L * 30);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * days);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN",
                               MBSTRING_ASC, (const unsigned char *)name, -1,
                               -1, 0);
    return cert;
}

static int find_ca(const char *name)
{
    int i;

    for (i = 0; i < CAS && cas[i].key; i++) {
        if (!strcmp(cas[i].name, name)) {
            return i;
        }
    }
    g_assert_cmpint(i, <, CAS);
    g_strlcpy(cas[i].name, name, sizeof(cas[i].name));
    cas[i].key = EVP_EC_gen("P-256");
    cas[i].cert = new_cert(cas[i].key, name, 10);
    X509_set_issuer_name(cas[i].cert, X509_get_subject_name(cas[i].cert));
    add_extension(cas[i].cert, cas[i].cert, NID_basic_constraints,
                  "critical,CA:TRUE");
    add_extension(cas[i].cert, cas[i].cert, NID_key_usage,
                  "critical,keyCertSign");
    g_assert_cmpint(X509_sign(cas[i].cert, cas[i].key, EVP_sha256()), >, 0);
    return i;
}

static FILE *create(const char *dir, const char *name)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", pki_path(dir), name);
    f = fopen(path, "w");
    g_assert_nonnull(f);
    chmod(path, 0600);
    return f;
}

void pki_make(const char *dir, const char *ca, const char *san, int days)
{
    int i = find_ca(ca);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = new_cert(key, dir, days);
    char value[128];
    FILE *f;

    X509_set_issuer_name(cert, X509_get_subject_name(cas[i].cert));
    if (san) {
        snprintf(value, sizeof(value), "DNS:%s", san);
        add_extension(cert, cas[i].cert, NID_subject_alt_name, value);
    }
    add_extension(cert, cas[i].cert, NID_ext_key_usage,
                  "serverAuth,clientAuth");
    g_assert_cmpint(X509_sign(cert, cas[i].key, EVP_sha256()), >, 0);
    mkdir(pki_path(dir), 0700);
    f = create(dir, "ca-cert.pem");
    PEM_write_X509(f, cas[i].cert);
    fclose(f);
    f = create(dir, "host-cert.pem");
    PEM_write_X509(f, cert);
    fclose(f);
    f = create(dir, "host-key.pem");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}
