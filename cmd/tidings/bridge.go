package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidings"
	"tidings/config"
	"tidings/internal/lease"
	"tidings/internal/retry"
	"tidings/outlet"
	"tidings/outlet/xmpp/bridge"
	xmppdial "tidings/xmpp/dial"
	"tidings/xmpp/jid"
)

// serverBridge is a bridge of the configuration. Where several processes share a journal it runs in one of them, and the
// others wait for their turn.
type serverBridge struct {
	name    string
	lease   *lease.Lease                  // nil where there is one process only
	current atomic.Pointer[bridge.Bridge] // nil while another process has it

	// With a lease:
	stop   context.CancelFunc   // ends waiting and running
	ending chan context.Context // of one: how long the end may take; given before stop is called
	done   chan struct{}
}

// bridgePause is how long a process waits that could not open its bridge when its turn came.
const bridgePause = 5 * time.Second

// openBridges starts the bridges of the configuration.
func (s *server) openBridges(ctx context.Context) error {
	if len(s.cfg.Bridge) == 0 {
		return nil
	}
	bucket, err := s.journal.Bucket(ctx, "bridges")
	if err != nil {
		return err
	}
	for _, c := range s.cfg.Bridge {
		o, err := bridgeOptions(c)
		if err != nil {
			return fmt.Errorf("the bridge %s: %w", c.Name, err)
		}
		o.Hub, o.Store, o.Log = s.hub, bucket, s.log
		o.Dial.Software.Version = "tidings-" + versionText()
		b := &serverBridge{name: c.Name}
		if s.cfg.NATSURL != "" {
			leases, err := s.journal.Bucket(ctx, "bridge-leases")
			if err != nil {
				return err
			}
			b.begin(ctx, lease.New(leases, c.Name), o)
			s.bridges = append(s.bridges, b)
			continue
		}
		running, err := bridge.Open(ctx, o)
		switch tidings.KindOf(err) {
		case tidings.ErrForbidden, tidings.ErrUnauthenticated:
			return withHint(err, "a bridge tells what everybody may read: take the topic out of [[bridge.rooms]], or out of private in [access]")
		}
		if err != nil {
			return err
		}
		b.current.Store(running)
		s.bridges = append(s.bridges, b)
	}
	return nil
}

// begin waits for the bridge's turn in the background.
func (b *serverBridge) begin(ctx context.Context, l *lease.Lease, o bridge.Options) {
	b.lease, b.ending, b.done = l, make(chan context.Context, 1), make(chan struct{})
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	go func() {
		defer close(b.done)
		b.takeTurns(run, o)
	}()
}

// takeTurns runs the bridge whenever this process has the lease, until ctx ends.
func (b *serverBridge) takeTurns(ctx context.Context, o bridge.Options) {
	for ctx.Err() == nil {
		err := b.lease.Acquire(ctx)
		if err == nil {
			err = b.turn(ctx, o)
			b.lease.Release()
		}
		if err != nil && ctx.Err() == nil {
			o.Log.Error("a bridge could not be opened; it is tried again", "bridge", b.name, "err", err)
			_ = retry.Sleep(ctx, bridgePause) // or until the end
		}
	}
}

// turn runs the bridge until the lease is lost or ctx ends.
func (b *serverBridge) turn(ctx context.Context, o bridge.Options) error {
	running, err := bridge.Open(ctx, o)
	if err != nil {
		return err
	}
	b.current.Store(running)
	defer b.current.Store(nil)
	select {
	case <-b.lease.Lost():
		_ = running.Stop(canceled()) // another process may have begun: nothing more is said
	case <-ctx.Done():
		err = running.Stop(<-b.ending)
	}
	return err
}

// end says what there is to say, until ctx ends.
func (b *serverBridge) end(ctx context.Context) error {
	if b.lease == nil {
		return b.current.Load().Stop(ctx)
	}
	b.ending <- ctx
	b.stop()
	<-b.done
	return ctx.Err()
}

// bridgeOptions returns the options that the configuration stands for. It reads the files that it names.
func bridgeOptions(c config.Bridge) (o bridge.Options, err error) {
	o = bridge.Options{Name: c.Name, Nick: c.Nick, Rate: c.Rate, Window: c.Window, MaxAge: time.Duration(c.MaxAge), MaxStanza: int(c.MaxStanza)}
	o.Dial = xmppdial.Config{Password: c.Password, Address: c.Addr, DirectTLS: c.DirectTLS, Plaintext: c.UnsafePlaintext}
	if o.Dial.JID, err = jid.Parse(c.JID); err != nil {
		return o, err
	}
	if c.PasswordFile != "" {
		if o.Dial.Password, err = passwordOfFile(c.PasswordFile); err != nil {
			return o, err
		}
	}
	if c.TLSCA != "" || c.TLSName != "" {
		o.Dial.TLS = &tls.Config{ServerName: c.TLSName}
	}
	if c.TLSCA != "" {
		if o.Dial.TLS.RootCAs, err = authorities(c.TLSCA, "[[bridge]]"); err != nil {
			return o, err
		}
	}
	for _, r := range c.Rooms {
		room := bridge.Room{Address: r.Room, Password: r.Password}
		if room.Patterns, err = r.Patterns(); err != nil {
			return o, err
		}
		if r.Filter != "" {
			if room.Filter, err = outlet.Filter(url.Values{"filter": {r.Filter}}); err != nil {
				return o, fmt.Errorf("the filter of %s: %w", r.Room, err)
			}
		}
		o.Rooms = append(o.Rooms, room)
	}
	return o, nil
}

// passwordOfFile returns the password in a file that nobody else can read.
func passwordOfFile(name string) (string, error) {
	f, err := openSecret(name, "password_file in [[bridge]]", "password")
	if err != nil {
		return "", err
	}
	defer f.Close()
	password, err := passwordLine(bufio.NewReader(f))
	if err != nil {
		return "", withHint(fmt.Errorf("%s: %w", name, err), "write the password of the account into it, in one line")
	}
	return password, nil
}

// stopBridges has the bridges say what there is to say, all at once, and returns a function that waits for them.
func (s *server) stopBridges(ctx context.Context) (wait func()) {
	var stops sync.WaitGroup
	for _, b := range s.bridges {
		stops.Go(func() {
			if err := b.end(ctx); err != nil {
				s.log.Warn("a bridge was cut off by the shutdown; it goes on with the next start", "bridge", b.name, "err", err)
			}
		})
	}
	return stops.Wait
}

type bridgeStatus struct {
	Name         string             `json:"name"`
	Waiting      bool               `json:"waiting_for_lease,omitempty"` // another process has it
	Connected    bool               `json:"connected"`
	LastError    string             `json:"last_error,omitempty"`
	Connections  uint64             `json:"connections"`
	Resumed      uint64             `json:"resumed"`
	Sent         uint64             `json:"sent"`
	Repeated     uint64             `json:"repeated"`
	Acknowledged uint64             `json:"acknowledged"`
	UnderWay     int                `json:"under_way_bytes"`
	Gaps         uint64             `json:"gaps"`
	Errors       map[string]uint64  `json:"errors"`
	Skipped      map[string]uint64  `json:"skipped"`
	Rooms        []bridgeRoomStatus `json:"rooms"`
}

type bridgeRoomStatus struct {
	Room      string           `json:"room"`
	Nick      string           `json:"nick"`
	State     string           `json:"state"`
	LastError string           `json:"last_error,omitempty"`
	UnderWay  int              `json:"under_way"`
	Position  tidings.Position `json:"position"`
}

// bridgesReport returns what /status has of the bridges.
func (s *server) bridgesReport() (reports []bridgeStatus) {
	for _, b := range s.bridges {
		running := b.current.Load()
		if running == nil {
			reports = append(reports, bridgeStatus{Name: b.name, Waiting: true})
			continue
		}
		st := running.Stats()
		r := bridgeStatus{Name: st.Name, Connected: st.Connected, LastError: st.LastError, Connections: st.Connections, Resumed: st.Resumed,
			Sent: st.Sent, Repeated: st.Repeated, Acknowledged: st.Acknowledged, UnderWay: st.UnderWay, Gaps: st.Gaps, Errors: st.Errors, Skipped: st.Skipped}
		for _, room := range st.Rooms {
			r.Rooms = append(r.Rooms, bridgeRoomStatus(room))
		}
		reports = append(reports, r)
	}
	return reports
}

func (r bridgeStatus) name() string { return r.Name }

func init() {
	bridges := func(r *statusReport) []bridgeStatus { return r.Bridges }
	one := []string{"bridge"}
	total := func(name, help string, value func(bridgeStatus) uint64) figure {
		return counter("bridge_"+name+"_total", help, one, each(bridges, func(b bridgeStatus) float64 { return float64(value(b)) }))
	}
	reasons := func(of func(bridgeStatus) map[string]uint64) func(*statusReport, func(float64, ...string)) {
		return func(r *statusReport, add func(float64, ...string)) {
			for _, b := range r.Bridges {
				for what, n := range of(b) {
					add(float64(n), b.Name, what)
				}
			}
		}
	}
	figures = append(figures,
		gaugeBy("bridge_up", "1 if the bridge is logged in.", one, each(bridges, func(b bridgeStatus) float64 {
			if b.Connected {
				return 1
			}
			return 0
		})),
		figure{prometheus.NewDesc("tidings_bridge_rooms", "Rooms of the bridge, by how it stands with them.", []string{"bridge", "state"}, nil), prometheus.GaugeValue,
			reasons(func(b bridgeStatus) map[string]uint64 {
				n := map[string]uint64{"in": 0, "joining": 0, "out": 0}
				for _, room := range b.Rooms {
					n[cmp.Or(room.State, "out")]++
				}
				return n
			})},
		total("connections", "Sessions of the bridge.", func(b bridgeStatus) uint64 { return b.Connections }),
		total("resumed", "Sessions of the bridge that went on after their connection was lost.", func(b bridgeStatus) uint64 { return b.Resumed }),
		total("sent", "Messages sent to rooms.", func(b bridgeStatus) uint64 { return b.Sent }),
		total("repeated", "Messages sent to rooms again, with the same id.", func(b bridgeStatus) uint64 { return b.Repeated }),
		total("acknowledged", "Messages that rooms have passed on.", func(b bridgeStatus) uint64 { return b.Acknowledged }),
		total("gaps", "Times events were not kept any more when a room was to be told them.", func(b bridgeStatus) uint64 { return b.Gaps }),
		counter("bridge_skipped_total", "Events that were not said, by reason.", []string{"bridge", "reason"}, reasons(func(b bridgeStatus) map[string]uint64 { return b.Skipped })),
		counter("bridge_errors_total", "What went wrong with the server and with rooms, by what it was.", []string{"bridge", "error"},
			reasons(func(b bridgeStatus) map[string]uint64 { return b.Errors })),
	)
}
