/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain-xml.c - the tree of a domain's XML, and the report
 *
 * Thin helpers on libxml2. Text and attribute values are read in place: a
 * libvirt domain has no entities in the places that are looked at.
 */
#include "control/domain/domain.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *p)
{
    if (!p) {
        abort(); /* out of memory on a few kilobytes */
    }
    return p;
}

void dom_say(struct dom_report *r, enum dom_kind kind, const char *object,
             const char *action, const char *fmt, ...)
{
    struct dom_line *l;
    va_list ap;

    r->line = need(realloc(r->line, (r->n + 1) * sizeof(*r->line)));
    l = &r->line[r->n++];
    l->kind = kind;
    l->object = need(strdup(object));
    l->action = action ? need(strdup(action)) : NULL;
    va_start(ap, fmt);
    if (vasprintf(&l->text, fmt, ap) < 0) {
        abort();
    }
    va_end(ap);
    r->count[kind]++;
}

void dom_report_clear(struct dom_report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->line[i].object);
        free(r->line[i].text);
        free(r->line[i].action);
    }
    free(r->line);
    memset(r, 0, sizeof(*r));
}

void dom_report_err(const struct dom_report *r, const char *domain,
                    struct ft_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct dom_line *l = &r->line[i];

        if (l->kind != DOM_REFUSED) {
            continue;
        }
        ft_err_set(err, EINVAL, "domain %s: %s: %s%s%s", domain, l->object,
                   l->text, l->action ? ": " : "",
                   l->action ? l->action : "");
        return;
    }
}

xmlDoc *dom_parse(const char *xml, struct ft_err *err)
{
    xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), "domain.xml", NULL,
                                XML_PARSE_NONET | XML_PARSE_NOBLANKS |
                                    XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;

    if (!root || !dom_is(root, "domain")) {
        ft_err_set(err, EINVAL, "domain XML: %s",
                   doc ? "the root element is not <domain>"
                       : "not well-formed XML");
        if (doc) {
            xmlFreeDoc(doc);
        }
        return NULL;
    }
    return doc;
}

char *dom_print(xmlDoc *doc)
{
    xmlChar *text = NULL;
    char *copy;
    int n = 0;

    xmlDocDumpFormatMemory(doc, &text, &n, 1);
    copy = need(strdup((char *)need(text)));
    xmlFree(text);
    return copy;
}

void dom_free(xmlDoc *doc)
{
    if (doc) {
        xmlFreeDoc(doc);
    }
}

bool dom_is(const xmlNode *node, const char *name)
{
    return node && node->type == XML_ELEMENT_NODE &&
           !strcmp((const char *)node->name, name);
}

xmlNode *dom_child(const xmlNode *parent, const char *name)
{
    for (xmlNode *n = parent ? parent->children : NULL; n; n = n->next) {
        if (dom_is(n, name)) {
            return n;
        }
    }
    return NULL;
}

xmlNode *dom_next(const xmlNode *node)
{
    for (xmlNode *n = node->next; n; n = n->next) {
        if (dom_is(n, (const char *)node->name)) {
            return n;
        }
    }
    return NULL;
}

xmlNode *dom_path(const xmlNode *from, const char *path)
{
    char part[64];
    const xmlNode *n = from;

    while (n && *path) {
        size_t k = strcspn(path, "/");

        snprintf(part, sizeof(part), "%.*s", (int)k, path);
        n = dom_child(n, part);
        path += k;
        path += *path == '/';
    }
    return (xmlNode *)n;
}

xmlNode *dom_need(xmlNode *parent, const char *name)
{
    xmlNode *n = dom_child(parent, name);

    if (!n) {
        n = need(xmlNewNode(NULL, BAD_CAST name));
        xmlAddChild(parent, n);
    }
    return n;
}

static const char *content(const xmlNode *text)
{
    return text && text->content ? (const char *)text->content : "";
}

const char *dom_attr(const xmlNode *node, const char *name)
{
    const xmlAttr *a = node ? xmlHasProp(node, BAD_CAST name) : NULL;

    return a ? content(a->children) : "";
}

bool dom_attr_is(const xmlNode *node, const char *name, const char *value)
{
    return !strcmp(dom_attr(node, name), value);
}

const char *dom_text(const xmlNode *node)
{
    return node ? content(node->children) : "";
}

void dom_remove(xmlNode *node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

xmlNode *dom_commandline(xmlDoc *doc)
{
    for (xmlNode *n = xmlDocGetRootElement(doc)->children; n; n = n->next) {
        if (dom_is(n, "commandline") && n->ns &&
            !strcmp((const char *)n->ns->href, DOM_NS_QEMU)) {
            return n;
        }
    }
    return NULL;
}

xmlNode *dom_metadata(xmlDoc *doc, const char *ns, const char *name,
                      bool make)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *meta = make ? dom_need(root, "metadata")
                         : dom_child(root, "metadata");
    xmlNode *n;

    for (n = meta ? meta->children : NULL; n; n = n->next) {
        if (dom_is(n, name) && n->ns && n->ns->href &&
            !strcmp((const char *)n->ns->href, ns)) {
            return n;
        }
    }
    if (!make) {
        return NULL;
    }
    n = need(xmlNewNode(NULL, BAD_CAST name));
    xmlSetNs(n, need(xmlNewNs(n, BAD_CAST ns, BAD_CAST "lockstep")));
    xmlAddChild(meta, n);
    return n;
}

void dom_object(const xmlNode *device, char *buf, size_t size)
{
    const char *kind = (const char *)device->name;
    const char *id = "";

    if (dom_is(device, "disk")) {
        id = dom_attr(dom_child(device, "target"), "dev");
    } else if (dom_is(device, "interface")) {
        id = dom_attr(dom_child(device, "mac"), "address");
    } else if (dom_is(device, "controller") || dom_is(device, "graphics") ||
               dom_is(device, "input") || dom_is(device, "hostdev") ||
               dom_is(device, "channel") || dom_is(device, "console") ||
               dom_is(device, "serial")) {
        id = dom_attr(device, "type");
    } else if (dom_is(device, "filesystem")) {
        id = dom_attr(dom_child(device, "target"), "dir");
    } else if (dom_is(device, "tpm") || dom_is(device, "sound") ||
               dom_is(device, "memory") || dom_is(device, "watchdog")) {
        id = dom_attr(device, "model");
    } else if (dom_is(device, "video")) {
        id = dom_attr(dom_child(device, "model"), "type");
    }
    snprintf(buf, size, "%s%s%s", kind, *id ? " " : "", id);
}

bool dom_get_protection(xmlDoc *doc, struct dom_protection *p)
{
    xmlNode *n = dom_metadata(doc, DOM_NS_PROTECTION, "protection", false);

    memset(p, 0, sizeof(*p));
    if (!n) {
        return false;
    }
    snprintf(p->backup, sizeof(p->backup), "%s", dom_attr(n, "backup"));
    snprintf(p->arbiter, sizeof(p->arbiter), "%s", dom_attr(n, "arbiter"));
    return true;
}

static void fill_protection(xmlNode *n, const struct dom_protection *p)
{
    xmlSetProp(n, BAD_CAST "backup", BAD_CAST p->backup);
    if (*p->arbiter) {
        xmlSetProp(n, BAD_CAST "arbiter", BAD_CAST p->arbiter);
    } else {
        xmlUnsetProp(n, BAD_CAST "arbiter");
    }
}

void dom_set_protection(xmlDoc *doc, const struct dom_protection *p)
{
    xmlNode *n = dom_metadata(doc, DOM_NS_PROTECTION, "protection",
                              p != NULL);

    if (p) {
        fill_protection(n, p);
    } else if (n) {
        dom_remove(n);
    }
}

char *dom_print_protection(const struct dom_protection *p)
{
    xmlBuffer *buf = need(xmlBufferCreate());
    xmlDoc *doc = need(xmlNewDoc(BAD_CAST "1.0"));
    xmlNode *n = need(xmlNewNode(NULL, BAD_CAST "protection"));
    char *text;

    xmlDocSetRootElement(doc, n);
    fill_protection(n, p);
    xmlNodeDump(buf, doc, n, 0, 0);
    text = need(strdup((const char *)xmlBufferContent(buf)));
    xmlBufferFree(buf);
    xmlFreeDoc(doc);
    return text;
}
