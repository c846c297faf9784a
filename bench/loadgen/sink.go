//go:build linux

package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A subscriber is one open subscription.
type subscriber struct {
	*conversation
	topic    int   // -1: a bystander, to whom nothing is published
	received int64 // marks
	scan     scanner
}

// A sink reads all subscribers in one goroutine and counts each event's deliveries.
type sink struct {
	subs  []*subscriber
	epoll int
	wake  int // an eventfd that ends the loop

	since     int64          // marks with an earlier time are of an earlier run
	due       []atomic.Int32 // per event: deliveries and the acknowledgement still to come
	complete  func()         // called once when nothing is due any more
	delivered atomic.Int64   // marks seen
	last      atomic.Int64   // time of the last delivery or acknowledgement, in Unix nanoseconds
	bytes     int64          // received
	closed    int            // connections that the server has ended
	stray     int64          // marks of other runs, or delivered once too often
	lat       histogram      // publish to delivery
	now       int64          // when the read in hand returned
	current   *subscriber    // whose bytes are in hand
	finished  chan struct{}  // closed when the loop has ended
}

func newSink(subs []*subscriber, events int) (*sink, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	s := &sink{subs: subs, epoll: ep, wake: wake, due: make([]atomic.Int32, events), finished: make(chan struct{})}
	for i, sub := range subs {
		if err := s.watch(sub.fd, i); err != nil {
			return nil, err
		}
	}
	return s, s.watch(wake, len(subs))
}

func (s *sink) watch(fd, index int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)})
}

// A crowd of subscribers is read in gulps. Whoever reads each delivery by itself sleeps before the next one, and the server's
// write has to wake it: on one machine that is the larger part of a write, it is counted as the server's, and it happens the
// more often the faster the reader is beside the server. Subscribers on machines of their own cost the server none of it.
const (
	many = 1000
	few  = 64
	gulp = 200 * time.Microsecond
)

// run reads until stop is called. Its first act is to count what came with the handshakes.
func (s *sink) run() error {
	defer close(s.finished)
	for _, sub := range s.subs {
		s.take(sub, sub.buf) // received with the answer to the handshake
		sub.buf = nil
	}
	ready := make([]unix.EpollEvent, 1024)
	buf := make([]byte, 1<<16)
	for pause := unix.NsecToTimespec(int64(gulp)); ; {
		n, err := unix.EpollWait(s.epoll, ready, -1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		if 0 < n && n < few && len(s.subs) >= many {
			if err := unix.Nanosleep(&pause, nil); err != nil && err != unix.EINTR {
				return fmt.Errorf("nanosleep: %w", err)
			}
			if n, err = unix.EpollWait(s.epoll, ready, 0); err != nil && err != unix.EINTR {
				return fmt.Errorf("epoll_wait: %w", err)
			}
		}
		for _, e := range ready[:max(0, n)] {
			if int(e.Fd) == len(s.subs) {
				return nil
			}
			sub := s.subs[e.Fd]
			m, err := sub.read(buf)
			for m > 0 {
				s.bytes += int64(m)
				s.take(sub, buf[:m])
				if m = 0; sub.tls != nil { // it has taken from the kernel what it has not yet returned
					m, err = sub.read(buf)
				}
			}
			if err != nil && !tryAgain(err) {
				s.closed++
				if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, sub.fd, nil); err != nil {
					return fmt.Errorf("epoll_ctl: %w", err)
				}
			}
		}
	}
}

func (s *sink) stop() error {
	if _, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	<-s.finished
	return nil
}

// close releases the sink's own descriptors.
func (s *sink) close() {
	_ = unix.Close(s.epoll) // neither holds data
	_ = unix.Close(s.wake)
}

func (s *sink) take(sub *subscriber, b []byte) {
	s.now, s.current = time.Now().UnixNano(), sub
	sub.scan.feed(b, s.found)
}

// found counts one mark.
func (s *sink) found(nanos int64, seq int) {
	if nanos < s.since || seq >= len(s.due) || s.current.topic < 0 {
		s.stray++
		return
	}
	s.current.received++
	s.lat.add(time.Duration(s.now - nanos))
	s.delivered.Add(1)
	s.settle(seq)
}

// settle notes one delivery or the acknowledgement of an event.
func (s *sink) settle(seq int) {
	if s.due[seq].Add(-1) == 0 {
		s.last.Store(time.Now().UnixNano())
		s.complete()
	}
}
