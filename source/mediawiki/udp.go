// Package mediawiki takes in the change feeds of MediaWiki wikis. The packages below it go and get changes: poll from a
// wiki's API, eventstreams from a stream of Server-Sent Events, redis from a Redis server that wikis publish to.
//
// [UDP] receives what $wgRCFeeds sends to udp://HOST:PORT with MediaWiki's JSON, XML or IRC formatter, and the <rc>
// elements of the XMLRC extension, each told apart by its content.
package mediawiki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"tidings"
	"tidings/internal/drops"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake"
)

// Publisher is the Publisher of the events from UDP.
const Publisher = "mediawiki-udp"

// The reasons for which UDP drops a datagram, beside those of packages intake and recentchange.
const (
	SenderNotAllowed = "sender-not-allowed"
	KernelBuffer     = "kernel-buffer" // the receive buffer was full
)

// Defaults and limits.
const (
	DefaultReceiveBuffer = 32 << 20 // of the socket; the kernel may grant less, see net.core.rmem_max
	DefaultQueueBytes    = 64 << 20 // of payloads that are received and not yet appended
	maxDatagram          = 64 << 10
	readBatch            = 64 // datagrams in one call of recvmmsg

	drainTime = 2 * time.Second // for reading what the kernel holds at shutdown, at most
)

// Config is what a UDP source is made of. Append is required.
type Config struct {
	// Addr is the address to listen on, such as 127.0.0.1:4455.
	Addr string
	// Allow holds the addresses that may send. UDP senders can be forged, so this is no protection against anyone who can
	// send from outside of a filtered network. Default: the loopback addresses.
	Allow []netip.Prefix
	// ReceiveBuffer is the size asked of the kernel for the socket's buffer, in bytes; default DefaultReceiveBuffer.
	ReceiveBuffer int
	// QueueBytes bounds the payloads that wait for Append; default DefaultQueueBytes.
	QueueBytes int
	// Wikis tells what the dialects cannot.
	Wikis recentchange.Wikis
	// Append is called for one batch at a time, and again with the same batch if it fails with an error that may pass.
	Append intake.Append
	// Log gets what is dropped, at a bounded rate; default slog.Default().
	Log *slog.Logger
}

// UDP is a listening source.
type UDP struct {
	config Config
	conn   *net.UDPConn
	drops  *drops.Drops
	intake *intake.Intake
	queue  *intake.Queue

	received, bytes atomic.Uint64

	kernelMu    sync.Mutex
	kernelDrops uint32 // the kernel's own counter, which wraps
}

// Stats are figures since Listen.
type Stats struct {
	Received    uint64 // datagrams read, dropped ones included
	Bytes       uint64 // in them
	Queued      int    // events that wait for Append now
	Appended    uint64 // events stored
	Duplicates  uint64 // events whose Key the journal had seen
	KernelDrops uint64 // datagrams for which the socket's buffer had no room; Dropped has them too
	Dropped     map[string]uint64
}

// Listen opens the socket, so that datagrams are kept from now on; Run reads them.
func Listen(c Config) (*UDP, error) {
	if len(c.Allow) == 0 {
		c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if c.ReceiveBuffer <= 0 {
		c.ReceiveBuffer = DefaultReceiveBuffer
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = DefaultQueueBytes
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	addr, err := net.ResolveUDPAddr("udp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("mediawiki: listening on %q: %w", c.Addr, err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("mediawiki: listening: %w", err)
	}
	granted, err := setUp(conn, c.ReceiveBuffer)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("mediawiki: setting up the socket: %w", err)
	}
	if granted > 0 && granted < c.ReceiveBuffer {
		c.Log.Warn("the kernel grants a smaller UDP receive buffer than asked for; raise net.core.rmem_max",
			"source", Publisher, "asked", c.ReceiveBuffer, "granted", granted)
	}
	u := &UDP{config: c, conn: conn, drops: drops.New(c.Log, Publisher)}
	u.intake = &intake.Intake{Publisher: Publisher, Append: c.Append, Drops: u.drops, Log: c.Log}
	u.queue = u.intake.NewQueue(c.QueueBytes)
	return u, nil
}

// Addr returns the address the socket is bound to.
func (u *UDP) Addr() net.Addr { return u.conn.LocalAddr() }

// Stats returns figures of this moment.
func (u *UDP) Stats() Stats {
	if n, ok := readKernelDrops(u.conn); ok {
		u.countKernelDrops(n)
	}
	dropped := u.drops.Snapshot()
	return Stats{
		Received: u.received.Load(), Bytes: u.bytes.Load(), Queued: u.queue.Len(), Appended: u.intake.Appended(),
		Duplicates: u.intake.Duplicates(), KernelDrops: dropped[KernelBuffer], Dropped: dropped,
	}
}

// Run receives until ctx ends, then appends what it has read and what the kernel still holds, closes the socket and
// returns nil. If the journal fails at that time, Run gives up after ten seconds and counts the rest as dropped. An error
// is the socket's.
func (u *UDP) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { u.conn.SetReadDeadline(time.Now().Add(lastRead)) })
	defer stop()
	finish := u.queue.Start(ctx)
	err := u.read(ctx)
	finish()
	if n, ok := readKernelDrops(u.conn); ok {
		u.countKernelDrops(n)
	}
	u.drops.Flush()
	u.conn.Close()
	return err
}

// read receives datagrams until ctx ends, and then those that the kernel holds.
func (u *UDP) read(ctx context.Context) error {
	conn := ipv4.NewPacketConn(u.conn) // its batches are recvmmsg whatever the family of the address
	messages := make([]ipv4.Message, readBatch)
	buffers := make([]byte, readBatch*maxDatagram)
	for i := range messages {
		messages[i].Buffers = [][]byte{buffers[i*maxDatagram : (i+1)*maxDatagram : (i+1)*maxDatagram]}
		messages[i].OOB = make([]byte, controlBytes)
	}
	for {
		n, err := conn.ReadBatch(messages, 0)
		n = max(n, 0) // -1 with an error
		received := time.Now()
		for i := range messages[:n] {
			m := &messages[i]
			u.datagram(m.Buffers[0][:m.N], m.Addr, m.Flags&truncatedFlag != 0, received)
		}
		if n > 0 {
			m := &messages[n-1]
			if drops, ok := controlDrops(m.OOB[:m.NN]); ok {
				u.countKernelDrops(drops)
			}
			continue
		}
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
			end := time.Now().Add(drainTime)
			err := drain(u.conn, buffers[:maxDatagram], func(b []byte, from net.Addr, truncated bool) bool {
				now := time.Now()
				u.datagram(b, from, truncated, now)
				return now.Before(end)
			})
			if err != nil {
				return fmt.Errorf("mediawiki: receiving what the kernel held: %w", err)
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("mediawiki: receiving: %w", err)
		case transient(err):
		default:
			return fmt.Errorf("mediawiki: receiving: %w", err)
		}
	}
}

// countKernelDrops takes over the kernel's counter of datagrams it had no room for.
func (u *UDP) countKernelDrops(total uint32) {
	u.kernelMu.Lock()
	n := total - u.kernelDrops
	if n > 1<<31 { // two readers of the counter overtook each other
		n = 0
	} else {
		u.kernelDrops = total
	}
	u.kernelMu.Unlock()
	u.drops.Add(KernelBuffer, uint64(n))
}

// datagram decodes one datagram and queues its events.
func (u *UDP) datagram(b []byte, from net.Addr, truncated bool, received time.Time) {
	u.received.Add(1)
	u.bytes.Add(uint64(len(b)))
	if !u.allowed(from) {
		u.drops.Add(SenderNotAllowed, 1, "from", from)
		return
	}
	if truncated {
		u.drops.Add(string(recentchange.Truncated), 1, "from", from, "bytes", len(b))
		return
	}
	none := true
	for payload := range recentchange.Split(b) {
		none = false
		e, err := u.event(payload, received)
		if err != nil {
			u.drops.Add(intake.ReasonOf(err), 1, "from", from, "error", err)
			continue
		}
		u.queue.Put(e)
	}
	if none {
		u.drops.Add(string(recentchange.Empty), 1, "from", from)
	}
}

// allowed reports whether datagrams from that address are taken in.
func (u *UDP) allowed(from net.Addr) bool {
	a, ok := from.(*net.UDPAddr)
	if !ok {
		return false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return false
	}
	ip = ip.Unmap()
	for _, p := range u.config.Allow {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// event returns the event of one payload, with a copy of it. Its errors have a recentchange.Reason or say what an event
// may not hold.
func (u *UDP) event(payload []byte, received time.Time) (tidings.Event, error) {
	contentType, ok := recentchange.Detect(payload)
	if !ok {
		return tidings.Event{}, tidings.Errorf(tidings.ErrInvalid, "mediawiki: %w", recentchange.UnknownDialect)
	}
	return u.intake.Event(contentType, payload, u.config.Wikis, received)
}
