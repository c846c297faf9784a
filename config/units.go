package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as 15s, 1m30s, 12h or 30d.
type Duration time.Duration

const day = 24 * time.Hour

// String returns the shortest form that UnmarshalText reads: 30d, 1h30m, 500ms, 0s.
func (d Duration) String() string {
	if d != 0 && time.Duration(d)%day == 0 {
		return strconv.FormatInt(int64(time.Duration(d)/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does, and a number of days before it, or alone.
func (d *Duration) UnmarshalText(b []byte) error {
	text := string(b)
	bad := fmt.Errorf("%q is not a duration: write it as 15s, 2m, 12h or 30d", text)
	var total time.Duration
	rest := text
	if days, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || time.Duration(n) > math.MaxInt64/day {
			return bad
		}
		total, rest = time.Duration(n)*day, after
	}
	if rest != "" || text == "" {
		more, err := time.ParseDuration(rest)
		if err != nil || total != 0 && more < 0 || total+more < total && more > 0 {
			return bad
		}
		total += more
	}
	*d = Duration(total)
	return nil
}

// Size is a number of bytes that is written as such, or as 64KiB, 1MiB or 10GiB.
type Size int64

var units = []struct {
	name string
	size Size
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String returns the number with the largest unit that makes it whole.
func (s Size) String() string {
	for _, u := range units {
		if u.size > 1 && s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a number, with a unit or without.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	number, unit := text, Size(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimRight(n, " "), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return fmt.Errorf("%q is not a size: write it as a number of bytes, or as 64KiB, 1MiB or 10GiB", text)
	}
	*s = Size(n) * unit
	return nil
}
