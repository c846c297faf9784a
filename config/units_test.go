package config

import (
	"math"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "15s": 15 * time.Second, "1m30s": 90 * time.Second, "2m": 2 * time.Minute, "12h": 12 * time.Hour,
		"30d": 30 * day, "500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "-5s": -5 * time.Second, "20m": 20 * time.Minute,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v", text, time.Duration(d), err)
		}
		if d.String() != text {
			t.Errorf("%s came back as %s", text, d)
		}
	}
	for text, want := range map[string]time.Duration{"1d12h": 36 * time.Hour, "24h": day, "90s": 90 * time.Second, "0": 0, "0d": 0} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{"", "15", "d", "1.5d", "-1d", "1d-1h", "1d1d", "999999d", "106751d24h", "soon", "1w"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, time.Duration(d))
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "1023": 1023, "1KiB": 1 << 10, "64KiB": 64 << 10, "1MiB": 1 << 20, "10GiB": 10 << 30, "3TiB": 3 << 40, "-1": -1,
		"9223372036854775807": math.MaxInt64,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s is %d, comes back as %s, %v", text, s, s, err)
		}
	}
	for text, want := range map[string]Size{"1024": 1 << 10, "64 KiB": 64 << 10, "7B": 7} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "KiB", "1KB", "1kib", "1.5MiB", "8388608TiB", "9223372036854775808", "many"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, s)
		}
	}
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"15s", "30d", "1d12h", "64KiB", "10 GiB", "-1", "d", "B", "99999999999999999999d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d, d2 Duration
		if d.UnmarshalText([]byte(s)) == nil {
			if err := d2.UnmarshalText([]byte(d.String())); (err != nil || d2 != d) && d >= 0 {
				t.Errorf("%q, %s: %v, %v", s, d, d2, err)
			}
		}
		var z, z2 Size
		if z.UnmarshalText([]byte(s)) == nil {
			if err := z2.UnmarshalText([]byte(z.String())); err != nil || z2 != z {
				t.Errorf("%q, %s: %v, %v", s, z, z2, err)
			}
		}
	})
}

// No file panics, and what is taken can be written and read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{Defaults().TOML(), "[http]\nadr = 1", "http = {x = 1}", "wikis.a.b = 1", "[[retention]]\nx=1", "[wikis]\n'' = {}", "retention = [[1]]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse("f", []byte(s), nil)
		if err != nil || c.Validate() != nil {
			return
		}
		if _, err := Parse("f", []byte(c.TOML()), nil); err != nil {
			t.Errorf("%q was written as\n%s\n%v", s, c.TOML(), err)
		}
	})
}
