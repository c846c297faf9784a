package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"tidings"
)

func TestEventValidate(t *testing.T) {
	good := func() tidings.Event {
		return tidings.Event{
			Topic: "/news/local", ID: "item-1", Key: "k", Time: time.Unix(0, 0), ContentType: "application/json",
			Payload: []byte(`{"a":1}`), Publisher: "udp", Mark: "rc:1",
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*tidings.Event)
		want   string // part of the detail; "" if it may be appended
	}{
		{"complete", func(e *tidings.Event) {}, ""},
		{"bare", func(e *tidings.Event) { *e = tidings.Event{Topic: "/a"} }, ""},
		{"retract", func(e *tidings.Event) { e.Kind = tidings.Retract }, ""},
		{"any payload", func(e *tidings.Event) { e.Payload = []byte{0, 0xff} }, ""},
		{"longest id", func(e *tidings.Event) { e.ID = strings.Repeat("i", tidings.MaxIDBytes) }, ""},
		{"no topic", func(e *tidings.Event) { e.Topic = "" }, "topic"},
		{"pattern for a topic", func(e *tidings.Event) { e.Topic = "/a/*" }, "topic"},
		{"unknown kind", func(e *tidings.Event) { e.Kind = 7 }, "kind 7"},
		{"long id", func(e *tidings.Event) { e.ID = strings.Repeat("i", tidings.MaxIDBytes+1) }, "the id has 1024 bytes and may have 1023"},
		{"long key", func(e *tidings.Event) { e.Key = strings.Repeat("k", tidings.MaxKeyBytes+1) }, "the key has 256"},
		{"long content type", func(e *tidings.Event) { e.ContentType = strings.Repeat("c", tidings.MaxContentTypeBytes+1) }, "the content type"},
		{"long publisher", func(e *tidings.Event) { e.Publisher = strings.Repeat("p", tidings.MaxPublisherBytes+1) }, "the publisher"},
		{"long mark", func(e *tidings.Event) { e.Mark = strings.Repeat("m", tidings.MaxMarkBytes+1) }, "the mark"},
		{"newline in the id", func(e *tidings.Event) { e.ID = "a\nb" }, "the id has a control character or invalid UTF-8 at byte 1"},
		{"newline in the key", func(e *tidings.Event) { e.Key = "\r" }, "the key"},
		{"newline in the content type", func(e *tidings.Event) { e.ContentType = "text/plain\r\nX: y" }, "the content type"},
		{"bad UTF-8 in the publisher", func(e *tidings.Event) { e.Publisher = "é\xff" }, "the publisher has a control character or invalid UTF-8 at byte 2"},
		{"C1 control in the mark", func(e *tidings.Event) { e.Mark = "\u009b" }, "the mark"},
	} {
		e := good()
		tc.change(&e)
		err := e.Validate()
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if tidings.KindOf(err) != tidings.ErrInvalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one of kind ErrInvalid with %q", tc.name, err, tc.want)
		}
	}
}

func TestItemID(t *testing.T) {
	e := tidings.Event{Position: tidings.Position{Epoch: 0x5f3a9c01, Offset: 7}}
	if got := e.ItemID(); got != "5f3a9c01-7" {
		t.Errorf("without an ID: %q", got)
	}
	e.ID = "x"
	if got := e.ItemID(); got != "x" {
		t.Errorf("with an ID: %q", got)
	}
}

func TestKind(t *testing.T) {
	for _, k := range []tidings.Kind{tidings.Publish, tidings.Retract} {
		if got, err := tidings.ParseKind(k.String()); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, err)
		}
	}
	if k, err := tidings.ParseKind(""); err != nil || k != tidings.Publish {
		t.Errorf("ParseKind of nothing = %v, %v", k, err)
	}
	if _, err := tidings.ParseKind("Publish"); tidings.KindOf(err) != tidings.ErrInvalid {
		t.Errorf("ParseKind(Publish): %v", err)
	}
	if got := tidings.Kind(9).String(); got != "unknown" {
		t.Errorf("Kind(9) = %q", got)
	}
}

func TestErrorKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range tidings.ErrorKinds() {
		if k.Error() == "unknown error" || seen[k.Error()] {
			t.Errorf("kind %d is called %q", k, k.Error())
		}
		seen[k.Error()] = true
		err := tidings.Errorf(k, "the %s", "detail")
		for _, err := range []error{k, err, fmt.Errorf("hub: reading: %w", err), errors.Join(fs.ErrClosed, err), tidings.Errorf(k, "x: %w", err)} {
			if !errors.Is(err, k) || tidings.KindOf(err) != k {
				t.Errorf("%v: kind %v, want %v", err, tidings.KindOf(err), k)
			}
			for _, other := range tidings.ErrorKinds() {
				if other != k && errors.Is(err, other) {
					t.Errorf("%v, of kind %v, is also of kind %v", err, k, other)
				}
			}
		}
	}
	if last := tidings.ErrorKinds()[len(tidings.ErrorKinds())-1]; (last+1).Error() != "unknown error" || tidings.ErrorKind(0).Error() != "unknown error" {
		t.Error("ErrorKinds leaves one out")
	}
	for _, err := range []error{nil, context.Canceled, fmt.Errorf("x: %w", fs.ErrNotExist)} {
		if k := tidings.KindOf(err); k != 0 {
			t.Errorf("KindOf(%v) = %v", err, k)
		}
	}
}

func TestErrorfCauses(t *testing.T) {
	err := tidings.Errorf(tidings.ErrUnavailable, "journal: opening %s: %w", "x", fs.ErrPermission)
	if err.Error() != "journal: opening x: permission denied" {
		t.Errorf("detail %q", err)
	}
	if !errors.Is(err, fs.ErrPermission) || !errors.Is(err, tidings.ErrUnavailable) {
		t.Error("the cause or the kind is lost")
	}
	var e *tidings.Error
	if !errors.As(fmt.Errorf("outer: %w", err), &e) || e.Kind != tidings.ErrUnavailable || e.Err != fs.ErrPermission {
		t.Errorf("errors.As gives %+v", e)
	}
	two := tidings.Errorf(tidings.ErrConflict, "%w and %w", fs.ErrExist, context.Canceled)
	if !errors.Is(two, fs.ErrExist) || !errors.Is(two, context.Canceled) || tidings.KindOf(two) != tidings.ErrConflict {
		t.Errorf("%v lost a cause", two)
	}
	// The outer kind is the one that an outlet tells.
	outer := tidings.Errorf(tidings.ErrUnavailable, "upstream: %w", tidings.Errorf(tidings.ErrNotFound, "no such stream"))
	if tidings.KindOf(outer) != tidings.ErrUnavailable || !errors.Is(outer, tidings.ErrNotFound) {
		t.Errorf("%v is of kind %v", outer, tidings.KindOf(outer))
	}
}

func TestGapError(t *testing.T) {
	gap := &tidings.GapError{Asked: tidings.Position{Epoch: 1, Offset: 3}, Oldest: tidings.Position{Epoch: 1, Offset: 9}}
	err := fmt.Errorf("sse: reading: %w", gap)
	if !errors.Is(err, tidings.ErrGap) || tidings.KindOf(err) != tidings.ErrGap {
		t.Errorf("kind %v", tidings.KindOf(err))
	}
	var back *tidings.GapError
	if !errors.As(err, &back) || *back != *gap {
		t.Errorf("errors.As gives %v", back)
	}
	for _, want := range []string{"00000001-3", "00000001-9"} {
		if !strings.Contains(gap.Error(), want) {
			t.Errorf("%q does not name %s", gap, want)
		}
	}
}

func TestActor(t *testing.T) {
	for _, tc := range []struct {
		actor tidings.Actor
		want  string
	}{
		{tidings.Actor{}, "anonymous"},
		{tidings.Actor{Kind: tidings.User, Name: "ann@localhost"}, "user:ann@localhost"},
		{tidings.Actor{Kind: tidings.Token, Name: "3f9c"}, "token:3f9c"},
		{tidings.Actor{Kind: tidings.Source, Name: "udp"}, "source:udp"},
		{tidings.Actor{Kind: tidings.System}, "system"},
		{tidings.Actor{Kind: 99}, "unknown"},
	} {
		if got := tc.actor.String(); got != tc.want {
			t.Errorf("%+v = %q, want %q", tc.actor, got, tc.want)
		}
	}
	s := tidings.Scope{Action: tidings.PublishAction, Pattern: tidings.MustPattern("/news/**")}
	if s.String() != "publish:/news/**" {
		t.Errorf("scope %q", s)
	}
}
