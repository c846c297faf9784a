//go:build interop && linux

package interop_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"

	"tidings/interop/xmpppeer"
)

// natsServer is a NATS server for several Tidings.
func natsServer(t *testing.T) string {
	t.Helper()
	srv, err := nats.NewServer(&nats.Options{ServerName: "tidings", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, MaxPayload: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server is not ready")
	}
	return srv.ClientURL()
}

// suspend has the process stand still, or go on.
func (s *server) suspend(still bool) {
	s.t.Helper()
	sig := syscall.SIGCONT
	if still {
		sig = syscall.SIGSTOP
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// TestXMPPComponentStandby: of two Tidings over one journal one has the link, and the other takes over when it is killed,
// stopped or stands still. The reader gets each item in order.
func TestXMPPComponentStandby(t *testing.T) {
	t.Parallel()
	eachPeer(t, 4*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		url := natsServer(t)
		h := behind(ctx, t, name, xmpppeer.Options{}, fmt.Sprintf("nats_url = %q\n", url))
		other := newServer(t, fmt.Sprintf("nats_url = %q\n", url)+h.config(documented(t, "", 0)))
		both := [2]*server{h.tidings, other}
		var active atomic.Int32
		publish := [2]func(string, int) error{both[0].publishOver(ctx), both[1].publishOver(ctx)}
		waits := func(s *server) {
			t.Helper()
			s.untilLinks(ctx, "wait", func(l []linkStatus) bool { return len(l) == 2 && up(l) == 0 && l[0].Waiting && l[1].Waiting })
		}
		takeOver := func(end func(*server)) func() {
			return func() {
				one, next := both[active.Load()], both[1-active.Load()]
				end(one)
				next.linked(ctx, 2)
				one.start()
				waits(one)
				active.Store(1 - active.Load())
			}
		}
		// One that stands still has the connections, and loses the leases.
		standStill := func() {
			one, next := both[active.Load()], both[1-active.Load()]
			one.suspend(true)
			active.Store(1 - active.Load())
			next.untilLinks(ctx, "do not wait", func(l []linkStatus) bool { return !l[0].Waiting && !l[1].Waiting })
			one.suspend(false)
			next.linked(ctx, 2)
			waits(one)
		}
		waits(other)
		throughStops(ctx, t, func(node string, n int) error { return publish[active.Load()](node, n) }, h.xmppHost, []string{"anna@" + hostDomain + "/reader"}, hostDomain,
			amid(takeOver((*server).kill)), amid(standStill), amid(takeOver((*server).stop)))
	})
}
