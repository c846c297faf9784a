package journal_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"tidings/journal"
	"tidings/journal/journaltest"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

func TestMemory(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		return journaltest.Opener{Forgets: true, Open: func(t *testing.T, o journal.Options) journaltest.Journal {
			return journal.NewMemory(o)
		}}
	})
}

func open(t testing.TB, o journal.Options) *journal.JetStream {
	t.Helper()
	j, err := journal.OpenJetStream(context.Background(), o)
	if err != nil {
		t.Fatal("OpenJetStream:", err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func TestEmbedded(t *testing.T) {
	for _, mode := range []string{journal.Fsync, journal.Interval} {
		t.Run(mode, func(t *testing.T) {
			journaltest.Run(t, func(t *testing.T) journaltest.Opener {
				dir := t.TempDir()
				return journaltest.Opener{Open: func(t *testing.T, o journal.Options) journaltest.Journal {
					o.Dir, o.Durability = dir, mode
					return open(t, o)
				}}
			})
		})
	}
}

// natsServer starts a NATS server on a loopback port, with its store in dir, and returns it.
func natsServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
		MaxPayload: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready after 10s")
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv
}

func TestURL(t *testing.T) {
	srv := natsServer(t, t.TempDir(), -1)
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		stream := streamName(t)
		return journaltest.Opener{Open: func(t *testing.T, o journal.Options) journaltest.Journal {
			o.URL, o.Stream = srv.ClientURL(), stream
			return open(t, o)
		}}
	})
}

// streamName makes a stream's name out of the test's.
func streamName(t *testing.T) string {
	b := []byte(t.Name())
	for i, c := range b {
		if c == '/' {
			b[i] = '_'
		}
	}
	return string(b[max(0, len(b)-32):])
}
