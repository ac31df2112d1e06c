// SPDX-License-Identifier: GPL-2.0
/* Receive queues: descriptors, interrupts (a timer stands for the line) and NAPI. */
#include "nicsim.h"

struct frame {
	u64 ready_ns;
	u32 hash;
};

static struct frame *frame_of(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct frame) > sizeof(skb->cb));
	return (struct frame *)skb->cb;
}

/* Lets the interrupt fire when there is something to fetch. The queue's lock is held. */
static void rearm(struct nicsim_queue *queue, u64 now_ns)
{
	struct sk_buff *held = skb_peek(&queue->slow);
	struct nicsim_port *port = queue->port;
	u64 when_ns = U64_MAX;

	if (!queue->open || queue->masked || queue->lost)
		return;
	if (!skb_queue_empty(&queue->fast)) {
		u32 frames = READ_ONCE(port->rx_frames);
		bool enough = frames && skb_queue_len(&queue->fast) >= frames;

		when_ns = now_ns + (enough ? 0 : nicsim_moderation_ns(port));
	}
	if (held)
		when_ns = min(when_ns, frame_of(held)->ready_ns);
	if (when_ns == U64_MAX || (queue->armed && queue->when_ns <= when_ns))
		return;
	queue->armed = true;
	queue->when_ns = when_ns;
	hrtimer_start(&queue->irq, ns_to_ktime(when_ns), HRTIMER_MODE_ABS);
}

static enum hrtimer_restart interrupt(struct hrtimer *timer)
{
	struct nicsim_queue *queue = container_of(timer, struct nicsim_queue, irq);
	struct nicsim *nic = queue->port->nic;
	unsigned long flags;
	bool schedule = false;

	spin_lock_irqsave(&queue->lock, flags);
	queue->armed = false;
	if (!queue->open) {
		queue->lost = false;
	} else if (!queue->lost && nicsim_loses_interrupt(queue->port)) {
		/* It fired and nobody heard it: the queue stands until the driver's timeout resets it. */
		queue->lost = true;
		queue->counts.interrupts_lost++;
		hrtimer_start(&queue->irq,
			      ns_to_ktime(ktime_get_ns() +
					  (u64)READ_ONCE(nicsim_irq_timeout_us) * NSEC_PER_USEC),
			      HRTIMER_MODE_ABS);
	} else {
		if (queue->lost) {
			queue->lost = false;
			queue->counts.resets++;
			atomic_inc(&nic->resets_to_report);
			schedule_work(&nic->report_work);
		}
		queue->counts.interrupts++;
		queue->masked = true;
		schedule = true;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	if (schedule)
		napi_schedule_irqoff(&queue->napi);
	return HRTIMER_NORESTART;
}

/* Takes what has arrived, the packets that were held back first. */
static int fetch(struct nicsim_queue *queue, struct sk_buff_head *fetched, int budget)
{
	u64 now_ns = ktime_get_ns();
	unsigned long flags;
	struct sk_buff *skb;
	int count = 0;

	spin_lock_irqsave(&queue->lock, flags);
	while (count < budget && (skb = skb_peek(&queue->slow)) && frame_of(skb)->ready_ns <= now_ns) {
		__skb_unlink(skb, &queue->slow);
		__skb_queue_tail(fetched, skb);
		count++;
	}
	while (count < budget && (skb = __skb_dequeue(&queue->fast))) {
		__skb_queue_tail(fetched, skb);
		count++;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return count;
}

static void deliver(struct nicsim_queue *queue, struct sk_buff *skb)
{
	struct net_device *netdev = queue->napi.dev;

	if (netdev->features & NETIF_F_RXHASH)
		skb_set_hash(skb, frame_of(skb)->hash, PKT_HASH_TYPE_L4);
	if (netdev->features & NETIF_F_RXCSUM)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	queue->counts.packets++;
	queue->counts.bytes += skb->len;
	skb_record_rx_queue(skb, queue->number);
	skb->protocol = eth_type_trans(skb, netdev);
	napi_gro_receive(&queue->napi, skb);
}

static int poll(struct napi_struct *napi, int budget)
{
	struct nicsim_queue *queue = container_of(napi, struct nicsim_queue, napi);
	struct sk_buff_head fetched;
	unsigned long flags;
	struct sk_buff *skb;
	int done;

	if (!budget)
		return 0;
	__skb_queue_head_init(&fetched);
	done = fetch(queue, &fetched, budget);
	while ((skb = __skb_dequeue(&fetched)))
		deliver(queue, skb);
	/* Where the kernel defers hard interrupts it polls by its own timer, and ours stay masked. */
	if (done < budget && napi_complete_done(napi, done)) {
		spin_lock_irqsave(&queue->lock, flags);
		queue->masked = false;
		rearm(queue, ktime_get_ns());
		spin_unlock_irqrestore(&queue->lock, flags);
	}
	return done;
}

static void hold(struct nicsim_queue *queue, struct sk_buff *skb)
{
	struct sk_buff *before;

	skb_queue_reverse_walk(&queue->slow, before) {
		if (frame_of(before)->ready_ns <= frame_of(skb)->ready_ns) {
			__skb_queue_after(&queue->slow, before, skb);
			return;
		}
	}
	__skb_queue_head(&queue->slow, skb);
}

/* A frame arrives from the wire. False: there was no descriptor, and the frame is still the caller's. */
bool nicsim_receive(struct nicsim_port *port, struct sk_buff *frame, u32 hash)
{
	unsigned int number = READ_ONCE(port->indir[hash % NICSIM_INDIR]);
	struct nicsim_queue *queue = &port->queues[number % NICSIM_QUEUES_MAX];
	u64 now_ns = ktime_get_ns(), held_ns = nicsim_held_ns(port);
	unsigned long flags;
	bool taken = false;

	spin_lock_irqsave(&queue->lock, flags);
	if (!queue->open) {
		goto out;
	} else if (skb_queue_len(&queue->fast) + skb_queue_len(&queue->slow) >= READ_ONCE(port->ring_rx)) {
		queue->counts.missed++;
		goto out;
	}
	*frame_of(frame) = (struct frame){ .ready_ns = now_ns + held_ns, .hash = hash };
	if (held_ns) {
		queue->counts.slow_path++;
		hold(queue, frame);
	} else {
		__skb_queue_tail(&queue->fast, frame);
	}
	rearm(queue, now_ns);
	taken = true;
out:
	spin_unlock_irqrestore(&queue->lock, flags);
	return taken;
}

void nicsim_queue_init(struct nicsim_port *port, unsigned int number)
{
	struct nicsim_queue *queue = &port->queues[number];

	queue->port = port;
	queue->number = number;
	spin_lock_init(&queue->lock);
	__skb_queue_head_init(&queue->fast);
	__skb_queue_head_init(&queue->slow);
	hrtimer_init(&queue->irq, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	queue->irq.function = interrupt;
}

/* The netdev's NAPI contexts live from open to close. */
void nicsim_queues_open(struct nicsim_port *port)
{
	unsigned int number;

	for (number = 0; number < port->queue_count; number++) {
		struct nicsim_queue *queue = &port->queues[number];

		netif_napi_add(port->netdev, &queue->napi, poll);
		napi_enable(&queue->napi);
		spin_lock_irq(&queue->lock);
		queue->masked = queue->armed = queue->lost = false;
		queue->open = true;
		spin_unlock_irq(&queue->lock);
	}
}

void nicsim_queues_close(struct nicsim_port *port)
{
	unsigned int number;

	for (number = 0; number < port->queue_count; number++) {
		struct nicsim_queue *queue = &port->queues[number];

		spin_lock_irq(&queue->lock);
		queue->open = false;
		spin_unlock_irq(&queue->lock);
		hrtimer_cancel(&queue->irq);
		napi_disable(&queue->napi);
		netif_napi_del(&queue->napi);
		/* What the ring still held is lost, as on any NIC whose queue is taken down. */
		spin_lock_irq(&queue->lock);
		queue->counts.missed += skb_queue_len(&queue->fast) + skb_queue_len(&queue->slow);
		__skb_queue_purge(&queue->fast);
		__skb_queue_purge(&queue->slow);
		spin_unlock_irq(&queue->lock);
	}
}
