package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

// headroom is what a message may have beside its payload: the headers of an event whose fields are as long as they may
// be and need escapes.
const headroom = 32 << 10

// startServer locks the directory and starts a NATS server in the process, without a listener.
func (j *JetStream) startServer() (err error) {
	if err := os.MkdirAll(j.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("journal: making the data directory: %w", err)
	}
	if j.unlock, err = lockDir(j.opts.Dir); err != nil {
		return err
	}
	interval := j.opts.SyncInterval
	if j.fsync {
		interval = 10 * time.Second // the server's own sync of what a commit need not wait for, such as its index
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "tidings", DontListen: true, NoSigs: true, NoSystemAccount: false,
		JetStream: true, StoreDir: j.opts.Dir, DisableJetStreamBanner: true,
		// The limits are the disk's and the rules' of retention; the server's would be guesses.
		JetStreamMaxStore: 1 << 60, JetStreamMaxMemory: 64 << 20,
		SyncInterval: interval,
		MaxPayload:   int32(max(j.opts.MaxPayload, maxLostBytes) + headroom),
		MaxPending:   256 << 20,
	})
	if err != nil {
		return fmt.Errorf("journal: configuring the NATS server: %w", err)
	}
	srv.SetLoggerV2(serverLog{j.log}, false, false, false)
	j.srv = srv
	stop := readAhead(j.streamDir(j.opts.Stream), j.log)
	defer stop()
	srv.Start()
	if !srv.ReadyForConnections(j.opts.Timeout) || !srv.JetStreamEnabled() {
		return tidings.Errorf(tidings.ErrUnavailable, "journal: the store in %s did not start; the log says why", j.opts.Dir)
	}
	if j.nc, err = nats.Connect("", nats.InProcessServer(srv), nats.Name("journal"), nats.NoReconnect()); err != nil {
		return fmt.Errorf("journal: connecting to the NATS server: %w", err)
	}
	return nil
}

// streamDir is where the server keeps a stream.
func (j *JetStream) streamDir(stream string) string {
	return filepath.Join(j.opts.Dir, "jetstream", "$G", "streams", stream)
}

// connect connects to the server at the URL.
func (j *JetStream) connect() (err error) {
	j.nc, err = nats.Connect(j.opts.URL, nats.Name("tidings journal"), nats.Timeout(j.opts.Timeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				j.log.Warn("journal: lost the NATS server", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { j.log.Info("journal: the NATS server is back") }))
	if err != nil {
		return tidings.Errorf(tidings.ErrUnavailable, "journal: connecting to NATS at the configured URL: %w; is the server up?", err)
	}
	if limit := int(j.nc.MaxPayload()) - headroom; limit < j.opts.MaxPayload {
		j.log.Warn("journal: the NATS server's max_payload lowers the limit of payloads", "configured", j.opts.MaxPayload, "limit", limit)
		j.opts.MaxPayload = limit
	}
	return nil
}

// startFollowing starts the one consumer that feeds the tail when other processes may append to the stream too.
func (j *JetStream) startFollowing(ctx context.Context) error {
	c, err := j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   j.head.Load() + 1,
	})
	if err != nil {
		return tidings.Errorf(tidings.ErrUnavailable, "journal: following the stream: %w", err)
	}
	j.follow, err = c.Consume(j.followOne, jetstream.PullMaxMessages(1000),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			j.log.Warn("journal: following the stream", "error", err)
		}))
	if err != nil {
		return tidings.Errorf(tidings.ErrUnavailable, "journal: following the stream: %w", err)
	}
	return nil
}

// followOne takes a message of the stream into the tail.
func (j *JetStream) followOne(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		j.log.Error("journal: following the stream", "error", err)
		return
	}
	seq := meta.Sequence.Stream
	if m.Subject() == j.subj.lost {
		j.seeLost(m.Data(), seq)
		j.recount.Store(true)
	}
	var evs []tidings.Event
	if _, ok := j.subj.topicOf(m.Subject()); ok {
		e, err := j.subj.decode(m.Subject(), m.Headers(), m.Data(), j.pos(seq))
		if err != nil {
			j.log.Error("journal: skipping a message that cannot be read", "error", err)
		} else {
			evs = append(evs, e)
			j.keep.count(e.Topic, storedSize(&e))
		}
	}
	j.followed.L.Lock()
	j.tail.push(evs, seq)
	if len(evs) > 0 {
		j.head.Store(seq)
	}
	j.followed.L.Unlock()
	j.followed.Broadcast()
	if len(evs) > 0 {
		j.notifier.wake()
	}
}

// waitFollowed waits until the tail holds the message, which the stream has acknowledged, for a while.
func (j *JetStream) waitFollowed(seq uint64) {
	deadline := time.Now().Add(j.opts.Timeout)
	timer := time.AfterFunc(j.opts.Timeout, j.followed.Broadcast)
	defer timer.Stop()
	j.followed.L.Lock()
	defer j.followed.L.Unlock()
	for {
		if _, last := j.tail.bounds(); last >= seq {
			return
		}
		if !time.Now().Before(deadline) {
			return // stored it is; readers here see it when the consumer has recovered
		}
		j.followed.Wait()
	}
}
