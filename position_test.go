package tidings_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tidings"
)

func TestPositionText(t *testing.T) {
	for _, tc := range []struct {
		p    tidings.Position
		text string
	}{
		{tidings.Position{Epoch: 0x5f3a9c01, Offset: 1042}, "5f3a9c01-1042"},
		{tidings.Position{Epoch: 1}, "00000001-0"},
		{tidings.Position{Epoch: math.MaxUint32, Offset: math.MaxUint64}, "ffffffff-18446744073709551615"},
		{tidings.Position{}, "00000000-0"},
	} {
		if got := tc.p.String(); got != tc.text {
			t.Errorf("String() = %q, want %q", got, tc.text)
		}
		if got, err := tidings.ParsePosition(tc.text); err != nil || got != tc.p {
			t.Errorf("ParsePosition(%q) = %v, %v", tc.text, got, err)
		}
	}
	for _, s := range []string{
		"", "-", "5f3a9c01", "5f3a9c01-", "-1042", "5F3A9C01-1042", "5f3a9c0-1042", "5f3a9c011-1042", "5f3a9c01-01042",
		"5f3a9c01-00", "5f3a9c01-+1", "5f3a9c01--1", "5f3a9c01-1_0", "5f3a9c01-1 ", " 5f3a9c01-1", "5f3a9c01-0x1",
		"+f3a9c01-1", "0x3a9c01-1", "5f3a_c01-1", "5f3a9c01-18446744073709551616", "5f3a9c01-1-2", "5f3a9c0g-1", "latest",
		"５f3a9c01-1", strings.Repeat("0", 1<<16),
	} {
		got, err := tidings.ParsePosition(s)
		if tidings.KindOf(err) != tidings.ErrInvalid || !got.IsZero() {
			t.Errorf("ParsePosition(%.40q) = %v, %v; want ErrInvalid", s, got, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("ParsePosition(%.40q): a detail of %d bytes", s, len(err.Error()))
		}
	}
	if !(tidings.Position{}).IsZero() || (tidings.Position{Epoch: 1}).IsZero() || (tidings.Position{Offset: 1}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestPositionProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := tidings.Position{Epoch: rapid.Uint32().Draw(t, "epoch"), Offset: rapid.Uint64().Draw(t, "offset")}
		if got, err := tidings.ParsePosition(p.String()); err != nil || got != p {
			t.Fatalf("%v comes back as %v, %v", p, got, err)
		}
		if got := string(p.AppendText([]byte("id: "))); got != "id: "+p.String() {
			t.Fatalf("AppendText: %q", got)
		}
		b, err := json.Marshal(map[string]tidings.Position{"position": p})
		if err != nil || string(b) != `{"position":"`+p.String()+`"}` {
			t.Fatalf("JSON: %s, %v", b, err)
		}
		var back map[string]tidings.Position
		if err := json.Unmarshal(b, &back); err != nil || back["position"] != p {
			t.Fatalf("JSON: %s comes back as %v, %v", b, back, err)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"5f3a9c01-1042", "00000000-0", "ffffffff-18446744073709551615", "5F3A9C01-1", "5f3a9c01-01", "", "-", "latest"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := tidings.ParsePosition(s)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Fatalf("ParsePosition(%q): kind %v", s, tidings.KindOf(err))
			}
			return
		}
		if p.String() != s {
			t.Fatalf("ParsePosition accepts %q, a second form of %v", s, p)
		}
	})
}
