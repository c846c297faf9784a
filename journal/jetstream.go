package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

// JetStream is a journal in a stream of NATS JetStream. The package comment states its stored form.
type JetStream struct {
	opts  Options
	log   *slog.Logger
	subj  subjects
	epoch uint32
	keep  *retention

	// static once OpenJetStream has returned; srv and unlock are nil by URL
	unlock func() error
	srv    *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	follow jetstream.ConsumeContext // by URL: feeds the tail
	fsync  bool

	tail     tail
	notifier notifier
	head     atomic.Uint64 // the last durable event
	oldest   atomic.Uint64
	lost     atomic.Pointer[lost]

	queueMu sync.Mutex
	queue   []*call
	closed  bool
	wake    chan struct{} // of the committer
	closing chan struct{}

	pub       *publisher // run's
	toSettle  chan *batch
	published atomic.Int64          // bytes of the records that run has published
	broken    atomic.Pointer[error] // a sync failed: what is on the disk is unknown until the journal is opened again

	// settle's
	blocks  *blocks
	settled int64 // of published, what is dealt with
	unsure  bool  // a batch failed half way: the store may hold events the tail has not

	followed sync.Cond // by URL: the tail has moved
	trimMu   sync.Mutex
	lostSeq  uint64        // of the table of lost events last seen; trimMu
	cuts     []uint64      // for each rule, up to where it has removed; trimMu
	counted  chan struct{} // closed when the rules' bytes are known
	recount  atomic.Bool   // another process has removed events

	bucketMu sync.Mutex
	buckets  map[string]*kvBucket

	work      sync.WaitGroup // goroutines
	stopWork  context.CancelFunc
	closeOnce sync.Once
	closeErr  error

	appended, duplicates, commits atomic.Uint64
	events, bytes                 atomic.Uint64 // kept, as last heard from the store
	commitTime                    atomic.Int64
}

var _ Journal = (*JetStream)(nil)

const epochKey = "tidings.epoch"

// OpenJetStream opens the journal and makes it if there is none. ctx bounds the opening only.
//
// Errors: ErrInvalid for options that cannot be, ErrConflict if another process has the directory, ErrUnavailable if
// the server at the URL does not answer or has no JetStream.
func OpenJetStream(ctx context.Context, o Options) (_ *JetStream, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	if (o.Dir == "") == (o.URL == "") {
		return nil, tidings.Errorf(tidings.ErrInvalid, "journal: want either a directory or a URL")
	}
	j := &JetStream{
		opts: o, log: o.Log, subj: subjectsOf(o.Stream), keep: newRetention(o.Retention),
		fsync: o.Dir != "" && o.Durability == Fsync,
		tail:  tail{max: o.TailBytes}, wake: make(chan struct{}, 1), closing: make(chan struct{}),
		counted: make(chan struct{}), toSettle: make(chan *batch, 4), buckets: map[string]*kvBucket{},
	}
	j.followed.L = &sync.Mutex{}
	j.cuts = make([]uint64, len(j.keep.rules))
	defer func() {
		if err != nil {
			j.shutdown()
		}
	}()
	if o.Dir != "" {
		err = j.startServer()
	} else {
		err = j.connect()
	}
	if err != nil {
		return nil, err
	}
	limit := o.Timeout // from here on: a store that was not closed takes its time to start
	if o.Dir != "" {
		limit = max(limit, time.Minute)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if j.js, err = jetstream.New(j.nc, jetstream.WithDefaultTimeout(o.Timeout)); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err = j.openStream(ctx); err != nil {
		return nil, err
	}
	if err = j.load(ctx); err != nil {
		return nil, err
	}
	if j.pub, err = newPublisher(j.nc, o.Timeout); err != nil {
		return nil, err
	}
	if j.srv == nil {
		if err = j.startFollowing(ctx); err != nil {
			return nil, err
		}
	}
	bg, stop := context.WithCancel(context.Background())
	j.stopWork = stop
	j.work.Go(j.run)
	j.work.Go(j.settle)
	j.work.Go(func() { j.fillTail(bg) })
	j.work.Go(func() { j.trimmer(bg) })
	return j, nil
}

// openStream finds the stream or makes it.
func (j *JetStream) openStream(ctx context.Context) error {
	s, err := j.js.Stream(ctx, j.opts.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		cfg := jetstream.StreamConfig{
			Name: j.opts.Stream, Description: "Tidings journal",
			Subjects:    []string{j.subj.events + ">", j.subj.marks + ">", j.subj.lost},
			Storage:     jetstream.FileStorage,
			Replicas:    j.opts.Replicas,
			Duplicates:  j.opts.DedupeWindow,
			AllowDirect: true, AllowAtomicPublish: true,
			Metadata: map[string]string{epochKey: fmt.Sprintf("%08x", newEpoch())},
		}
		s, err = j.js.CreateStream(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
			s, err = j.js.Stream(ctx, j.opts.Stream)
		}
		if err == nil && j.fsync {
			err = syncTree(j.opts.Dir, nil)
		}
	}
	if err != nil {
		return tidings.Errorf(tidings.ErrUnavailable, "journal: opening the stream %s: %w", j.opts.Stream, err)
	}
	j.stream = s
	cfg := s.CachedInfo().Config
	n, err := strconv.ParseUint(cfg.Metadata[epochKey], 16, 32)
	if err != nil || n == 0 {
		return tidings.Errorf(tidings.ErrConflict, "journal: the stream %s exists and is no journal of Tidings: choose another name", j.opts.Stream)
	}
	j.epoch = uint32(n)
	if cfg.Duplicates != j.opts.DedupeWindow || cfg.Replicas != j.opts.Replicas {
		cfg.Duplicates, cfg.Replicas = j.opts.DedupeWindow, j.opts.Replicas
		if j.stream, err = j.js.UpdateStream(ctx, cfg); err != nil {
			return tidings.Errorf(tidings.ErrUnavailable, "journal: changing the stream %s: %w", j.opts.Stream, err)
		}
	}
	return nil
}

// load reads from the store what the journal has to know.
func (j *JetStream) load(ctx context.Context) error {
	if j.fsync {
		// What a crash has left may be visible from now on, so it has to be durable first.
		j.blocks = &blocks{dir: j.streamDir(j.opts.Stream), log: j.log}
		if err := j.blocks.open(); err != nil {
			return err
		}
	}
	if err := j.loadLost(ctx); err != nil {
		return err
	}
	info, err := j.stream.Info(ctx)
	if err != nil {
		return storeReadError(err)
	}
	l := j.lost.Load()
	j.events.Store(info.State.Msgs) // near enough until the first Stats
	j.bytes.Store(info.State.Bytes)
	first := max(info.State.FirstSeq, 1)
	if first-1 > l.cut && !(l.cut >= l.head && first <= j.lostSeq) {
		// Somebody else has removed messages, and not just our own between the last event and the table: which is unknown.
		l = l.with(&lost{cut: first - 1, rest: first - 1})
		j.lost.Store(l)
	}
	head := max(l.max, l.head)
	m, err := j.lastOf(ctx, j.subj.events+">")
	if err == nil {
		head = max(head, m.seq)
	} else if !errors.Is(err, errNoMessage) {
		return err
	}
	j.head.Store(head)
	j.tail.base, j.tail.last = head, head
	j.setOldest(info.State)
	return nil
}

func (j *JetStream) setOldest(s jetstream.StreamState) {
	j.oldest.Store(min(max(s.FirstSeq, 1)-1, j.head.Load()))
}

func (j *JetStream) pos(offset uint64) tidings.Position {
	return tidings.Position{Epoch: j.epoch, Offset: offset}
}

// Head implements Journal.
func (j *JetStream) Head() tidings.Position { return j.pos(j.head.Load()) }

// Oldest implements Journal.
func (j *JetStream) Oldest() tidings.Position { return j.pos(j.oldest.Load()) }

// Notify implements Journal.
func (j *JetStream) Notify(ch chan<- struct{}) (stop func()) { return j.notifier.add(ch) }

// Stats implements Journal. While the store does not answer, Events and Bytes are what it said last.
func (j *JetStream) Stats() Stats {
	s := Stats{
		Appended: j.appended.Load(), Duplicates: j.duplicates.Load(), Commits: j.commits.Load(),
		CommitTime: time.Duration(j.commitTime.Load()), Durability: j.opts.Durability,
	}
	if j.srv == nil {
		s.Durability = "server"
	}
	if !j.isClosed() {
		ctx, cancel := context.WithTimeout(context.Background(), min(j.opts.Timeout, 2*time.Second))
		defer cancel()
		if info, err := j.stream.Info(ctx); err == nil {
			j.bytes.Store(info.State.Bytes)
			if n, err := j.countEvents(ctx); err == nil {
				j.events.Store(n)
			}
		}
	}
	s.Events, s.Bytes = j.events.Load(), j.bytes.Load()
	return s
}

func (j *JetStream) isClosed() bool {
	select {
	case <-j.closing:
		return true
	default:
		return false
	}
}

// Close implements Journal.
func (j *JetStream) Close() error {
	j.closeOnce.Do(func() {
		j.queueMu.Lock()
		j.closed = true
		j.queueMu.Unlock()
		close(j.closing) // the committer ends once the queue is empty
		if j.stopWork != nil {
			j.stopWork()
		}
		j.work.Wait()
		j.closeErr = j.shutdown()
	})
	return j.closeErr
}

// shutdown ends what is not a goroutine of ours.
func (j *JetStream) shutdown() error {
	if j.follow != nil {
		j.follow.Stop()
		<-j.follow.Closed()
	}
	j.bucketMu.Lock()
	for _, b := range j.buckets {
		b.close()
	}
	j.bucketMu.Unlock()
	if j.blocks != nil {
		j.blocks.close()
	}
	if j.nc != nil {
		j.nc.Close()
	}
	if j.srv != nil {
		j.srv.Shutdown()
		j.srv.WaitForShutdown()
	}
	if j.unlock != nil {
		return j.unlock()
	}
	return nil
}
