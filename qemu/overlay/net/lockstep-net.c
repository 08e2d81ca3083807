/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the filter between a NIC and its network.
 *
 * Theory of Operation
 *
 * Each NIC gets a filter on its netdev when it is made; no option names it.
 *
 * To the guest (rx). A packet from the network is an event of the log: RECORD
 * queues it, and the vCPU's loop top writes it and hands it to the NIC at an
 * exact instruction. REPLAY ignores the network, packets come from the log.
 * NONE lets packets pass.
 *
 * From the guest (tx). A packet is always taken in full and at once, so that
 * the NIC completes it at the instruction that sent it, whatever the network
 * does. RECORD logs its checksum, binds it to the position of the log (the
 * Output Rule) and holds it; the release thread sends it when
 * lockstep_may_release() says so, asked immediately before each packet. What
 * is held counts against the engine's bound. A packet that the netdev does not
 * take then is lost: it must not leave later without being asked. REPLAY
 * compares the checksum and drops the packet. NONE sends at once, unless older
 * packets are still held or the gate is shut.
 *
 * At go-live the replica cannot know which of the last packets the primary has
 * sent. Protocols bear a packet twice as they bear a lost one; but a lost reply
 * costs its peer a timeout that has grown while nobody answered. So a replica
 * keeps the last packets that it made, and sends those that are not old again.
 * announce() tells the network where the NIC's MAC address lives now: a few
 * RARP broadcasts from a host timer, out of the netdev only. The guest does
 * not take part: virtio-net's own announcement raises an interrupt that no log
 * holds, and is off.
 *
 * The release thread holds the BQL but not the replay mutex. A tap or a socket
 * does not mind. User networking answers packets at once, into the filter,
 * which needs the mutex: for netdevs other than tap the main loop sends.
 *
 * paper, 2.1, 2.2 and 2.3; rules 1, 2 and 7
 */

#include "qemu/osdep.h"
#include "net/filter.h"
#include "net/lockstep-net.h"
#include "lockstep/ring.h"
#include "net/tap.h"
#include "net/vhost_net.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "qom/object_interfaces.h"
#include "system/lockstep.h"
#include "system/replay.h"
#include "replay/replay-internal.h"

/* Packets that may wait for the vCPU; more are lost, as on a full NIC. */
#define NET_MAX_PENDING 4096

/* What a replica keeps to send again. */
#define NET_RECENT_PACKETS 64
#define NET_RECENT_BYTES   (64 * 1024)
#define NET_RECENT_MS      5000

#define TYPE_LOCKSTEP_NET "lockstep-net"
OBJECT_DECLARE_SIMPLE_TYPE(LockstepNet, LOCKSTEP_NET)

typedef struct HeldPacket {
    uint64_t position;
    unsigned flags;
    size_t size;
    int64_t made_ms;            /* REALTIME; only in a replica */
    QSIMPLEQ_ENTRY(HeldPacket) next;
    uint8_t data[];
} HeldPacket;

struct LockstepNet {
    NetFilterState parent_obj;

    ReplayNetState *rns;
    uint32_t source;
    uint32_t number;            /* in the log: the same on both sides */
    unsigned pending;           /* packets to the guest in the event queue */
    QSIMPLEQ_HEAD(, HeldPacket) held;
    QSIMPLEQ_HEAD(, HeldPacket) recent; /* REPLAY: made and not sent */
    unsigned n_recent;
    size_t recent_bytes;
    bool sending;
    QEMUTimer *announce;
    unsigned announced;
    QTAILQ_ENTRY(LockstepNet) link;
};

static QTAILQ_HEAD(, LockstepNet) filters = QTAILQ_HEAD_INITIALIZER(filters);
static QEMUBH *release_bh;
static uint32_t made;

/* From go-live on, in ms: a switch may need a moment to listen. */
static const int announce_ms[] = { 0, 50, 150, 350, 750 };

/* --- from the guest --- */

static void lsnet_send(LockstepNet *s, unsigned flags, void *data, size_t size)
{
    NetFilterState *nf = NETFILTER(s);
    struct iovec iov = { .iov_base = data, .iov_len = size };

    qemu_netfilter_pass_to_next(nf->netdev->peer, flags, &iov, 1, nf);
    if (lockstep_state() == LOCKSTEP_RECORD && nf->netdev->peer) {
        /* What the netdev did not take would leave without being asked. */
        qemu_purge_queued_packets(nf->netdev->peer);
    }
}

/* Rule 1: send what may leave. BQL held, with or without the replay mutex. */
static void lsnet_release(LockstepNet *s)
{
    HeldPacket *p;

    if (s->sending) {
        return;                 /* the netdev answered into the filter */
    }
    s->sending = true;
    while ((p = QSIMPLEQ_FIRST(&s->held)) &&
           lockstep_may_release(p->position)) {
        QSIMPLEQ_REMOVE_HEAD(&s->held, next);
        lockstep_trace_output(LOCKSTEP_OUT_PACKET, s->source, p->position,
                              p->size);
        lsnet_send(s, p->flags, p->data, p->size);
        lockstep_held_add(-(int64_t)p->size);
        g_free(p);
    }
    s->sending = false;
}

/* --- in a replica --- */

static void lsnet_drop_recent(LockstepNet *s)
{
    HeldPacket *p = QSIMPLEQ_FIRST(&s->recent);

    QSIMPLEQ_REMOVE_HEAD(&s->recent, next);
    s->n_recent--;
    s->recent_bytes -= p->size;
    g_free(p);
}

/* Takes @p. */
static void lsnet_keep(LockstepNet *s, HeldPacket *p)
{
    p->made_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    QSIMPLEQ_INSERT_TAIL(&s->recent, p, next);
    s->n_recent++;
    s->recent_bytes += p->size;
    while (s->n_recent > NET_RECENT_PACKETS ||
           s->recent_bytes > NET_RECENT_BYTES) {
        lsnet_drop_recent(s);
    }
}

static void lsnet_send_recent(LockstepNet *s)
{
    int64_t oldest = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) - NET_RECENT_MS;
    HeldPacket *p;

    while ((p = QSIMPLEQ_FIRST(&s->recent))) {
        if (p->made_ms >= oldest) {
            lockstep_trace_output(LOCKSTEP_OUT_PACKET, s->source, 0, p->size);
            lsnet_send(s, p->flags, p->data, p->size);
        }
        lsnet_drop_recent(s);
    }
}

/* --- a packet of the guest --- */

static void lsnet_hold(LockstepNet *s, unsigned flags, const struct iovec *iov,
                     int iovcnt, size_t size)
{
    HeldPacket *p = g_malloc(sizeof(*p) + size);

    p->flags = flags;
    p->size = size;
    p->position = 0;
    iov_to_buf(iov, iovcnt, 0, p->data, size);
    if (lockstep_state() != LOCKSTEP_NONE) {
        lockstep_output(LOCKSTEP_OUT_PACKET, s->source, p->data, size);
    }
    if (lockstep_state() == LOCKSTEP_REPLAY) {
        lsnet_keep(s, p);
        return;
    }
    p->position = lockstep_output_position();
    lockstep_held_add(size);
    QSIMPLEQ_INSERT_TAIL(&s->held, p, next);
    if (lockstep_state() == LOCKSTEP_NONE) {
        lsnet_release(s);
    }
}

static void lsnet_release_bh(void *opaque)
{
    LockstepNet *s;

    QTAILQ_FOREACH(s, &filters, link) {
        lsnet_release(s);
    }
}

static void lsnet_release_notify(Notifier *n, void *data)
{
    LockstepNet *s;

    QTAILQ_FOREACH(s, &filters, link) {
        if (QSIMPLEQ_EMPTY(&s->held)) {
            continue;
        }
        if (NETFILTER(s)->netdev->info->type == NET_CLIENT_DRIVER_TAP) {
            lsnet_release(s);
        } else {
            qemu_bh_schedule(release_bh);
        }
    }
}

/* --- to the guest --- */

/* Rule 2: a packet to the guest is an entry of the log. */
static ssize_t lsnet_from_network(LockstepNet *s, unsigned flags,
                                const struct iovec *iov, int iovcnt)
{
    size_t size = iov_size(iov, iovcnt);

    switch (lockstep_state()) {
    case LOCKSTEP_NONE:
        return 0;
    case LOCKSTEP_REPLAY:
        return size;
    case LOCKSTEP_RECORD:
        break;
    }
    if (!replay_has_events()) {
        s->pending = 0;
    }
    if (s->pending < NET_MAX_PENDING) {
        s->pending++;
        replay_net_packet_event(s->rns, flags, iov, iovcnt);
    }
    return size;
}

static ssize_t lsnet_receive_iov(NetFilterState *nf, NetClientState *sender,
                               unsigned flags, const struct iovec *iov,
                               int iovcnt, NetPacketSent *sent_cb)
{
    LockstepNet *s = LOCKSTEP_NET(nf);
    size_t size;

    if (sender == nf->netdev) {
        return lsnet_from_network(s, flags, iov, iovcnt);
    }
    size = iov_size(iov, iovcnt);
    if (size) {
        lsnet_hold(s, flags, iov, iovcnt, size);
    }
    return size;
}

/* --- announcement --- */

static void lsnet_announce_one(LockstepNet *s)
{
    NetClientState *nc = NETFILTER(s)->netdev->peer;
    uint8_t frame[60] = { 0 }, *mac;

    if (!nc || nc->info->type != NET_CLIENT_DRIVER_NIC) {
        return;
    }
    mac = qemu_get_nic(nc)->conf->macaddr.a;
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    stw_be_p(frame + 12, 0x8035);       /* RARP */
    stw_be_p(frame + 14, 1);            /* Ethernet */
    stw_be_p(frame + 16, 0x0800);       /* IPv4 */
    frame[18] = 6;
    frame[19] = 4;
    stw_be_p(frame + 20, 3);            /* request reverse */
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 32, mac, 6);
    lsnet_send(s, QEMU_NET_PACKET_FLAG_RAW, frame, sizeof(frame));
}

static void lsnet_announce_timer(void *opaque)
{
    LockstepNet *s = opaque;
    int done = announce_ms[s->announced];

    lsnet_announce_one(s);
    if (++s->announced < ARRAY_SIZE(announce_ms)) {
        timer_mod(s->announce, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  announce_ms[s->announced] - done);
    }
}

/* --- switches of the engine --- */

static void lsnet_check_nic(NICState *nic, void *opaque)
{
    Error **err = opaque;
    NetClientState *nc = qemu_get_queue(nic);
    LockstepNet *s;

    if (*err || !nc->peer) {
        return;
    }
    if (nic->conf->peers.queues > 1) {
        error_setg(err, "NIC %s cannot be protected: it has several queues",
                   nc->name);
        return;
    }
    if (get_vhost_net(nc->peer)) {
        error_setg(err, "NIC %s cannot be protected: netdev %s uses vhost "
                   "(libvirt: <driver name='qemu'/>)", nc->name,
                   nc->peer->name);
        return;
    }
    QTAILQ_FOREACH(s, &filters, link) {
        if (NETFILTER(s)->netdev == nc->peer) {
            return;
        }
    }
    error_setg(err, "NIC %s cannot be protected: netdev %s has no filter",
               nc->name, nc->peer->name);
}

static bool lsnet_can_attach(void *opaque, Error **errp)
{
    Error *err = NULL;

    qemu_foreach_nic(lsnet_check_nic, &err);
    if (err) {
        error_propagate(errp, err);
        return false;
    }
    return true;
}

/*
 * Packets that wait in the NIC's queue are not in the clone's stream. The
 * network loses packets; lose these on both sides.
 */
static void lsnet_empty_queues(void *opaque)
{
    LockstepNet *s;

    QTAILQ_FOREACH(s, &filters, link) {
        NetClientState *netdev = NETFILTER(s)->netdev;

        while (!QSIMPLEQ_EMPTY(&s->recent)) {
            lsnet_drop_recent(s);
        }
        s->pending = 0;
        qemu_purge_queued_packets(netdev);
        if (netdev->peer) {
            netdev->peer->receive_disabled = 0;
        }
    }
}

static void lsnet_go_alone(void *opaque)
{
    lsnet_release_bh(NULL);
}

/* Rule 7: the network learns where the MAC address lives now (paper, 2.3). */
static void lsnet_announce(void *opaque)
{
    LockstepNet *s;

    QTAILQ_FOREACH(s, &filters, link) {
        s->announced = 0;
        timer_del(s->announce);
        lsnet_announce_timer(s);
        lsnet_send_recent(s);
    }
}

static LockstepPart lsnet_part = {
    .can_attach = lsnet_can_attach,
    .start_record = lsnet_empty_queues,
    .start_replay = lsnet_empty_queues,
    .go_alone = lsnet_go_alone,
    .announce = lsnet_announce,
};

static Notifier release_notifier = { .notify = lsnet_release_notify };

/* A packet in the log names its filter by the order in which they were made. */
static const VMStateDescription vmstate_lsnet = {
    .name = "lockstep-net",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_EQUAL(number, LockstepNet,
                             "The NICs of the two sides were made in another "
                             "order (was one unplugged?): restart the guest"),
        VMSTATE_END_OF_LIST()
    },
};

/* --- the object --- */

static void lsnet_setup(NetFilterState *nf, Error **errp)
{
    LockstepNet *s = LOCKSTEP_NET(nf);

    if (!release_bh) {
        release_bh = qemu_bh_new(lsnet_release_bh, NULL);
        lockstep_add_release_notifier(&release_notifier);
        lockstep_register_part(&lsnet_part);
    }
    s->source = ft_crc32c(0, nf->netdev_id, strlen(nf->netdev_id));
    s->number = made++;
    s->rns = replay_register_net(nf);
    vmstate_register(NULL, s->source, &vmstate_lsnet, s);
    s->announce = timer_new_ms(QEMU_CLOCK_REALTIME, lsnet_announce_timer, s);
    QTAILQ_INSERT_TAIL(&filters, s, link);
}

static void lsnet_cleanup(NetFilterState *nf)
{
    LockstepNet *s = LOCKSTEP_NET(nf);
    HeldPacket *p;

    if (!s->rns) {
        return;
    }
    vmstate_unregister(NULL, &vmstate_lsnet, s);
    QTAILQ_REMOVE(&filters, s, link);
    while ((p = QSIMPLEQ_FIRST(&s->held))) {
        QSIMPLEQ_REMOVE_HEAD(&s->held, next);
        lockstep_held_add(-(int64_t)p->size);
        g_free(p);
    }
    while (!QSIMPLEQ_EMPTY(&s->recent)) {
        lsnet_drop_recent(s);
    }
    timer_free(s->announce);
    replay_unregister_net(s->rns);
}

static void lsnet_instance_init(Object *obj)
{
    LockstepNet *s = LOCKSTEP_NET(obj);

    QSIMPLEQ_INIT(&s->held);
    QSIMPLEQ_INIT(&s->recent);
}

static void lsnet_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *nfc = NETFILTER_CLASS(oc);

    nfc->setup = lsnet_setup;
    nfc->cleanup = lsnet_cleanup;
    nfc->receive_iov = lsnet_receive_iov;
}

static const TypeInfo lsnet_info = {
    .name = TYPE_LOCKSTEP_NET,
    .parent = TYPE_NETFILTER,
    .class_init = lsnet_class_init,
    .instance_init = lsnet_instance_init,
    .instance_size = sizeof(LockstepNet),
};

static void lsnet_register_types(void)
{
    type_register_static(&lsnet_info);
}

type_init(lsnet_register_types);

void lockstep_net_attach(NICState *nic)
{
    NetClientState *netdev = qemu_get_queue(nic)->peer;
    g_autofree char *id = NULL;
    Error *err = NULL;
    LockstepNet *s;

    if (!lockstep_enabled() || !netdev) {
        return;
    }
    QTAILQ_FOREACH(s, &filters, link) {
        if (NETFILTER(s)->netdev == netdev) {
            return;
        }
    }
    id = g_strdup_printf("lockstep-%s", netdev->name);
    if (!object_new_with_props(TYPE_LOCKSTEP_NET, object_get_objects_root(), id,
                               &err, "netdev", netdev->name, NULL)) {
        warn_reportf_err(err, "netdev %s: ", netdev->name);
    }
}
