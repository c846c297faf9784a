//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Targets of the start: those of the large journal are meant for ten million events.
const (
	maxEmptyStart = 300 * time.Millisecond
	maxCleanStart = 5 * time.Second
	maxCrashStart = 15 * time.Second
)

// fillTopics is the number of topics of the large journal, fillWindow of the publishers that fill it.
const (
	fillTopics = 1000
	fillWindow = 64
)

// start: from the start of the process to its ready line.
func start(ctx context.Context, b *bench) error {
	if len(b.chosen("tidings")) == 0 {
		return errAbsent
	}
	dir, err := b.folder("start")
	if err != nil {
		return err
	}
	if err := b.emptyStart(ctx, dir); err != nil {
		return err
	}
	return b.largeStart(ctx, filepath.Join(dir, "large", "data"))
}

// timed starts the server on data and returns it with the time it took.
func (b *bench) timed(ctx context.Context, data, durability string) (*target, time.Duration, error) {
	if err := os.MkdirAll(filepath.Dir(data), 0o755); err != nil {
		return nil, 0, err
	}
	t, err := serveTidings(ctx, b.program["tidings"], data, durability, xmppOff(ctx, b.program["tidings"])...)
	if err != nil {
		return nil, 0, err
	}
	return t, time.Since(t.proc.began), nil
}

func (b *bench) emptyStart(ctx context.Context, dir string) error {
	const starts = 5
	var took []time.Duration
	for i := range starts {
		t, d, err := b.timed(ctx, filepath.Join(dir, "empty"+strconv.Itoa(i), "data"), "fsync")
		if err != nil {
			return err
		}
		took = append(took, d)
		if err := t.stop(); err != nil {
			return err
		}
	}
	slices.Sort(took)
	b.judge("empty folder", took[len(took)/2], maxEmptyStart, fmt.Sprintf("median of %d, at most %v", starts, took[len(took)-1].Round(time.Millisecond)))
	return nil
}

func (b *bench) judge(what string, took, limit time.Duration, more string) {
	r := row{what: what, server: "tidings", figure: took.Round(time.Millisecond).String(), more: more}
	if !b.quick {
		r.target, r.met = "≤ "+limit.String(), took <= limit
	}
	b.add(r)
}

// largeStart fills a journal, and starts on it after a clean stop and after SIGKILL. Nothing acknowledged may be missing.
func (b *bench) largeStart(ctx context.Context, data string) (err error) {
	events := int(b.million * 1e6)
	var t *target
	defer func() {
		if t != nil {
			err = errors.Join(err, t.stop())
		}
	}()
	// The journal is filled without waiting for the disk; what is measured are the starts.
	if t, _, err = b.timed(ctx, data, "interval"); err != nil {
		return err
	}
	r, err := b.fill(ctx, t, events)
	if err != nil {
		return err
	}
	filled := fmt.Sprintf("filled at %s/s", count(r))
	if err = t.stop(); err != nil {
		t = nil
		return err
	}
	var took time.Duration
	if t, took, err = b.timed(ctx, data, "fsync"); err != nil {
		return err
	}
	if err = b.holds(ctx, t, events); err != nil {
		return err
	}
	name := count(float64(events)) + " events, "
	b.judge(name+"clean stop", took, maxCleanStart, filled+", "+size(float64(diskUse(data)))+" on disk")

	const more = 2000 // so that the journal has been written to when it is killed
	if _, err = b.fill(ctx, t, more); err != nil {
		return err
	}
	t.proc.kill()
	if t, took, err = b.timed(ctx, data, "fsync"); err != nil {
		return err
	}
	if err = b.holds(ctx, t, events+more); err != nil {
		return err
	}
	b.judge(name+"SIGKILL", took, maxCrashStart, "nothing acknowledged is missing")
	return nil
}

// fill publishes events and returns how many were acknowledged a second.
func (b *bench) fill(ctx context.Context, t *target, events int) (float64, error) {
	r, err := b.load(ctx, t, t.flags("-conns", "0", "-topics", strconv.Itoa(fillTopics), "-events", strconv.Itoa(events),
		"-window", strconv.Itoa(fillWindow), "-patience", "1m")...)
	return r.AckPerS, err
}

// holds checks how many events the journal has.
func (b *bench) holds(ctx context.Context, t *target, want int) error {
	got, err := t.stored(ctx, "/bench/**")
	if err != nil {
		return err
	}
	if got != int64(want) {
		return fmt.Errorf("start: the journal holds %d events, %d were acknowledged", got, want)
	}
	return nil
}

// diskUse returns the bytes of the files below dir.
func diskUse(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // a file that the server has just removed
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
