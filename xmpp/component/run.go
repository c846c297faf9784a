package component

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tidings/xmpp/stream"
)

// Run dials, serves and reconnects until ctx ends. Then it writes what the flows have, waits for the acknowledgement for 10 s at
// most, saves the position and closes. It is called once; afterwards the link and its peers do nothing any more. The error
// is that of the position, which was not saved.
func (l *Link) Run(ctx context.Context) error {
	if l.began.Swap(true) {
		return errors.New("component: Run is called twice")
	}
	for range workersAtOnce {
		l.running.Go(l.workers.run)
	}
	for range fetchersAtOnce {
		l.running.Go(func() { l.fetches.run(l) })
	}
	saving, stopSaving := context.WithCancel(l.ctx)
	defer stopSaving()
	l.running.Go(func() { l.saving(saving) })
	l.mine.Store(l.opt.Lease == nil)
	r := run{l: l, fresh: l.opt.Lease != nil}
	for ctx.Err() == nil {
		r.once(ctx)
	}
	stopSaving()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.times.load)
	defer cancel()
	err := l.save(last)
	if r.held {
		l.mine.Store(false)
		l.opt.Lease.Release()
	}
	l.finish()
	return err
}

// run is what Run remembers.
type run struct {
	l      *Link
	held   bool // the lease
	lost   <-chan struct{}
	fresh  bool // another process may have had the link: the position is to be loaded
	failed int  // attempts in a row
	lostAt time.Time
	ghosts bool // peers that have only written are there still
	last   error
}

// once makes a connection and serves it to its end, or waits.
func (r *run) once(ctx context.Context) {
	l := r.l
	var w *wire
	err := r.meanwhile(ctx, func(ctx context.Context) error {
		if l.opt.Lease != nil && !r.held {
			l.leasing.Store(true)
			err := l.opt.Lease.Acquire(ctx)
			l.leasing.Store(false)
			if err != nil {
				r.pause(ctx)
				return err
			}
			r.held, r.fresh, r.failed = true, true, 0
			r.lost = l.opt.Lease.Lost()
			l.mine.Store(true)
			return nil
		}
		if r.last != nil {
			r.pause(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var err error
		w, err = l.connect(ctx)
		return err
	})
	if r.isLost() {
		if w != nil {
			w.kill(ErrLeaseLost)
		}
		r.yield()
		return
	}
	if w != nil && ctx.Err() != nil {
		w.hangUp()
		return
	}
	if err == nil && r.fresh && r.held == (l.opt.Lease != nil) && (w != nil || r.held) {
		load, cancel := context.WithTimeout(ctx, l.times.load)
		if err = l.takeOver(load); err == nil {
			r.fresh = false
		}
		cancel()
		if err != nil && w != nil {
			w.hangUp()
			w = nil
		}
	}
	if err == nil && w != nil {
		err = r.serve(ctx, w)
	}
	if err != nil && ctx.Err() == nil {
		r.note(err)
	}
}

// note logs why there is no connection.
func (r *run) note(err error) {
	l := r.l
	r.last = err
	var args []any
	var e *Error
	if errors.As(err, &e) && e.Hint() != "" {
		args = append(args, "hint", e.Hint())
	}
	if errors.Is(err, ErrConflict) {
		r.fresh = true // what that connection has brought is in the store
	}
	l.note("no connection to the server", err, append(args, "addr", l.opt.Addr)...)
	l.log.Lock()
	l.log.err = err
	l.log.Unlock()
}

// pause waits before the next attempt: hardly at first, and then longer and longer, each time by chance.
func (r *run) pause(ctx context.Context) {
	t := &r.l.times
	most := t.retryMost
	if errors.Is(r.last, ErrConflict) {
		most = t.conflictMost // a standby shall not be late
	}
	d := min(t.retry<<min(r.failed, 20), most)
	r.failed++
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	if r.failed == 1 {
		timer.Reset(rand.N(d/4 + 1))
	}
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// meanwhile runs f in a goroutine, and owns the link until it returns. The context of f ends with the lease too.
func (r *run) meanwhile(ctx context.Context, f func(ctx context.Context) error) error {
	l := r.l
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	lost := r.lost // f may set it
	go func() { result <- f(ctx) }()
	t := time.NewTicker(l.times.tick)
	defer t.Stop()
	for {
		select {
		case err := <-result:
			return err
		case <-l.bell:
			l.drain()
		case <-t.C:
			if r.ghosts && time.Since(r.lostAt) > l.opt.Keep {
				r.ghosts = false
				l.forget(func(p *peer) bool { return !p.lasting })
			}
		case <-lost:
			lost = nil
			cancel()
		}
	}
}

func (r *run) isLost() bool {
	select {
	case <-r.lost:
		return true
	default:
		return false
	}
}

// yield gives the link to another process.
func (r *run) yield() {
	r.l.mine.Store(false)
	r.held, r.lost, r.failed = false, nil, 0
	r.note(ErrLeaseLost)
}

// serve serves a connection until it ends, and returns why.
func (r *run) serve(ctx context.Context, w *wire) error {
	l := r.l
	conn, err := l.opt.Edge.Add(w.lines[0], nil, &w.proto)
	if err != nil {
		w.hangUp()
		return err
	}
	w.on(conn, func() { w.begin(conn) })
	began := time.Now()
	t := time.NewTicker(l.times.tick)
	defer t.Stop()
	stop := ctx.Done()
	var settled <-chan struct{}
	var late <-chan time.Time
	lost := r.lost
	for n := 0; ; n++ {
		select {
		case <-w.over:
			w.running.Wait()
			err := w.cause()
			if settled != nil {
				err = nil
			}
			r.lostAt, r.ghosts = time.Now(), true
			if l.healthy.Swap(false) || time.Since(began) > l.times.retryMost {
				r.failed = 0
			}
			l.disconnected()
			if r.isLost() {
				r.yield()
				return nil
			}
			return err
		case <-lost:
			lost = nil
			l.mine.Store(false)
			w.kill(ErrLeaseLost)
		case <-stop:
			stop, settled = nil, l.settled
			late = time.After(l.times.stop)
			w.on(conn, func() {
				l.stopping = true
				for _, s := range l.strands {
					s.queue() // its bell may ring late
				}
				l.pump()
			})
		case <-settled:
			settled = make(chan struct{}) // that stays open
			late = nil
			conn.Close(reasonClosed, stream.AppendClose(nil, stream.TCP))
		case <-late:
			l.note("not all was acknowledged when the link was closed", ErrSilent)
			w.kill(ErrSilent)
		case <-t.C:
			if l.moved.Load() || n%10 == 0 {
				w.on(conn, l.tick)
			}
		}
	}
}

// connected notes a connection.
func (l *Link) connected() {
	l.log.Lock()
	first := l.log.since.IsZero()
	l.log.since = time.Now()
	loud := l.loud("connected")
	l.log.Unlock()
	if !first {
		l.reconnects.Add(1)
	}
	if loud {
		l.opt.Log.Info("component: connected", "addr", l.opt.Addr)
	}
}

// disconnected notes its end.
func (l *Link) disconnected() {
	l.log.Lock()
	l.log.since = time.Now()
	l.log.Unlock()
}

// finish ends what the link does by itself.
func (l *Link) finish() {
	l.mu.Lock()
	l.ended = true
	l.inbox = nil
	l.mu.Unlock()
	l.cancel()
	l.workers.close()
	l.fetches.close()
	l.running.Wait()
	for s := range l.fetching {
		s.src.Close()
	}
	clear(l.fetching)
}
