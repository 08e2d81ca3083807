/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pki.h - certificates for tests, made on the spot */
#ifndef TEST_PKI_H
#define TEST_PKI_H

/* Make DIR/{ca-cert.pem,host-cert.pem,host-key.pem}: a host of the CA `ca`
 * (made when first named; ca and DIR are relative to the test's temporary
 * folder), whose certificate is for `san` (NULL: no subjectAltName) and ends
 * `days` from now (negative: has expired). Aborts the test on any error. */
void pki_make(const char *dir, const char *ca, const char *san, int days);
/* The path of a file or folder in the temporary folder; static buffer. */
const char *pki_path(const char *name);
void pki_begin(void); /* make the temporary folder */
void pki_end(void);   /* remove it */

#endif
