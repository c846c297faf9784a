package v09

import (
	"slices"
	"strings"

	"tidings"
	"tidings/hub"
)

// Query returns what RCStream's patterns stand for, as the event subscribe of /rc takes them, for the other protocol of
// Socket.IO. Errors are of kind tidings.ErrInvalid.
func Query(patterns []string) (hub.Query, error) {
	patterns = slices.Clone(patterns)
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	for _, p := range patterns {
		if !validPattern(p) {
			return hub.Query{}, tidings.Errorf(tidings.ErrInvalid, "a pattern has to have 1 to %d bytes and no control characters", maxPattern)
		}
		if p[0] == '/' {
			if _, err := tidings.ParsePattern(p); err != nil {
				return hub.Query{}, err
			}
		}
	}
	return queryOf(patterns, strings.Join(patterns, "\n")), nil
}
