package sasl

import (
	"strconv"
	"testing"
)

// BenchmarkKeys is what a new password costs, and a guess by PLAIN.
func BenchmarkKeys(b *testing.B) {
	for _, h := range Hashes {
		b.Run(h.String()+"/"+strconv.Itoa(10_000), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Keys("pencil", []byte("0123456789abcdef"), 10_000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
